"""One indexed query tells current, due, blocked, failed and quarantined apart."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.library.queries.show import overall_state
from vidpipe.library.states import STATES, classify, due_branches
from vidpipe.library.videos import NoSuchVideo, VideoIds, chunked, read_result
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH, LENGTH, PARTS


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def add(library: Library, name: str, url: str = "") -> str:
    facts = IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,), urls=(url,) if url else ())
    library.videos.add(sha(name), facts)
    return sha(name)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENTRIES: list[dict[str, Any]] = [
    {"status": status, "ready": ready, "stale": stale, "spec": spec, **({"next_try_at": when} if when else {})}
    for status in ("new", "ok", "failed", "quarantined")
    for ready in (True, False)
    for stale in (True, False)
    for spec in ("today", "old", "")
    for when in (None, NOW - timedelta(days=9), datetime.now(UTC) + timedelta(days=9))
]


def test_the_query_and_the_classification_agree_on_every_kind_of_entry(library: Library) -> None:
    for number, entry in enumerate(ENTRIES):
        identity = add(library, f"v{number}")
        library.collections["videos"].update_one({"_id": identity}, {"$set": {"stages.length": entry}})
    expected = dict.fromkeys(STATES, 0)
    due = set()
    for number, entry in enumerate(ENTRIES):
        state = classify(entry, "today")
        expected[state] += 1
        if state == "due":
            due.add(sha(f"v{number}"))
    assert all(expected.values()), "every state has an example"
    assert library.states.counts({"length": "today"})["length"] == expected
    assert set(library.states.due({"length": "today"})) == due
    for state in STATES:
        assert len(list(library.states.in_state("length", "today", state))) == expected[state]


def test_the_worst_state_of_several_stages_is_found_by_query(library: Library) -> None:
    specs = {"length": "today", "parts": "today"}
    for number, (length, parts) in enumerate(itertools.product(ENTRIES[::3], ENTRIES[::7])):
        identity = add(library, f"v{number}")
        entries = {"stages.length": length, "stages.parts": parts}
        library.collections["videos"].update_one({"_id": identity}, {"$set": entries})
    expected: dict[str, set[str]] = {state: set() for state in STATES}
    for row in library.collections["videos"].find():
        expected[overall_state(row, specs)].add(row["_id"])
    assert all(expected.values()), "every state has an example"
    everything = set().union(*expected.values())
    for state in STATES:
        found = library.states.overall(specs, state)
        assert (everything - set(found.ids) if found.others else found.ids) == expected[state]
    assert library.states.overall({}, "current").others
    assert not library.states.overall({}, "failed").ids


def test_both_questions_are_answered_by_the_stage_index(library: Library) -> None:
    add(library, "a")
    videos = library.collections["videos"]
    plan = videos.find({"$or": due_branches("length", "today")}, {"_id": 1}).explain()["queryPlanner"]["winningPlan"]
    assert "COLLSCAN" not in str(plan)
    assert str(plan).count("stage_length") >= 5


def test_a_thousand_new_videos_are_found_due_and_ids_are_kept_small() -> None:
    ids = VideoIds(sha(str(number)) for number in range(1000))
    assert len(ids) == 1000
    assert list(ids)[17] == sha("17")
    with pytest.raises(ValueError, match="not a sha256"):
        VideoIds(["abcd"])
    assert [len(chunk) for chunk in chunked(ids, 300)] == [300, 300, 300, 100]


@given(st.sampled_from(ENTRIES))
def test_a_video_is_in_exactly_one_state(entry: dict[str, Any]) -> None:
    assert classify(entry, "today", NOW) in STATES


def test_a_video_is_found_by_hash_prefix_url_file_name_and_stem(library: Library) -> None:
    identity = add(library, "holiday.mp4", "https://example.org/holiday.mp4?x=1")
    for name in (identity, identity[:8].upper(), "holiday.mp4", "holiday", "https://example.org/holiday.mp4?x=1"):
        assert library.videos.resolve(name) == identity
    with pytest.raises(NoSuchVideo, match=r"No video matches 'hol\.\*'"):
        library.videos.resolve("hol.*")
    add(library, "holiday.mkv")
    with pytest.raises(NoSuchVideo, match="matches 2 videos"):
        library.videos.resolve("holiday")


def test_a_video_is_found_by_a_file_name_that_is_not_utf_8(library: Library) -> None:
    identity = add(library, r"caf\xe9.mp4")
    for name in ("caf\udce9.mp4", "caf\udce9", "elsewhere/caf\udce9.mp4", r"caf\xe9.mp4"):
        assert library.videos.resolve(name) == identity, ascii(name)
    for name in ("\udce9.mp4", "elsewhere/\udce9.mp4", "a\0b"):
        with pytest.raises(NoSuchVideo):
            library.videos.resolve(name)


def test_the_same_bytes_under_two_urls_are_one_video_with_both_names(library: Library) -> None:
    identity = add(library, "x", "http://a.example/x")
    facts = IngestFacts(path="x", size_bytes=1, modified_ns=1, names=("y",), urls=("http://b.example/y",))
    assert library.videos.add(identity, facts) is False
    document = library.videos.get(identity)
    assert document is not None
    assert document["ingest"]["names"] == ["x", "y"]
    assert document["ingest"]["urls"] == ["http://a.example/x", "http://b.example/y"]
    assert document["stages"]["length"]["stale"] is True
    assert document["stages"]["parts"]["stale"] is False


def test_a_database_of_a_newer_vidpipe_is_refused(library: Library, settings: Settings) -> None:
    library.collections["meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(UnavailableError, match="schema version 99"):
        Library.open(settings, GRAPH)


def test_a_stage_added_later_is_due_for_the_videos_that_are_there(settings: Settings) -> None:
    with Library.open(settings, StageGraph((LENGTH,))) as library:
        add(library, "a")
    with Library.open(settings, StageGraph((LENGTH, PARTS))) as library:
        specs = Plan.make(library.graph, settings).specs
        assert library.states.counts(specs)["parts"]["blocked"] == 1
        assert library.states.counts(specs)["length"]["due"] == 1


def test_a_stored_result_of_another_shape_is_none_and_stops_nobody() -> None:
    stored = {"_id": sha("ab"), "length": {"letters": "many"}}
    assert read_result(GRAPH, "length", stored) is None
    assert read_result(GRAPH, "length", {**stored, "length": {"letters": 2, "parity": "even"}}) is not None
