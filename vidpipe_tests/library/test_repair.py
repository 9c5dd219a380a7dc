"""Damaged data of the embedded server: named in the error, repaired on a copy, restored or rebuilt."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vidpipe.cli.repair import Repair, library_damage, newest_backup
from vidpipe.errors import DamagedError
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.mongod_files import MissingLibraryError, find_damage
from vidpipe.library.repair import lost_videos, rebuild, request_again
from vidpipe.operations.backups.backup import back_up
from vidpipe.settings import Settings, audit, configure_logging
from vidpipe.settings.schema import MongoDB
from vidpipe.sources.records import SourceRecord
from vidpipe.sources.source_request import request_for
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

CLIPS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.mp4", "b.mp4")}
URL = "https://example.org/clips/a.mp4"


def put(settings: Settings) -> dict[str, Path]:
    """The files of CLIPS into the media store."""
    paths = {name: settings.media_directory / sha256[:2] / f"{sha256}.mp4" for name, sha256 in CLIPS.items()}
    for name, path in paths.items():
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    return paths


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a library of two videos that has a backup, its server stopped. To be copied."""
    settings = Settings(home=tmp_path_factory.mktemp("whole"))
    with Library.open(settings, GRAPH) as library:
        for name, path in put(settings).items():
            facts = IngestFacts(path=settings.relative(path), size_bytes=5, modified_ns=1, names=(name,))
            library.videos.add(CLIPS[name], facts)
        back_up(library.connection, settings, GRAPH, settings.home / "backups", media=False, derived=False)
    embedded.stop(settings)
    return settings.home


@pytest.fixture
def damaged(whole: Path, tmp_path: Path) -> Iterator[Settings]:
    """A copy of `whole`, for a test to damage."""
    settings = Settings(home=tmp_path / "home", mongodb=MongoDB(timeout_s=2))
    shutil.copytree(whole, settings.home)
    yield settings
    embedded.stop(settings)


def repaired(settings: Settings, *, backup: bool = True, agrees: Callable[[str], bool] = lambda _: True) -> Repair:
    done = Repair(settings, agrees, backup=settings.home / "backups" if backup else None)
    done.run()
    return done


def names(settings: Settings) -> list[str]:
    with Library.open(settings, GRAPH) as library:
        return sorted(row["ingest"]["names"][0] for row in library.collections["videos"].find())


def epoch(settings: Settings) -> str:
    with Library.open(settings, GRAPH) as library:
        return library.changes.state().epoch


def cut(folder: Path, pattern: str, keep: float) -> None:
    for path in folder.glob(pattern):
        os.truncate(path, int(path.stat().st_size * keep))


@pytest.mark.soak
def test_a_cut_collection_is_named_with_the_remedy_and_salvaged(damaged: Settings) -> None:
    data = embedded.files_of(damaged).data
    before = epoch(damaged)
    embedded.stop(damaged)
    cut(data, "index-*.wt", 0.5)
    with pytest.raises(DamagedError, match=r"data files are damaged \(index-") as caught:
        embedded.start(damaged)
    assert "`vidpipe doctor --repair`" in caught.value.hint
    done = repaired(damaged)
    assert [(step.name, step.state) for step in done.steps] == [("MongoDB", "done")], done.steps
    assert list(done.aside.folder.glob("mongo/index-*.wt")), "the damaged files are kept"
    assert names(damaged) == ["a.mp4", "b.mp4"]
    assert epoch(damaged) != before, "numbers may have been lost"
    assert library_damage(damaged) is None
    assert repaired(damaged).steps == []


@pytest.mark.soak
def test_where_nothing_can_be_read_the_newest_backup_is_restored(damaged: Settings) -> None:
    cut(embedded.files_of(damaged).data, "WiredTiger.wt", 0.5)
    done = repaired(damaged)
    assert [step.name for step in done.steps] == ["MongoDB", "backup", "Dagster"]
    assert {step.state for step in done.steps} == {"done"}, done.steps
    assert names(damaged) == ["a.mp4", "b.mp4"]


def test_a_missing_library_beside_stored_videos_is_no_empty_one(embedded_settings: Settings) -> None:
    put(embedded_settings)
    with pytest.raises(MissingLibraryError, match="holds 2 videos") as caught:
        embedded.start(embedded_settings)
    assert "`vidpipe doctor --repair --empty`" in caught.value.hint
    assert not embedded.status(embedded_settings).running


def test_frames_of_referenced_videos_are_a_sign_of_a_library_too(embedded_settings: Settings) -> None:
    (embedded_settings.derived_directory / CLIPS["a.mp4"]).mkdir(parents=True)
    with pytest.raises(MissingLibraryError, match="holds frames of 1 video"):
        embedded.start(embedded_settings)


def test_what_cannot_be_rebuilt_is_listed_to_be_added_again(settings: Settings, tmp_path: Path) -> None:
    """Videos that were forgotten are not among it."""
    configure_logging(settings)
    audit("source", video=CLIPS["a.mp4"], url=URL)
    referenced = tmp_path / "take \u00e9.mp4"
    referenced.touch()
    audit("source", video=CLIPS["b.mp4"], url=str(referenced))
    audit("source", video="c" * 64, url="https://example.org/forgotten.mp4")
    audit("forget", videos=[{"video": "c" * 64, "state": "forgotten"}])
    request = request_for(URL)
    with Library.open(settings, GRAPH) as library:
        stored = SourceRecord(
            id=request.id, url=request.url.display_url, kind=request.kind, state="stored", video=CLIPS["a.mp4"]
        )
        library.sources.save(stored)
        lost = lost_videos(library)
        assert lost.keys() == set(CLIPS.values())
        assert request_again(library, lost) == [referenced.as_uri(), URL]
        assert library.sources.get_many([request.id])[request.id].state == "new"
        assert lost_videos(library).keys() == set(CLIPS.values())


@pytest.mark.soak
def test_a_missing_library_is_rebuilt_from_the_stored_videos(damaged: Settings) -> None:
    shutil.rmtree(embedded.files_of(damaged).data)
    assert repaired(damaged, agrees=lambda _: False, backup=False).steps[0].state == "declined"
    (other,) = (damaged.media_directory / CLIPS["b.mp4"][:2]).iterdir()
    other.write_bytes(b"others")
    done = repaired(damaged, backup=False)
    assert [step.name for step in done.steps] == ["media", "Dagster"]
    assert done.aside.moved[0].read_bytes() == b"others"
    with Library.open(damaged, GRAPH) as library:
        assert library.videos.count() == 1


def test_stored_videos_are_taken_in_under_their_old_names_and_sources(settings: Settings) -> None:
    """Those whose hash is right; what audit.jsonl remembers of them."""
    put(settings)
    (other,) = (settings.media_directory / CLIPS["b.mp4"][:2]).iterdir()
    other.write_bytes(b"others")
    configure_logging(settings)
    audit("source", video=CLIPS["a.mp4"], url=URL)
    audit("stage", video=CLIPS["a.mp4"], name="a day out.mp4")
    with Library.open(settings, GRAPH) as library:
        done = rebuild(library)
        assert (done.videos, done.damaged) == ([CLIPS["a.mp4"]], [other])
        assert library.videos.resolve("a day out.mp4") == library.videos.resolve(URL) == CLIPS["a.mp4"]
        assert library.videos.count() == 1
        assert rebuild(library).videos == []


@pytest.mark.soak
def test_the_backup_that_was_made_last_is_found_by_the_audit_log(damaged: Settings) -> None:
    assert newest_backup(damaged, None) is None
    (made,) = (damaged.home / "backups").glob("2*")
    configure_logging(damaged)
    audit("backup", path=made)
    audit("backup", path=damaged.home / "gone" / "2020-01-01T00-00-00Z")
    found = newest_backup(damaged, None)
    assert found is not None
    assert found[0] == made


@pytest.mark.parametrize(
    ("severity", "message", "damage"),
    [
        ("E", "WT_ERROR: non-specific WiredTiger error, collection-9--43", "(collection-9--43)"),
        ("F", "Please read the documentation for starting MongoDB with --repair here", "damaged"),
        ("E", "Unable to read the storage engine metadata file /x/storage.bson", "(storage.bson)"),
        ("I", "WT_ERROR: only quoted", None),
        ("E", "Address already in use", None),
    ],
)
def test_damage_is_told_from_other_complaints(severity: str, message: str, damage: str | None) -> None:
    found = find_damage(json.dumps({"s": severity, "msg": message}, separators=(",", ":")))
    assert found is None if damage is None else found is not None and damage in found
