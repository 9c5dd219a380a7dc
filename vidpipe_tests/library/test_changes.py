"""Numbers of changes: unique over all processes, increasing, and a new one for whatever search shows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library.library import Library
from vidpipe.library.sources import ListedSources
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.sources.records import ListedSource
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library.sample_library import BROKEN, GRAPH, fill, plan_of, put, sha256_of, url_of

NAME = "harbour.mp4"
SHA256 = sha256_of(NAME)

#: Adds videos and takes numbers; prints the numbers in the order in which it got them.
_WRITER = """
import os, sys
from pathlib import Path
from pydantic import SecretStr
from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library.sample_library import GRAPH, sha256_of

home, database, writer = sys.argv[1:]
settings = Settings(home=Path(home), mongodb=MongoDB(uri=SecretStr(os.environ["URI"]), database_name=database))
with Library.open(settings, GRAPH) as library:
    input()
    for number in range(50):
        sha256 = sha256_of(f"{writer}-{number}")
        library.videos.add(sha256, IngestFacts(path="a", size_bytes=1, modified_ns=1))
        print(library.videos.get(sha256)["change_seq"], *library.changes.take(3))
"""


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


def document(library: Library) -> dict[str, Any]:
    found = library.videos.get(SHA256)
    assert found is not None
    return found


def test_processes_that_write_at_once_get_different_and_increasing_numbers(library: Library) -> None:
    settings = library.settings
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(settings.home), settings.mongodb.database_name, str(number)],
            env={**os.environ, "URI": settings.mongodb.uri.get_secret_value()}, cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    for writer in writers:  # each starts at the first line that it can read: all at about the same time
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    printed = [[int(word) for word in writer.communicate()[0].split()] for writer in writers]
    for numbers in printed:
        assert len(numbers) == 200
        assert numbers == sorted(numbers)
    taken = [number for numbers in printed for number in numbers]
    assert sorted(taken) == list(range(1, 601))
    assert library.changes.state().seq == 600


def test_everything_that_search_shows_gives_a_new_number_and_nothing_else_does(library: Library) -> None:
    numbers = []

    def changed() -> bool:
        numbers.append(document(library)["change_seq"])
        return numbers[-1] > max(numbers[:-1], default=0)

    put(library, NAME)
    assert changed(), "a new video"
    put(library, NAME)
    assert not changed(), "nothing new is known of it"
    facts = IngestFacts(path="a", size_bytes=1, modified_ns=1, names=("later.mp4",), urls=("https://b.example/b",))
    library.videos.add(SHA256, facts)
    assert changed(), "another name"
    lists = ListedSources(library.collections, library.sources)
    lists.save_many("a", [ListedSource(SHA256[:16], url_of(NAME), labels=("dawn",), priority=1)])
    assert changed(), "a label in a list"
    lists.save_many("a", [ListedSource(SHA256[:16], url_of(NAME), labels=("dawn",), priority=2)])
    assert not changed(), "another priority"
    fill(library, NAME)
    assert changed(), "results"
    library.states.mark_missing("scenes", [SHA256])
    with library.leases() as leases:
        leases.take([SHA256], {})
    assert not changed(), "a lease, and files that are missing"
    Runner(library, plan_of(library)).run(RunRequest(force=frozenset({"tags"})))
    assert changed(), "a stage that ran again"


def test_each_commit_of_a_batch_has_a_number_of_its_own_also_a_failure(library: Library) -> None:
    fill(library, NAME, "race.mkv", BROKEN)
    stored = [row["change_seq"] for row in library.collections["videos"].find()]
    assert len(set(stored)) == len(stored) == 3
    failed = library.videos.get(sha256_of(BROKEN)) or {}
    assert failed["stages"]["metadata"]["status"] == "failed"
    assert failed["change_seq"] > 3, "later than all additions"


def test_a_counter_starts_above_all_stored_numbers_under_a_new_epoch(library: Library) -> None:
    put(library, NAME)
    before = library.changes.state()
    assert library.changes.state() == before
    library.collections["videos"].update_one({"_id": SHA256}, {"$set": {"change_seq": 41}})
    library.changes.restart()
    assert list(library.changes.take(2)) == [42, 43]
    library.changes.add_tombstone("b" * 64)
    library.changes.restart()
    after = library.changes.state()
    assert after.seq == 44
    assert after.epoch != before.epoch
