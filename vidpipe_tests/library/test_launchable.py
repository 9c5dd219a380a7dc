"""What may start automatically and what waits for a person together are everything that is due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vidpipe.library.library import Library
from vidpipe.library.provenance import spec_difference, store_spec
from vidpipe.library.states import (
    BY_ITSELF,
    REASONS,
    due_because,
    due_branches,
    is_waiting_for_spec,
    launchable,
    note_launch,
    waiting_for_spec,
)
from vidpipe.settings import Settings
from vidpipe_tests.library.test_states import ENTRIES, add, sha
from vidpipe_tests.runner.small_graph import GRAPH

SPECS = {"length": "today"}


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def full(library: Library) -> Library:
    """A video for every kind of entry of the stage `length`."""
    for number, entry in enumerate(ENTRIES):
        identity = add(library, f"v{number}")
        library.collections["videos"].update_one({"_id": identity}, {"$set": {"stages.length": entry}})
    return library


def test_each_due_video_is_due_for_one_reason_in_the_query_as_in_the_classification(full: Library) -> None:
    videos = full.collections["videos"]
    seen: set[str] = set()
    for reason in REASONS:
        found = {row["_id"] for row in videos.find({"$or": due_branches("length", "today", reasons=[reason])})}
        expected = {
            sha(f"v{number}")
            for number, entry in enumerate(ENTRIES)
            if entry["ready"] and due_because(entry, "today") == reason
        }
        assert found == expected
        assert found, f"{reason} has an example"
        assert not found & seen
        seen |= found
    assert seen == set(full.states.due(SPECS))


def test_what_a_changed_spec_made_due_waits_and_all_else_may_start(full: Library) -> None:
    videos = full.collections["videos"]
    started = {video.sha256 for video in launchable(videos, "prepare", SPECS)}
    waiting = waiting_for_spec(videos, "length", "today")
    assert waiting is not None
    assert waiting.former == "old"
    assert len(started) + waiting.videos == len(full.states.due(SPECS))
    assert is_waiting_for_spec(videos, SPECS)
    everything = launchable(videos, "prepare", SPECS, reasons=REASONS)
    assert {video.sha256 for video in everything} == set(full.states.due(SPECS))
    videos.delete_many({"stages.length.spec": "old"})
    assert not is_waiting_for_spec(videos, SPECS)
    assert waiting_for_spec(videos, "length", "today") is None


def test_neither_question_reads_the_whole_library(full: Library) -> None:
    branches = due_branches("length", "today", reasons=BY_ITSELF)
    plan = full.collections["videos"].find({"$or": branches}).explain()["queryPlanner"]["winningPlan"]
    assert "COLLSCAN" not in str(plan)


def test_the_order_is_by_priority_then_by_age_and_what_is_held_is_left_out(library: Library) -> None:
    ids = [add(library, name) for name in ("a", "b", "c", "d")]
    videos = library.collections["videos"]
    for number, sha256 in enumerate(ids):
        videos.update_one({"_id": sha256}, {"$set": {"added_at": datetime(2026, 1, 1, 0, 0, number, tzinfo=UTC)}})
    for sha256, priority in ((ids[3], 2), (ids[0], -1)):
        videos.update_one({"_id": sha256}, {"$set": {"priority": priority}})
    everything = launchable(videos, "prepare", SPECS)
    assert [(video.sha256, video.priority) for video in everything] == [
        (ids[3], 2), (ids[1], 0), (ids[2], 0), (ids[0], -1),
    ]  # fmt: skip
    assert [video.sha256 for video in launchable(videos, "prepare", SPECS, held={ids[3]}, limit=2)] == ids[1:3]
    assert [video.sha256 for video in launchable(videos, "prepare", SPECS, above=0)] == [ids[3]]
    assert len(launchable(videos, "prepare", SPECS, above=-1)) == 3, "without a priority it is 0"
    many = {f"{number:064x}" for number in range(25_000)} | {ids[3]}
    assert [video.sha256 for video in launchable(videos, "prepare", SPECS, held=many, limit=2)] == ids[1:3]


def test_a_launch_is_noted_and_forgotten_once_something_was_stored(library: Library) -> None:
    sha256 = add(library, "a")
    videos = library.collections["videos"]

    def note() -> timedelta:
        note_launch(videos, "prepare", SPECS, [sha256])
        noted = videos.find_one({"_id": sha256})["launched"]["prepare"]  # type: ignore[index]
        wait: timedelta = noted["next_at"] - noted["at"]
        return wait

    assert note() == timedelta(0)
    assert len(launchable(videos, "prepare", SPECS)) == 1, "the first launch may have died with its process"
    assert note() == timedelta(seconds=30)
    assert not launchable(videos, "prepare", SPECS)
    assert [note() for _ in range(5)][-1] == timedelta(hours=6)
    stored = {"stages.length.at": datetime.now(UTC) + timedelta(seconds=1)}
    videos.update_one({"_id": sha256}, {"$set": stored})
    assert len(launchable(videos, "prepare", SPECS)) == 1
    assert note() == timedelta(0)


def test_specs_tell_what_changed_between_them(library: Library) -> None:
    lineage = library.collections["lineage"]
    store_spec(lineage, "length", "old", {"code": "1", "settings.a.b": "x", "resources.r": "1"})
    store_spec(lineage, "length", "old", {"code": "9"})
    today = {"code": "1", "settings.a.b": "y", "resources.new": "1"}
    assert spec_difference(lineage, "old", today) == {"resources.new": None, "resources.r": "1", "settings.a.b": "x"}
    assert spec_difference(lineage, "unheard of", today) == {}
