"""A library of an older vidpipe: written by that one, brought up to date by today's, by one process at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from vidpipe.errors import UnavailableError
from vidpipe.library.changes import COUNTER
from vidpipe.library.connection import Connection, connect
from vidpipe.library.library import Library
from vidpipe.library.queries.export import export
from vidpipe.library.schema import COLLECTIONS, SCHEMA_VERSION
from vidpipe.library.schema_setup import (
    LOCK,
    MIGRATIONS,
    Migration,
    MigrationStep,
    SchemaUpdate,
    holding,
    pending,
    update_schema,
)
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, init_home
from vidpipe.sources.failures import Dependencies
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.versions import fingerprint
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.library.older_homes import load_library

Document = dict[str, Any]


def names_of(connection: Connection) -> dict[str, str]:
    return {name: connection.collection(name).name for name in COLLECTIONS}


@pytest.fixture
def old(settings: Settings) -> Iterator[Connection]:
    """A database as the last program with schema 1 left it."""
    init_home(settings.home)
    with connect(settings) as connection:
        load_library(1, connection)
        yield connection


@pytest.fixture
def with_a_long_one() -> Mapping[int, Migration]:
    """One more schema version, whose migration goes over every video."""

    def mark(database: Database[Document], names: Mapping[str, str]) -> int:
        return database[names["videos"]].update_many({}, [{"$set": {"marks": {"$add": ["$marks", 1]}}}]).modified_count

    long = Migration("Every video gets a mark.", mark, over=("videos",), quick=False)
    return {**MIGRATIONS, SCHEMA_VERSION: long}


def test_what_would_be_done_is_told_step_by_step_and_nothing_is_changed(old: Connection) -> None:
    wanted = pending(old.database, names_of(old), GRAPH)
    assert (wanted.version, wanted.target) == (1, SCHEMA_VERSION)
    assert [(step.since, step.to) for step in wanted.steps] == [(n, n + 1) for n in range(1, SCHEMA_VERSION)]
    assert all(step.what.endswith(".") for step in wanted.steps)
    assert pending(old.database, names_of(old), GRAPH) == wanted


def test_a_library_of_schema_1_is_brought_up_to_date_by_opening_it_and_can_be_exported(
    old: Connection, settings: Settings, tmp_path: Path
) -> None:
    before = {name: list(old.collection(name).find().sort("_id", 1)) for name in ("scenes", "lineage")}
    with Library.open(settings, GRAPH) as library:
        assert library.collections["meta"].find_one({"_id": "schema"})["version"] == SCHEMA_VERSION  # type: ignore[index]
        assert {"latest", "added"} & library.collections["videos"].index_information().keys() == {"latest"}
        assert {name: list(library.collections[name].find().sort("_id", 1)) for name in before} == before
        specs = Plan.make(GRAPH, settings).specs
        assert export(library, tmp_path / "out", "json", specs).videos == 4
        assert library.videos.resolve("harbour")
        assert pending(old.database, names_of(old), GRAPH).nothing
        assert LOCK not in {row["_id"] for row in library.collections["meta"].find()}


def test_videos_of_older_libraries_get_the_labels_of_their_sources_and_only_what_reads_them_is_due(
    old: Connection, settings: Settings
) -> None:
    videos = old.collection("videos")
    row = videos.find_one({"ingest.names": "talk.mkv"}) or {}
    sources = old.collection("sources")
    assert sources.update_one(
        {"video": row["_id"]}, {"$set": {"labels": ["Dusk", "b"], "title": "CityAtNight"}}
    ).modified_count
    labels = {"talk.mkv": ("b", "Dusk"), "harbour.mp4": ("2026", "talks"), "damaged.mkv": ("talks",), "lost.mp4": ()}
    specs = Plan.make(GRAPH, settings).specs
    videos.update_many({}, {"$set": {f"stages.{stage}.spec": spec for stage, spec in specs.items()}})
    before = {found["_id"]: found for found in videos.find()}
    with Library.open(settings, GRAPH):
        for found in videos.find():
            known = before[found["_id"]]
            facts = IngestFacts.model_validate(found["ingest"])
            assert facts.labels == labels[facts.names[0]]
            assert found["stages"]["ingest"]["data"] == GRAPH.data_versions("ingest", facts)
            assert {**found["ingest"], **known["ingest"]} == found["ingest"]
            if "tags" in known:
                known["stages"]["tags"]["data"]["scene_tags"] = fingerprint(())
            assert {**found["stages"], "ingest": 0} == {**known["stages"], "ingest": 0}, "what is current stays so"


def test_verdicts_and_what_sites_say_become_facts_of_older_videos(old: Connection, settings: Settings) -> None:
    ids = [row["_id"] for row in old.collection("videos").find({}, {"_id": 1}).sort("_id", 1).limit(3)]
    said = {"tag": "Rain", "verdict": "no", "by": "ada", "at": datetime(2026, 1, 2, 3, tzinfo=UTC)}
    place = {"_id": f"{ids[0]} rain", "video": ids[0], "tag_key": "rain", "rule": None, "spec": ""}
    old.collection("verdicts").insert_one(place | said)
    old.collection("verdicts").create_index(["video", "tag_key"], name="video_tag", unique=True)
    stated = {"data": {"uploader": "NASA", "description": "x" * 5000}, "licence": "CC0"}
    old.collection("sources").update_many({"video": ids[1]}, {"$set": stated})
    for version in (1, 9):
        old.collection("meta").update_one({"_id": "schema"}, {"$set": {"version": version}})
        with Library.open(settings, GRAPH) as library:
            rows = [library.videos.get(video) or {} for video in ids]
            facts = [IngestFacts.model_validate(row["ingest"]) for row in rows]
            assert [[(one.name, one.right, one.by, str(one.on)) for one in one.verdicts] for one in facts] == [
                [("Rain", False, "ada", "2026-01-02")], [], [],
            ]  # fmt: skip
            site = {"uploader": ("NASA",), "description": ("x" * 2000,), "licence": ("CC0",)}
            assert [one.source_data for one in facts] == [{}, site, {}]
            assert [row["stages"]["ingest"]["data"] for row in rows] == [
                GRAPH.data_versions("ingest", one) for one in facts
            ]
            assert [row["stages"]["tags"]["stale"] for row in rows] == [True, True, False]
            (told,) = library.collections["lineage"].find({"kind": "verdict"})
            assert (told["video"], told["change"], told["at"]) == (ids[0], "verdict no", said["at"])
            assert library.verdicts.put(ids[0], "Rain", "yes", "bob", kind="category") is None
            assert library.verdicts.put(ids[0], "Rain", None, "bob", kind="category") == "yes"
            library.collections["lineage"].delete_many({"by": "bob"})


def test_text_indexes_are_dropped_and_changes_are_counted_anew(old: Connection, settings: Settings) -> None:
    videos, scenes = old.collection("videos"), old.collection("scenes")
    assert all("words" in collection.index_information() for collection in (videos, scenes))
    old.collection("meta").insert_one({"_id": COUNTER, "epoch": "before", "seq": 7})
    with Library.open(settings, GRAPH) as library:
        for collection in library.collections.values():
            assert "words" not in collection.index_information()
        assert library.changes.state().epoch != "before"


def test_what_an_older_version_rejected_is_asked_for_again(old: Connection, settings: Settings) -> None:
    rejected = {"url": "https://h/x.mp4", "state": "refused", "last_error": "10.0.0.1 is a private address."}
    old.collection("sources").insert_one({"_id": "x", **rejected})
    with Library.open(settings, GRAPH) as library:
        record = library.sources.get_many(["x"])["x"]
        assert Dependencies.of(settings).changed_for(record)
        assert (record.state, record.last_error) == ("refused", rejected["last_error"])


def test_every_step_from_every_version_has_a_migration() -> None:
    assert set(MIGRATIONS) == set(range(1, SCHEMA_VERSION))


def test_a_migration_that_takes_long_waits_for_a_person(
    old: Connection, settings: Settings, with_a_long_one: Mapping[int, Migration]
) -> None:
    with pytest.raises(UnavailableError, match=r"schema version 1.*vidpipe backup.*vidpipe migrate"):
        Library.open(settings, GRAPH, with_a_long_one)
    assert pending(old.database, names_of(old), GRAPH).version == 1, "not even the quick ones before it are begun"
    old.collection("videos").update_many({}, {"$set": {"marks": 0}})
    told: list[MigrationStep] = []
    done = update_schema(old.database, names_of(old), GRAPH, migrations=with_a_long_one, long=True, on_step=told.append)
    assert done.steps == told
    assert (told[-1].documents, told[-1].changed) == (4, 4)
    Library.open(settings, GRAPH, with_a_long_one).close()


def test_of_many_that_migrate_at_once_one_does_it_and_the_others_find_it_done(
    old: Connection, settings: Settings, with_a_long_one: Mapping[int, Migration]
) -> None:
    old.collection("videos").update_many({}, {"$set": {"marks": 0}})
    did: list[SchemaUpdate] = []

    def migrate() -> None:
        with connect(settings) as connection:
            did.append(
                update_schema(connection.database, names_of(connection), GRAPH, migrations=with_a_long_one, long=True)
            )

    threads = [threading.Thread(target=migrate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(done.steps) for done in did) == [0] * 5 + [SCHEMA_VERSION]
    assert {row["marks"] for row in old.collection("videos").find()} == {1}


def test_a_process_that_died_while_it_migrated_holds_nobody_up(old: Connection, settings: Settings) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "from vidpipe.library.leases import this_process; print(this_process())"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    lock = {"_id": LOCK, "owner": f"{dead}|1", "doing": "brings the library up to date"}
    old.collection("meta").update_one(
        {"_id": LOCK}, [{"$set": {**lock, "since": "$$NOW", "until": {"$add": ["$$NOW", 60_000]}}}], upsert=True
    )
    began = time.monotonic()
    Library.open(settings, GRAPH).close()
    assert time.monotonic() - began < 30
    assert pending(old.database, names_of(old), GRAPH).nothing


def test_the_lock_of_a_machine_that_died_runs_out_and_one_in_use_is_named(old: Connection) -> None:
    meta = old.collection("meta")
    other = {"_id": LOCK, "owner": "elsewhere/1/2|77|3|4", "doing": "restores a back-up", "since": "$$NOW"}
    meta.update_one({"_id": LOCK}, [{"$set": {**other, "until": {"$add": ["$$NOW", 60_000]}}}], upsert=True)
    with (
        pytest.raises(UnavailableError, match=r"Process 77 on elsewhere restores a back-up \(since"),
        holding(meta, "tries", patience_s=0.2),
    ):
        pass
    meta.update_one({"_id": LOCK}, [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}])
    with holding(meta, "tries", patience_s=0.2):
        pass
    assert meta.find_one({"_id": LOCK}) is None
