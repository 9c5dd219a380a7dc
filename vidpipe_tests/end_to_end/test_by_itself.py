"""`vidpipe up` and nothing else: lines of the list become tagged videos, an edited rule is applied where it matters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vidpipe.pipeline.instance import instance
from vidpipe_tests.end_to_end.conftest import ENVIRONMENT
from vidpipe_tests.end_to_end.home import Home, Picture, computed
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome, running
from vidpipe_tests.fault_server import FaultServer, page

QUICK = {**ENVIRONMENT, "VIDPIPE_SENSORS_INTERVAL": "1"}


@pytest.fixture
def unattended(empty_home: Home) -> Iterator[UnattendedHome]:
    with running(Home(empty_home.path, QUICK)) as unattended:
        yield unattended


def _tagged(home: Home, tag: str) -> set[str]:
    return {video["video"] for video in home.json("list", "--tag", tag)["videos"]}


def _give(home: Home, rule: dict[str, Any]) -> None:
    """Adds a rule to the home's file of rules."""
    path = home.data.parent / "rules" / "custom_tags.json"
    rules = json.loads(path.read_text(encoding="utf-8"))
    rules["rules"].append(rule)
    path.write_text(json.dumps(rules), encoding="utf-8")


def _tag_materializations(home: Home) -> Counter[str | None]:
    """Video -> number of its materializations of the asset tags in Dagster's history."""
    with instance(home.settings) as dagster:
        records = dagster.fetch_materializations(dg.AssetKey("tags"), limit=1000).records
    return Counter(record.partition_key for record in records)


def test_lines_become_tagged_videos_and_a_changed_rule_reaches_what_it_concerns(
    unattended: UnattendedHome, server: FaultServer, clip_files: list[Path], undisturbed: Picture
) -> None:
    home = unattended.home
    broken = server.add("/no-video.mp4", b"", always=page)
    urls = [server.url(f"/{path.name}") for path in clip_files]
    unattended.append("# the first", *urls[:3], "", broken, urls[0])
    unattended.wait_until_all_current(3, limit_s=120)
    unattended.rewrite(lambda lines: [*lines, *urls[3:]])
    unattended.wait_until_all_current(len(urls), limit_s=180)
    unattended.wait_until_runs_end(limit_s=60)
    assert computed(home.library()) == computed(undisturbed.library)
    assert home.json("status")["sources"] == {"stored": len(urls), "refused": 1}

    before, reported = home.commits(), _tag_materializations(home)
    _give(home, {"name": "upright", "metadata_conditions": {"orientation": "portrait"}, "tags": ["Upright"]})
    unattended.wait_until("the new rule is applied", lambda: _tagged(home, "Upright"), limit_s=60)
    unattended.wait_until_all_current(len(urls), limit_s=60)
    unattended.wait_until_runs_end(limit_s=60)
    concerned = _tagged(home, "Upright")
    assert 0 < len(concerned) < len(urls)
    assert _tag_materializations(home) - reported == Counter(concerned)
    again = {stage for (_, stage), times in (home.commits() - before).items() if times}
    assert again <= {"tags", "categories"}

    unattended.rewrite(lambda lines: [line for line in lines if line != urls[5]])
    assert home("down").code == 0
    home.assert_tidy()
    assert home.json("status")["videos"] == len(urls), "a line that is taken out leaves its video"
