"""vidpipe forget: all that was made of a video goes, nothing else does, and no list brings it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vidpipe.library.library import Library
from vidpipe.library.sources import ListedSources
from vidpipe.operations.proxies import proxy_path
from vidpipe.operations.retention.video_removal import ForgottenVideo, forget
from vidpipe.settings import Settings
from vidpipe.sources.records import ListedSource
from vidpipe.storage.object_store import StoreError
from vidpipe.storage.stores import Stores
from vidpipe.storage.verified_store import VerifiedStore
from vidpipe_tests.library.sample_library import GRAPH, fill, sha256_of, url_of
from vidpipe_tests.operations.retention.conftest import write
from vidpipe_tests.operations.retention.folder_store import folder_stores

NAME, OTHER = "harbour.mp4", "race.mkv"
SHA256 = sha256_of(NAME)


@pytest.fixture(scope="module")
def opened(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, GRAPH) as library:
        yield library


@pytest.fixture
def library(opened: Library) -> Library:
    """Two videos through all stages, with their files."""
    settings = opened.settings
    for collection in opened.collections.values():
        collection.delete_many({"_id": {"$ne": "schema"}})
    fill(opened, NAME, OTHER)
    for sha256 in map(sha256_of, (NAME, OTHER)):
        write(settings.media_directory / sha256[:2] / f"{sha256}.mp4", 1000)
        write(settings.derived_directory / sha256 / "0" / "thumb.jpg", 50)
        write(proxy_path(settings, sha256), 25)
    return opened


def stored(library: Library, sha256: str) -> dict[str, int]:
    """Where anything of the video is stored still."""
    found = {
        name: library.collections[name].count_documents({"video": sha256}) for name in ("scenes", "lineage", "sources")
    }
    found["videos"] = library.collections["videos"].count_documents({"_id": sha256})
    for folder in (library.settings.media_directory, library.settings.derived_directory):
        found[folder.name] = sum(1 for path in folder.rglob("*") if path.is_file() and sha256 in str(path))
    return {name: count for name, count in found.items() if count}


def forgotten(library: Library) -> ForgottenVideo:
    (done,) = forget(library, [SHA256], lambda _: None)
    return done


def test_a_dry_run_says_what_goes_and_forgetting_leaves_nothing_of_it(library: Library) -> None:
    other, all_of_it = stored(library, sha256_of(OTHER)), stored(library, SHA256)
    assert all_of_it.keys() == {"scenes", "lineage", "sources", "videos", "media", "derived"}
    (told,) = forget(library, [SHA256], lambda _: None, dry_run=True)
    assert stored(library, SHA256) == all_of_it
    removed: list[str] = []
    (done,) = forget(library, [SHA256], removed.append)
    assert (done.state, done.name, done.sources, done.freed_bytes) == ("forgotten", NAME, 1, 1075)
    assert replace(done, undo="") == told
    assert {"scenes", "lineage", "packs"} <= done.removed.keys()
    assert removed == [SHA256]
    assert stored(library, SHA256) == {}
    assert stored(library, sha256_of(OTHER)) == other


def test_a_watched_list_does_not_bring_it_back(library: Library) -> None:
    listed = ListedSources(library.collections, library.sources)
    lines = [ListedSource(SHA256[:16], url_of(NAME)), ListedSource("new", "https://example.org/new.mp4")]
    forgotten(library)
    listed.save_many("urls.txt", lines)
    listed.again([SHA256[:16]])
    assert [source.id for source in listed.due(["urls.txt"], limit=9)] == ["new"]


def test_killed_half_way_the_same_again_completes_it(library: Library) -> None:
    def killed(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(library, [SHA256], killed)
    assert library.videos.resolve(NAME) == SHA256
    assert forgotten(library).state == "forgotten"
    assert stored(library, SHA256) == {}


#: A process that ends by kill -9 when it is about to delete a video's document.
_KILLED = """
import os, signal, sys
from pathlib import Path
from pydantic import SecretStr
from pymongo import monitoring
from vidpipe.library.library import Library
from vidpipe.operations.retention.video_removal import forget
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.library.sample_library import GRAPH

home, database, sha256 = sys.argv[1:]

class Listener(monitoring.CommandListener):
    def started(self, event):
        if event.command_name == "delete" and event.command["delete"] == "videos":
            os.kill(os.getpid(), signal.SIGKILL)
    def failed(self, event): ...
    def succeeded(self, event): ...

monitoring.register(Listener())
settings = Settings(home=Path(home), mongodb=MongoDB(uri=SecretStr(os.environ["URI"]), database_name=database))
with Library.open(settings, GRAPH) as library:
    forget(library, [sha256], lambda _: None)
"""


def test_killed_before_the_document_goes_the_tombstone_is_there_and_the_same_again_numbers_it_anew(
    library: Library,
) -> None:
    settings = library.settings
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings.home), settings.mongodb.database_name, SHA256],
        env={**os.environ, "URI": settings.mongodb.uri.get_secret_value()}, check=False,
        cwd=Path(__file__).parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    document = library.videos.get(SHA256)
    assert document is not None
    (tombstone,) = library.collections["tombstones"].find()
    assert tombstone.keys() == {"_id", "change_seq", "forgotten_at", "undo"}
    assert tombstone["change_seq"] > document["change_seq"]
    assert forgotten(library).state == "forgotten"
    (again,) = library.collections["tombstones"].find()
    assert again["change_seq"] > tombstone["change_seq"]
    fill(library, NAME)
    back = library.videos.get(SHA256)
    assert back is not None
    assert back["change_seq"] > again["change_seq"], "added again, it is a later change"


def test_a_video_that_a_run_works_on_is_left_alone(library: Library) -> None:
    before = stored(library, SHA256)
    with library.leases() as run:
        run.take([SHA256], {"_id": 1})
        assert forgotten(library).state == "busy"
        (told,) = forget(library, [SHA256], lambda _: None, dry_run=True)
        assert told.state == "busy"
    (waiting,) = forget(library, [SHA256], lambda _: None, busy={SHA256})
    assert waiting.state == "busy"
    assert stored(library, SHA256) == before


def test_a_store_that_fails_stops_no_other_video_and_the_same_again_completes_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    videos = library.collections["videos"]
    videos.update_one({"_id": SHA256}, {"$set": {"storage.media": "s3://films"}})
    failed, done = forget(library, [SHA256, sha256_of(OTHER)], lambda _: None)
    assert (failed.state, done.state) == ("failed", "forgotten")
    assert "s3://films" in failed.error
    assert not stored(library, sha256_of(OTHER))
    videos.update_one({"_id": SHA256}, {"$unset": {"storage.media": ""}})
    assert forgotten(library).state == "forgotten"
    assert not stored(library, SHA256)


def test_a_file_that_is_only_referenced_stays(library: Library, tmp_path: Path) -> None:
    path = write(tmp_path / "own.mp4")
    library.collections["videos"].update_one(
        {"_id": SHA256}, {"$set": {"ingest.referenced": True, "ingest.path": str(path)}}
    )
    assert forgotten(library).kept == str(path)
    assert path.exists()


def test_a_store_that_cannot_be_reached_stops_the_removal_of_its_videos_only(library: Library) -> None:
    library.places.note(SHA256, "media", "s3://films", "local")
    library.stores = Stores(library.settings, {"s3://films": unreachable})
    done = {one.video: one for one in forget(library, [SHA256, sha256_of(OTHER)], lambda _: None)}
    assert (done[SHA256].state, done[sha256_of(OTHER)].state) == ("failed", "forgotten")
    assert "no route" in done[SHA256].error
    assert stored(library, SHA256)["videos"] == 1
    library.stores = folder_stores(library.settings)
    library.places.note(SHA256, "media", "local")
    assert forgotten(library).state == "forgotten"
    assert stored(library, SHA256) == {}


def unreachable() -> VerifiedStore:
    raise StoreError("There is no route to the host.")
