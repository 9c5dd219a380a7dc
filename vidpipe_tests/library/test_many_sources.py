"""One video under very many URLs: its document keeps the first, and its sources answer for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vidpipe.cli.show import _facts
from vidpipe.library import sources as library_sources
from vidpipe.library.annotations import distinct
from vidpipe.library.library import Library
from vidpipe.library.migrations import MIGRATIONS
from vidpipe.library.queries.show import view
from vidpipe.library.schema import MOST_KEPT, Document
from vidpipe.library.sources import ListedSources
from vidpipe.settings import Settings
from vidpipe.sources.records import ListedSource, SourceRecord, StoredVideo
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.versions import fingerprint
from vidpipe_tests.default_graph import GRAPH

VIDEO, OTHER = "a" * 64, "b" * 64
MANY = MOST_KEPT + 4
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def source(number: int, **said: object) -> SourceRecord:
    seen = BEGAN + timedelta(seconds=MANY - number)
    return SourceRecord(id=f"{number:032x}", url=url(number), first_seen=seen, **said)  # type: ignore[arg-type]


def url(number: int) -> str:
    return f"https://h/watch-{number}.mp4"


def name_of(record: SourceRecord) -> str:
    return record.url.rsplit("/", 1)[1]


def store(library: Library, record: SourceRecord, video: str = VIDEO) -> SourceRecord:
    name = name_of(record)
    record = record.model_copy(update={"state": "stored", "video": video, "file_name": name})
    file = StoredVideo(sha256=video, path="a", size_bytes=1, modified_ns=1, file_name=name, url=record.url)
    library.sources.record_stored(record, file)
    return record


def document(library: Library, video: str = VIDEO) -> Document:
    found = library.collections["videos"].find_one({"_id": video})
    assert found is not None
    return found


def priority(library: Library, video: str = VIDEO) -> int:
    stored: int = document(library, video).get("priority", 0)
    return stored


@pytest.fixture
def empty(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture(scope="module")
def full(module_settings: Settings) -> Iterator[Library]:
    """A video that came from `MANY` URLs, one after the other, the last names of the alphabet first."""
    with Library.open(module_settings, GRAPH) as opened:
        records = [
            source(MANY - number, title=f"Title {number}", labels=(f"class {number}",)) for number in range(MANY)
        ]
        early, late = records[:98], records[98:]  # one by one they would take seconds
        urls = tuple(record.url for record in early)
        facts = IngestFacts(
            path="a", size_bytes=1, modified_ns=1, names=tuple(name_of(record) for record in early), urls=urls,
            labels=distinct(record.labels[0] for record in early), titles=distinct(record.title for record in early),
        )  # fmt: skip
        opened.videos.add(VIDEO, facts)
        rows = [{"_id": record.id, **record.model_dump(exclude={"id"}), "video": VIDEO} for record in early]
        opened.collections["sources"].insert_many(rows)
        for record in late:
            store(opened, record)
        yield opened


def test_the_document_keeps_the_first_urls_names_and_titles_and_every_label(full: Library) -> None:
    facts = document(full)["ingest"]
    assert facts["urls"] == sorted(url(MANY - number) for number in range(MOST_KEPT))
    assert facts["names"] == [address.removeprefix("https://h/") for address in facts["urls"]]
    assert facts["titles"] == sorted(f"Title {number}" for number in range(MOST_KEPT))
    assert len(facts["labels"]) == MANY


def test_another_url_changes_nothing_in_the_document_and_reads_no_other_source(
    full: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = document(full)
    monkeypatch.setattr(library_sources, "annotations_of", None)
    store(full, source(MANY + 1, title="Another"))
    after = document(full)
    assert after["change_seq"] > before["change_seq"], "search reads the URLs that the document has no room for"
    assert {**after, "change_seq": 0} == {**before, "change_seq": 0}
    full.collections["sources"].delete_one({"_id": source(MANY + 1).id})


def test_a_url_that_the_document_has_no_room_for_still_finds_the_video(full: Library) -> None:
    assert full.videos.resolve(url(1)) == VIDEO


def test_show_gives_the_first_sources_and_how_many_more_there_are(full: Library) -> None:
    found = view(full, VIDEO, {})
    assert [one["url"] for one in found["sources"]] == [url(MANY - number) for number in range(MANY)]
    shown = [value for label, value in _facts(found) if label == "source"]
    assert shown[-1] == f"… and {MANY - len(shown) + 1} more (all with --json)"


def test_a_late_source_gives_its_priority_and_loses_its_label_by_an_edit(full: Library) -> None:
    lists = ListedSources(full.collections, full.sources)
    lists.save_many("a", [ListedSource(source(1).id, url(1), labels=("rare",), priority=7)])
    assert "rare" in document(full)["ingest"]["labels"]
    assert f"class {MANY - 1}" not in document(full)["ingest"]["labels"]
    assert priority(full) == 7
    lists.save_many("a", [ListedSource(source(1).id, url(1), edited=True)])
    assert "rare" not in document(full)["ingest"]["labels"]
    assert priority(full) == 0


def test_the_highest_priority_counts_until_its_source_gives_another_video(empty: Library) -> None:
    store(empty, source(1, priority=-2))
    assert priority(empty) == -2
    second = store(empty, source(2))
    assert priority(empty) == 0, "not said is 0, and higher"
    store(empty, source(3, priority=4))
    fourth = store(empty, source(4, priority=9))
    assert priority(empty) == 9
    store(empty, fourth.model_copy(update={"earlier_videos": (VIDEO,)}), OTHER)
    assert (priority(empty), priority(empty, OTHER)) == (4, 9)
    store(empty, second.model_copy(update={"earlier_videos": (VIDEO,)}), OTHER)
    assert priority(empty) == 4


def test_a_document_from_before_is_cut_to_the_first_and_what_reads_it_is_stale(empty: Library) -> None:
    for number in (3, 1, 2):
        store(empty, source(number, labels=("x",)))
    store(empty, source(0), OTHER)
    facts = IngestFacts.model_validate(document(empty)["ingest"])
    facts = facts.model_copy(update={"urls": (*(f"https://a/{n}" for n in range(MANY)), *facts.urls)})
    entry = {"stages.tags.inputs": {"ingest": {"urls": "1"}}, "stages.sentiment.inputs": {"descriptions": {"text": ""}}}
    empty.collections["videos"].update_one({"_id": VIDEO}, {"$set": {"ingest": facts.model_dump(), **entry}})
    names = {name: collection.name for name, collection in empty.collections.items()}
    assert MIGRATIONS[5].run(empty.connection.database, names) == 1
    after = document(empty)
    assert len(after["ingest"]["urls"]) == MOST_KEPT
    assert {url(1), url(2), url(3)} < set(after["ingest"]["urls"]), "those of its sources come first"
    assert after["stages"]["ingest"]["data"]["urls"] == fingerprint(after["ingest"]["urls"])
    assert [after["stages"][stage]["stale"] for stage in ("tags", "sentiment")] == [True, False]
    assert MIGRATIONS[5].run(empty.connection.database, names) == 0
