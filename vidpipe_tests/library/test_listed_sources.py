"""Sources by the lists that name them: several lists, what is let go, what is due, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vidpipe.library.library import Library
from vidpipe.library.sources import ListedSources
from vidpipe.settings import Settings
from vidpipe.sources.failures import Dependencies
from vidpipe.sources.records import Dependency, ListedSource, SourceRecord
from vidpipe_tests.runner.small_graph import GRAPH


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def listed(library: Library) -> ListedSources:
    return ListedSources(library.collections, library.sources)


def one(number: int, priority: int | None = None, **said: object) -> ListedSource:
    return ListedSource(f"{number:032x}", f"https://h/{number}.mp4", priority=priority, **said)  # type: ignore[arg-type]


def numbers(listed: ListedSources, *names: str, **how: object) -> list[int]:
    return [int(due.id, 16) for due in listed.due(names or ("a",), **{"limit": 100, **how})]  # type: ignore[arg-type]


def test_due_sources_come_by_priority_and_then_in_the_lists_order(listed: ListedSources) -> None:
    said = [one(1), one(2, -3), one(3, 7), one(4), one(5, 7), one(6, -1), one(7)]
    assert listed.save_many("a", said) == 7
    assert numbers(listed) == [3, 5, 1, 4, 7, 6, 2]
    assert numbers(listed, limit=3) == [3, 5, 1]
    assert numbers(listed, held=[one(3).id, one(1).id]) == [5, 4, 7, 6, 2]
    assert [due.priority for due in listed.due(("a",), limit=100)] == [7, 7, 0, 0, 0, -1, -3]
    listed.save_many("a", [one(8, 0), one(9)])
    assert sorted(numbers(listed)[2:7]) == [1, 4, 7, 8, 9], "none said is 0"


def test_lists_are_merged_and_a_source_is_due_as_long_as_one_names_it(listed: ListedSources) -> None:
    listed.save_many("a", [one(1), one(2, 4)])
    listed.save_many("b", [one(2), one(3, 9)])
    assert numbers(listed, "a", "b") == [3, 2, 1]
    listed.drop("a", [one(1).id, one(2).id])
    assert numbers(listed, "a", "b") == [3, 2]
    listed.forget("b")
    assert numbers(listed, "a", "b") == []


def test_repeating_what_was_said_changes_nothing_and_an_edit_clears_what_is_not_said(
    listed: ListedSources, library: Library
) -> None:
    source = one(1, 3, title="T", labels=("x",))
    for _ in range(2):
        listed.save_many("a", [source])
    record = library.sources.get_many([source.id])[source.id]
    assert (record.state, record.lists, record.title, record.labels, record.priority) == ("new", ("a",), "T", ("x",), 3)
    listed.save_many("a", [one(1)])
    assert library.sources.get_many([source.id])[source.id] == record
    listed.save_many("a", [one(1, edited=True)])
    record = library.sources.get_many([source.id])[source.id]
    assert (record.title, record.labels, record.priority) == (None, (), None)


def test_a_record_made_of_a_list_is_like_one_that_ingest_made(listed: ListedSources, library: Library) -> None:
    listed.save_many("a", [one(1)])
    library.sources.save(SourceRecord(id=f"{2:032x}", url="https://h/2.mp4", first_seen=datetime.now(UTC)))
    first, second = library.collections["sources"].find().sort("_id", 1)
    assert first.keys() == second.keys()


def test_files_that_changed_are_due_again_but_what_is_being_fetched_is_left_alone(
    listed: ListedSources, library: Library
) -> None:
    listed.save_many("a", [one(number) for number in range(3)])
    known = library.sources.get_many([one(number).id for number in range(3)])
    later = datetime.now(UTC) + timedelta(days=1)
    for number, update in enumerate(
        ({"state": "failed", "next_try_at": later}, {"state": "stored"}, {"state": "fetching"})
    ):
        library.sources.save(known[one(number).id].model_copy(update=update))
    assert numbers(listed, states=("new",)) == []
    listed.again([one(number).id for number in range(3)])
    assert numbers(listed, states=("new",)) == [0, 1]


def test_due_is_what_failed_under_other_conditions_than_todays(listed: ListedSources, library: Library) -> None:
    today = Dependencies({"download.max_size_mb": "new", "module:boto3": "same"}, spare_bytes=100)
    changed, same = Dependency(name="download.max_size_mb", value="old"), Dependency(name="module:boto3", value="same")
    later = datetime.now(UTC) + timedelta(days=1)
    records: list[dict[str, object]] = [
        {"state": "refused", "blocked_by": (changed,)},
        {"state": "failed", "blocked_by": (same, changed), "next_try_at": later},
        {"state": "failed", "needed_bytes": 100},
        {"state": "refused", "blocked_by": (same,)},
        {"state": "failed", "needed_bytes": 101},
        {"state": "failed", "blocked_by": (Dependency(name="unknown", value="x"),)},
        {"state": "refused"},
        {"state": "stored", "blocked_by": (changed,)},
    ]
    listed.save_many("a", [one(number) for number in range(len(records))])
    known = library.sources.get_many([one(number).id for number in range(len(records))])
    for number, update in enumerate(records):
        library.sources.save(known[one(number).id].model_copy(update=update))
    library.collections["sources"].update_one({"_id": one(6).id}, {"$unset": {"blocked_by": "", "needed_bytes": ""}})
    assert sorted(numbers(listed, today=today)) == [0, 1, 2]
    assert numbers(listed) == []
    failed = [record for record in library.sources.in_state("failed", "refused") if today.changed_for(record)]
    assert {int(record.id, 16) for record in failed} == {0, 1, 2}


def test_problems_are_kept_by_list(listed: ListedSources) -> None:
    listed.report("b", line_problems=[["b, line 2", "b, line 2: no."]])
    listed.report("a", file_problems=[["a", "a: gone."]], lines=3)
    listed.report("a", local_problems=[["a, line 1", "a, line 1: no such file."]])
    assert [where for where, _ in listed.problems()] == ["a", "a, line 1", "b, line 2"]
    listed.report("a", file_problems=[])
    listed.forget("b")
    assert [where for where, _ in listed.problems()] == ["a, line 1"]
