"""Labels and titles of a video follow those of its sources, and what reads them becomes stale."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vidpipe.library.annotations import distinct
from vidpipe.library.library import Library
from vidpipe.library.schema import FORGOTTEN_SOURCE
from vidpipe.library.sources import ListedSources
from vidpipe.settings import Settings
from vidpipe.sources.records import ListedSource, SourceRecord, StoredVideo
from vidpipe.sources.source_data import SourceData
from vidpipe_tests.default_graph import GRAPH

VIDEO, OTHER = "a" * 64, "b" * 64
URL = "https://h/1.mp4"


@pytest.fixture(scope="module")
def one_library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def library(one_library: Library) -> Library:
    """An empty one."""
    for name in ("videos", "sources"):
        one_library.collections[name].delete_many({})
    return one_library


def source(number: int = 1, **said: Any) -> SourceRecord:
    return SourceRecord(id=f"{number:032x}", url=f"https://h/{number}.mp4", **said)


def store(library: Library, record: SourceRecord, video: str = VIDEO, name: str = "a.mp4") -> SourceRecord:
    record = record.model_copy(update={"state": "stored", "video": video})
    file = StoredVideo(sha256=video, path="a", size_bytes=1, modified_ns=1, file_name=name, url=record.url)
    library.sources.record_stored(record, file)
    return record


def said(library: Library, video: str = VIDEO) -> tuple[list[str], list[str]]:
    facts = library.collections["videos"].find_one({"_id": video})["ingest"]  # type: ignore[index]
    return facts["labels"], facts["titles"]


def newly_stale(library: Library) -> set[str]:
    """The stages that became stale since this was asked last."""
    stages = library.collections["videos"].find_one({"_id": VIDEO})["stages"]  # type: ignore[index]
    unset = {f"stages.{stage.name}.stale": False for stage in GRAPH}
    library.collections["videos"].update_many({}, {"$set": unset})
    return {name for name, entry in stages.items() if entry.get("stale")}


def test_a_new_video_has_what_its_source_says_and_nothing_is_stale(library: Library) -> None:
    store(library, source(labels=("cats", "b roll"), title="Day"))
    assert (said(library), newly_stale(library)) == ((["b roll", "cats"], ["Day"]), set())


def test_a_second_source_adds_its_labels_and_an_edit_replaces_those_of_one_source(library: Library) -> None:
    first = store(library, source(labels=("cats",), title="Day"))
    store(library, source(2, labels=("dogs", "Cats"), title="Day"))
    assert said(library) == (["Cats", "dogs"], ["Day"])
    assert newly_stale(library) == {"raw_video", "tags", "categories"}, "the address is news to the first of them"
    library.sources.save(first.model_copy(update={"labels": ("birds",)}), {"labels"})
    assert said(library)[0] == ["birds", "Cats", "dogs"]
    assert newly_stale(library) == {"tags", "categories"}
    library.sources.save(first.model_copy(update={"labels": ("birds",)}), {"labels"})
    assert newly_stale(library) == set(), "saying the same again changes nothing"


def test_an_edited_line_of_a_watched_list_replaces_and_clears(library: Library) -> None:
    store(library, source(labels=("cats",), title="Day"))
    lists = ListedSources(library.collections, library.sources)
    lists.save_many("a", [ListedSource(source().id, URL, labels=("dogs",), priority=3)])
    assert said(library) == (["dogs"], ["Day"])
    lists.save_many("a", [ListedSource(source().id, URL, edited=True)])
    assert said(library) == ([], [])
    lists.drop("a", [source().id])
    assert said(library) == ([], [])


def test_bytes_that_a_url_gave_before_keep_its_labels_and_follow_their_edits(library: Library) -> None:
    record = store(library, source(labels=("cats",)))
    record = store(library, record.model_copy(update={"earlier_videos": (VIDEO,)}), OTHER)
    assert said(library) == said(library, OTHER) == (["cats"], [])
    library.sources.save(record.model_copy(update={"labels": ("dogs",), "priority": 2}), {"labels", "priority"})
    assert said(library) == said(library, OTHER) == (["dogs"], [])
    ranks = {row["_id"]: row.get("priority") for row in library.collections["videos"].find()}
    assert ranks == {VIDEO: None, OTHER: 2}, "what a source gave before is not urgent"


def test_labels_come_in_one_order_and_one_spelling() -> None:
    assert distinct(["b", "A", "a", None, "", "B"]) == distinct(["B", "a", "b", "A"]) == ("A", "B")


def stated(library: Library, video: str = VIDEO) -> Any:
    return library.collections["videos"].find_one({"_id": video})["ingest"]["source_data"]  # type: ignore[index]


def test_what_sites_and_lists_say_follows_the_sources(library: Library) -> None:
    first = store(library, source(licence="CC0", data=SourceData(site="tube", uploader="ada", description="x" * 9000)))
    assert stated(library) == {"site": ["tube"], "uploader": ["ada"], "description": ["x" * 2000], "licence": ["CC0"]}
    newly_stale(library)
    store(library, source(2, data=SourceData(uploader="Bob")))
    assert stated(library)["uploader"] == ["ada", "Bob"]
    assert newly_stale(library) >= {"tags", "categories"}
    store(library, first.model_copy(update={"data": SourceData(uploader="Eve"), "licence": "MIT"}))
    assert stated(library) == {"uploader": ["Bob", "Eve"], "licence": ["CC0"]}, "lists decide about the licence"
    library.sources.save(first.model_copy(update={"licence": None}), {"licence"})
    assert "licence" not in stated(library)
    library.collections["sources"].update_many({"_id": source(2).id}, FORGOTTEN_SOURCE)
    library.sources.annotate([VIDEO])
    assert stated(library).get("uploader") == ["ada"]
