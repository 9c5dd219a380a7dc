"""vidpipe partitions, as a user calls it."""

from __future__ import annotations

import dataclasses

import pytest

from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.clips import color_cuts


@pytest.fixture
def limited(vidpipe: Command) -> Command:
    return dataclasses.replace(vidpipe, env={**vidpipe.env, "VIDPIPE_CLUSTER_MAXPARTITIONS": "1"})


def test_videos_beyond_the_limit_are_added_back_by_name_and_removed_again(limited: Command) -> None:
    for name in ("old.mp4", "new.mp4"):
        color_cuts(limited.home / name, ("red",) if name == "old.mp4" else ("blue",), seconds_each=0.2)
        assert limited("add", limited.home / name).exit_code == 0
    assert limited.json("partitions") == {
        "videos": 2, "partitions": 1, "limit": 1, "added": 0, "removed": 0, "dry_run": False, "notes": [],
    }  # fmt: skip
    added = limited("partitions", "add", "old.mp4")
    assert (added.exit_code, added.stdout) == (0, "2 videos, 2 partitions, limit 1; 1 added, 0 removed.\n")
    assert limited.json("partitions", "trim")["removed"] == 0, "it stays for a while"
    assert limited("partitions", "add", "unknown.mp4").exit_code == 4
    for wrong in (("add",), ("trim", "old.mp4"), ("add", "old.mp4", "--dry-run"), ("status", "--dry-run")):
        assert limited("partitions", *wrong).exit_code == 2
