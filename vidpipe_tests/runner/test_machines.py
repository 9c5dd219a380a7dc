"""Runs of several machines on one library: one is suspended, clocks differ, a video crashes one machine after another.

The machines are processes with a home of their own that give their machine another name.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library import leases
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH
from vidpipe_tests.runner.test_crashes import documents
from vidpipe_tests.runner.test_runner import add, library, run, states

__all__ = ["library"]  # the fixture

NAMES = [f"video-{number}" for number in range(12)]
#: Tests do not wait for 45 s.
LEASE_S = 1.0


@contextmanager
def machine(settings: Settings, name: str, *wrapper: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A run on a machine of its own; `wrapper`: the command that starts it."""
    home = settings.home.parent / name
    home.mkdir(exist_ok=True)
    for file in settings.home.glob("*-*"):  # what steers the stages
        (home / file.name).touch()
    environment = {
        **os.environ, "SMALL_RUN_URI": settings.mongodb.uri.get_secret_value(), "SMALL_RUN_MACHINE": f"{name}/0/0",
        "SMALL_RUN_LEASE_S": str(LEASE_S), **{f"SMALL_RUN_{key.upper()}": value for key, value in variables.items()},
    }  # fmt: skip
    command = [*wrapper, sys.executable, "-m", "vidpipe_tests.runner.small_run", str(home)]
    command.append(settings.mongodb.database_name)
    process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until_stopped(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_expired(library: Library) -> None:
    """Until no lease is in force any more."""
    in_force = {"lease": {"$exists": True}, "$expr": {"$gte": ["$lease.until", "$$NOW"]}}
    deadline = time.monotonic() + 60
    while library.collections["videos"].count_documents(in_force):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def undisturbed(library: Library, names: list[str]) -> tuple[list[Any], dict[str, int]]:
    """What one process makes of these videos; the library is empty before and after."""
    add(library, *names)
    assert run(library).ok
    made = documents(library), sizes(library)
    for name in ("videos", "scenes", "answers", "lineage", "owners"):
        library.collections[name].delete_many({})
    return made


def sizes(library: Library) -> dict[str, int]:
    return {name: library.collections[name].count_documents({}) for name in ("videos", "scenes", "answers", "lineage")}


def assert_nothing_left(library: Library) -> None:
    for name in ("lease", "late_commit"):
        assert library.collections["videos"].count_documents({name: {"$exists": True}}) == 0, name


@pytest.fixture(autouse=True)
def _late_commits_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LATEST_ARRIVAL", timedelta(minutes=-30))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a stopped process as Linux shows it")
def test_a_run_that_was_suspended_for_longer_than_its_lease_commits_nothing_more(library: Library) -> None:
    """It had written scenes and lineage and was about to commit when its machine was suspended."""
    expected = undisturbed(library, NAMES)
    add(library, *NAMES)
    with machine(library.settings, "suspended", stops="yes") as process:
        wait_until_stopped(process)
        assert library.collections["lineage"].count_documents({"kind": "commit"}), "its first commit is under way"
        wait_until_expired(library)
        assert run(library).ok
        assert (documents(library), sizes(library)) == expected
        before = list(library.collections["videos"].find().sort("_id", 1))
        process.send_signal(signal.SIGCONT)
        process.wait(300)
    assert run(library).videos == 0
    after = list(library.collections["videos"].find().sort("_id", 1))
    assert [row["stages"] for row in after] == [row["stages"] for row in before], "not one of its commits took effect"
    assert (documents(library), sizes(library)) == expected, "and nothing of them is left"
    assert_nothing_left(library)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="looks at a stopped process as Linux shows it")
def test_runs_that_are_suspended_again_and_again_leave_the_library_of_one(library: Library) -> None:
    names = [f"video-{number:03d}" for number in range(150)]
    expected = undisturbed(library, names)
    for sha256 in add(library, *names):
        (library.settings.home / f"slow-{sha256}").touch()
    with machine(library.settings, "first") as first, machine(library.settings, "second") as second:
        deadline = time.monotonic() + 240
        while first.poll() is None and second.poll() is None and time.monotonic() < deadline:
            for process in (first, second):
                time.sleep(0.7)
                process.send_signal(signal.SIGSTOP)
                time.sleep(1.5 * LEASE_S)
                process.send_signal(signal.SIGCONT)
        first.wait(120)
        second.wait(120)
    wait_until_expired(library)
    assert run(library).ok
    for row in documents(library):
        for entry in row["stages"].values():  # type: ignore[attr-defined]
            entry.pop("crashes", None)
    assert (documents(library), sizes(library)) == expected
    assert_nothing_left(library)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("faketime") is None, reason="install Debian's package faketime")
def test_machines_whose_clocks_are_ten_minutes_apart_date_what_they_store_by_the_server(library: Library) -> None:
    (library.settings.home / "busy-video-0").touch()
    ids = add(library, *NAMES[:4])
    began = datetime.now(UTC)
    last: dict[str, Any] = {}
    clocks = [("slow", "-5m"), ("fast", "+5m")] * 2
    for number, (name, shift) in enumerate(clocks):
        # another name, so that each run computes another length
        library.videos.add(ids[1], IngestFacts(path="b", size_bytes=1, modified_ns=1, names=("b" * (20 + number),)))
        with machine(library.settings, name, "faketime", "-f", shift, launched="yes") as process:
            process.wait(300)
        entry = (library.collections["videos"].find_one({"_id": ids[0]}) or {})["stages"]["length"]
        assert (entry["next_try_at"] - entry["at"]).total_seconds() == (60 if entry["attempts"] == 1 else 600)
        if last and entry["attempts"] > last["attempts"]:
            assert entry["at"] >= last["next_try_at"], "neither clock was early"
        last = entry
        for row in library.collections["videos"].find():
            times = [stage["at"] for stage in row["stages"].values() if "at" in stage]
            times.append(row["launched"]["prepare"]["at"])
            assert all(abs((at - began).total_seconds()) < 200 for at in times), (name, times)
        # as after a late commit, so that the next run looks for leftovers
        library.collections["videos"].update_many({}, {"$set": {"late_commit": {"tokens": [], "at": began}}})
    run(library)
    commits = {"stage": "length", "kind": "commit", "video": ids[1]}
    assert library.collections["lineage"].count_documents(commits) == len(clocks), "one of each run, all kept"
    assert_nothing_left(library)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("faketime") is None, reason="install Debian's package faketime")
def test_machines_whose_clocks_are_ten_minutes_apart_share_the_videos_and_commit_each_once(library: Library) -> None:
    names = [f"video-{number:03d}" for number in range(60)]
    expected = undisturbed(library, names)
    for sha256 in add(library, *names):
        (library.settings.home / f"slow-{sha256}").touch()
    slow = machine(library.settings, "slow", "faketime", "-f", "-5m")
    fast = machine(library.settings, "fast", "faketime", "-f", "+5m")
    with slow as first, fast as second:
        for process in (first, second):
            process.wait(300)
    assert run(library).ok
    assert (documents(library), sizes(library)) == expected
    commits = [{"$group": {"_id": {"video": "$video", "stage": "$stage"}, "times": {"$sum": 1}}},
               {"$match": {"times": {"$gt": 1}}}]  # fmt: skip
    assert not list(library.collections["lineage"].aggregate(commits)), "no double commit"
    runs = library.collections["lineage"].distinct("run")
    assert len(runs) >= 2, "both have worked"
    assert_nothing_left(library)


@pytest.mark.soak
def test_a_video_that_kills_one_machine_after_another_is_tried_alone_and_quarantined(library: Library) -> None:
    """The machines are gone each time, with their journals: what they were working on is known from `owners`."""
    ids = add(library, "good", "evil", "fine", "best")
    (library.settings.home / "crash-evil").touch()
    (library.settings.home / f"slow-{ids[1]}").touch()
    for number in (1, 2):
        with machine(library.settings, f"gone{number}") as process:
            assert process.wait(300) == -signal.SIGKILL
        wait_until_expired(library)
    with machine(library.settings, "third") as process:
        assert process.wait(300) == 1, "it tries the suspect alone, survives it and reports it"
    assert states(library)["length"] == {"current": 3, "quarantined": 1}
    assert states(library)["report"] == {"current": 3, "blocked": 1}
    entry = (library.collections["videos"].find_one({"_id": ids[1]}) or {})["stages"]["length"]
    assert "3 times" in entry["error"]["message"]
    assert_nothing_left(library)
    assert Plan.make(GRAPH, library.settings).specs["length"] == entry["spec"]
    assert run(library).videos == 0, "no machine tries it again by itself"
