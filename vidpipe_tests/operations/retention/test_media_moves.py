"""Moving, checking, repairing and dropping stored files: there is always a copy, and repeating completes a move."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport
from vidpipe.operations.retention.media_moves import MediaMover
from vidpipe.settings import Settings
from vidpipe.sources.records import SourceRecord
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.storage.object_store import DROPPED, LOCAL, media_key, pack_key
from vidpipe.storage.stores import Stores
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.operations.retention.folder_store import COLD, OTHER, FolderStore, folder_stores

VERSION = "0123456789abcdef"


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        opened.stores = folder_stores(settings)
        yield opened


@pytest.fixture
def mover(library: Library) -> MediaMover:
    return MediaMover(library)


def add(library: Library, name: str, *, pack: bool = False, referenced: bool = False) -> str:
    """Adds a video whose file has the text `name`, and gives its hash."""
    settings, data = library.settings, name.encode() * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    path = settings.home / name if referenced else settings.media_directory / sha256[:2] / f"{sha256}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    facts = IngestFacts(
        path=settings.relative(path), size_bytes=len(data), modified_ns=path.stat().st_mtime_ns, names=(name,),
        referenced=referenced, urls=(path.as_uri(),),
    )  # fmt: skip
    library.videos.add(sha256, facts)
    if pack:
        folder = settings.derived_directory / sha256 / VERSION
        folder.mkdir(parents=True)
        (folder / "frames.pack").write_bytes(b"frames of " + data)
        (folder / "thumb_00000.jpg").write_bytes(b"thumbnail")
        stored = {"version": VERSION, "path": settings.relative(folder), "frames": 1, "bytes": 10}
        library.collections["videos"].update_one({"_id": sha256}, {"$set": {"scenes": {"pack": stored}}})
    return sha256


def move(mover: MediaMover, to: str, *ids: str) -> PruneReport:
    report = PruneReport("move")
    mover.move(report, to, mover.parts(ids or mover.library.collections["videos"].distinct("_id")))
    return report


def problems(mover: MediaMover, *, hashes: bool = False) -> list[tuple[str, str, str]]:
    return sorted((kind, part.store, part.key) for kind, part in mover.verify(hashes=hashes))


def local(library: Library) -> set[Path]:
    folders = (library.settings.media_directory, library.settings.derived_directory)
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_files_and_packs_go_to_another_store_and_come_back_the_same(library: Library, mover: MediaMover) -> None:
    sha256 = add(library, "a.mp4", pack=True)
    add(library, "outside.mp4", referenced=True)
    before = {path: path.read_bytes() for path in local(library)}
    told = PruneReport("move")
    mover.move(told, OTHER, mover.parts([sha256]), dry=True)
    done = move(mover, OTHER)
    assert (done.count, done.size_bytes, done.notes) == (told.count, told.size_bytes, []) == (2, 5010, [])
    assert local(library) == set()
    place = library.places.get(sha256)
    assert (place.media, dict(place.packs)) == (OTHER, {VERSION: OTHER})
    assert mover.usage()["stores"] == {
        OTHER: {"videos": 1, "bytes": 5000, "packs": 1},
    }
    assert problems(mover, hashes=True) == []
    assert move(mover, OTHER).count == 0
    assert move(mover, LOCAL).count == 2
    assert {path: path.read_bytes() for path in local(library)} == before
    assert library.places.get(sha256).media == LOCAL
    assert list(mover.library.stores.of(OTHER).objects()) == []
    assert (library.settings.home / "outside.mp4").exists()


def test_a_video_that_a_run_uses_is_left_alone_and_named(library: Library, mover: MediaMover) -> None:
    sha256, other = add(library, "a.mp4"), add(library, "b.mp4")
    with library.leases() as run:
        run.take([sha256], {"_id": 1})
        done = move(mover, OTHER)
    assert done.count == 1
    assert sha256[:12] in done.notes[0]
    assert (library.places.get(sha256).media, library.places.get(other).media) == (LOCAL, OTHER)


def test_a_damaged_file_is_not_moved_and_the_others_are(library: Library, mover: MediaMover) -> None:
    sha256, other = add(library, "a.mp4"), add(library, "b.mp4")
    (damaged,) = library.settings.media_directory.rglob(f"{sha256}.mp4")
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    done = move(mover, OTHER)
    assert [note.startswith(sha256[:12]) for note in done.notes] == [True]
    assert (library.places.get(sha256).media, library.places.get(other).media) == (LOCAL, OTHER)
    assert damaged.exists()


def test_what_arrives_damaged_is_kept_at_the_source(library: Library, settings: Settings) -> None:
    class Lossy(FolderStore):
        def put(self, *given: object) -> None:
            super().put(*given)  # type: ignore[arg-type]
            self.path(str(given[0])).write_bytes(b"short")

    sha256 = add(library, "a.mp4")
    library.stores = Stores(settings, {OTHER: lambda: Lossy(OTHER, settings.home / "lossy")})
    done = move(MediaMover(library), OTHER)
    assert "the copy in local is kept" in done.notes[0]
    assert library.places.get(sha256).media == LOCAL
    assert len(local(library)) == 1


#: Moves all videos to and fro until it is killed.
_MOVING = """
import os, sys
from pathlib import Path
from pydantic import SecretStr
from vidpipe.library.library import Library
from vidpipe.operations.retention.media_moves import MediaMover
from vidpipe.operations.retention import PruneReport
from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe.storage.stores import Stores
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.operations.retention.folder_store import OTHER, folder_stores

home, database = sys.argv[1:]
settings = Settings(home=Path(home), mongodb=MongoDB(uri=SecretStr(os.environ["URI"]), database_name=database))
with Library.open(settings, GRAPH) as library:
    library.stores = folder_stores(settings)
    mover = MediaMover(library)
    ids = library.collections["videos"].distinct("_id")
    print("moving", flush=True)
    while True:
        for to in (OTHER, "local"):
            mover.move(PruneReport("move"), to, mover.parts(ids))
"""


#: Name of the process in its connections.
KILLED = "killed"


def _wait_for_the_end_of(name: str, library: Library) -> None:
    """Wait until the server has done all that a killed process asked for: a note of a move may come after its end."""
    of_it = [{"$currentOp": {"idleConnections": True}}, {"$match": {"appName": name}}]
    while list(library.connection.client.admin.aggregate(of_it)):
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_killed_at_any_moment_nothing_is_lost_and_a_repetition_completes_it(
    library: Library, mover: MediaMover, kills: int
) -> None:
    settings = library.settings
    hashes = [add(library, f"{number}.mp4", pack=True) for number in range(6)]
    uri = settings.mongodb.uri.get_secret_value()
    uri += f"{'&' if '?' in uri else '/?'}appName={KILLED}"
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", _MOVING, str(settings.home), settings.mongodb.database_name],
            env={**os.environ, "URI": uri},
            cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "moving\n"
        time.sleep(random.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        _wait_for_the_end_of(KILLED, library)
        assert [found for found in problems(mover, hashes=True) if found[0] != "orphan"] == [], "a copy is lost"
    assert move(mover, OTHER).notes == []
    for path in local(library):  # a copy that was about to be moved back
        os.utime(path, (1, 1))
        os.utime(path.parent, (1, 1))
    mover.delete_orphans(PruneReport("repair"), [part for _, part in mover.verify()])
    assert problems(mover, hashes=True) == []
    # what a killed transfer has left is resumed, or deleted by `vidpipe prune`
    assert [path for path in local(library) if path.parent.name != "incoming" and ".partial" not in str(path)] == []
    stored = {found.key for found in mover.library.stores.of(OTHER).objects()}
    assert stored == {key for one in hashes for key in (media_key(one, ".mp4"), pack_key(one, VERSION))}
    assert not library.collections["videos"].count_documents({"storage.left.0": {"$exists": True}})


def test_what_was_moved_since_it_was_listed_is_moved_from_where_it_is(library: Library, mover: MediaMover) -> None:
    sha256 = add(library, "a.mp4", pack=True)
    listed = list(mover.parts())
    move(mover, OTHER)
    report = PruneReport("move")
    mover.move(report, COLD, listed)
    assert report.notes == []
    place = library.places.get(sha256)
    assert (place.media, dict(place.packs)) == (COLD, {VERSION: COLD})
    assert problems(mover, hashes=True) == []


def test_a_move_uses_neither_a_damaged_copy_nor_what_another_transfer_left(library: Library, mover: MediaMover) -> None:
    sha256 = add(library, "a.mp4", pack=True)
    (file,) = library.settings.media_directory.rglob(f"{sha256}.mp4")
    move(mover, OTHER)
    packed = mover.library.stores.of(OTHER).read(pack_key(sha256, VERSION), 0, 1 << 20)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"x" * 5000)
    for key in (media_key(sha256, ".mp4"), pack_key(sha256, VERSION)):
        part = library.settings.media_directory / "incoming" / f"{key.replace('/', '-')}.part"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(b"of something else")
    assert move(mover, COLD).notes == []
    assert mover.library.stores.of(COLD).read(pack_key(sha256, VERSION), 0, 1 << 20) == packed


def test_frame_packs_of_former_settings_move_too_and_are_no_orphans(library: Library, mover: MediaMover) -> None:
    sha256 = add(library, "a.mp4", pack=True)
    move(mover, OTHER)
    library.collections["videos"].update_one({"_id": sha256}, {"$unset": {"scenes": ""}})
    assert problems(mover) == []
    assert move(mover, COLD).count == 2
    assert list(mover.library.stores.of(OTHER).objects()) == []
    assert problems(mover) == []


def test_an_interrupted_deletion_is_completed_only_while_there_is_another_copy(
    library: Library, mover: MediaMover
) -> None:
    sha256 = add(library, "a.mp4")
    key = media_key(sha256, ".mp4")
    library.places.note(sha256, "media", OTHER, LOCAL, [{"store": LOCAL, "key": key}])
    assert "is not in s3://other/media; the copy in local is kept" in move(mover, OTHER).notes[0]
    assert len(local(library)) == 1
    (path,) = local(library)
    mover.library.stores.of(OTHER).put(key, path, sha256, mover.progress)
    assert move(mover, OTHER).notes == []
    assert local(library) == set()


def test_missing_and_wrong_objects_and_orphans_are_found_and_repaired(
    library: Library, mover: MediaMover, tmp_path: Path
) -> None:
    cached, source, lost = (add(library, name) for name in ("cached.mp4", "source.mp4", "lost.mp4"))
    kept = {path.stem: path.read_bytes() for path in local(library)}
    move(mover, OTHER)
    store = mover.library.stores.of(OTHER)
    assert isinstance(store, FolderStore)
    paths = {sha256: store.path(media_key(sha256, ".mp4")) for sha256 in kept}
    paths[cached].write_bytes(b"x" * len(kept[cached]))
    for sha256 in (source, lost):
        paths[sha256].unlink()
    place = library.settings.media_directory / cached[:2] / f"{cached}.mp4"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(kept[cached])
    library.files.cache.adopt(media_key(cached, ".mp4"), len(kept[cached]))
    file = tmp_path / "source.mp4"
    file.write_bytes(kept[source])
    library.collections["videos"].update_one({"_id": source}, {"$set": {"ingest.urls": [file.as_uri()]}})
    unknown, new = hashlib.sha256(b"old").hexdigest(), hashlib.sha256(b"new").hexdigest()
    for sha256 in (unknown, new):
        store.path(media_key(sha256, ".mp4")).parent.mkdir(parents=True, exist_ok=True)
        store.path(media_key(sha256, ".mp4")).write_bytes(b"orphan")
    os.utime(store.path(media_key(unknown, ".mp4")), (1, 1))
    assert ("wrong", OTHER, media_key(cached, ".mp4")) not in problems(mover)
    found = list(mover.verify(hashes=True))
    assert sorted((kind, part.key) for kind, part in found) == sorted(
        [
            ("wrong", media_key(cached, ".mp4")),
            *(("missing", media_key(sha256, ".mp4")) for sha256 in (source, lost)),
            *(("orphan", media_key(sha256, ".mp4")) for sha256 in (unknown, new)),
        ]
    )
    report = PruneReport("repair")
    mover.each(report, [part for kind, part in found if kind != "orphan"], mover.repair)
    assert paths[cached].read_bytes() == kept[cached]
    # the bytes are no video: what a source gives is checked like a new one
    assert {note[:12] for note in report.notes} == {source[:12], lost[:12]}
    deleted = PruneReport("repair")
    mover.delete_orphans(deleted, [part for kind, part in found if kind == "orphan"])
    assert deleted.count == 1
    assert store.stat(media_key(unknown, ".mp4")) is None
    assert store.stat(media_key(new, ".mp4")) is not None


def test_a_dropped_file_is_deleted_everywhere_and_is_no_problem(library: Library, mover: MediaMover) -> None:
    sha256 = add(library, "a.mp4", pack=True)
    record = SourceRecord(id="1", url="https://example.org/a.mp4", state="stored", video=sha256)
    library.sources.save(record)
    assert mover.with_source([sha256]) == {sha256}
    (file, _) = mover.parts([sha256])
    mover.replace(file, DROPPED, LOCAL)
    assert library.places.get(sha256).media == DROPPED
    assert [path.name for path in sorted(local(library))] == ["frames.pack", "thumb_00000.jpg"]
    assert problems(mover) == []
    assert mover.usage()["dropped_without_source"] == 0
    library.collections["sources"].update_one({"_id": "1"}, {"$set": {"has_secret": True}})
    assert mover.usage()["dropped_without_source"] == 1
    assert move(mover, OTHER).notes == [], "its pack can be moved still"
    assert library.places.get(sha256).media == DROPPED
