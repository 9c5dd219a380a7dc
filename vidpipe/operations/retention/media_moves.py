"""Moves, checks, repairs and drops what stores hold of videos: their files and frame packs.

A part is copied, verified at its destination, and only then recorded there, together with a note of the copy that is
left behind; that copy is deleted next, and the note last. So a killed move leaves one copy or two, and repeating it
completes it. A video is moved under its lease; files that are only referenced stay where they are.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import Document
from vidpipe.library.videos import VideoIds, chunked
from vidpipe.operations.retention import PruneReport, cutoff
from vidpipe.sources.download import refetch
from vidpipe.sources.media_store import MediaStore, hash_file
from vidpipe.sources.source_request import request_for
from vidpipe.storage.object_store import DROPPED, LOCAL, Progress, StoredObject, StoreError, media_key, pack_key
from vidpipe.storage.places import MediaPlace

MEDIA = "media"
#: The fields of a video's document that are read here.
FIELDS = {"ingest": 1, "raw_video.path": 1, "scenes.pack": 1, PLACE: 1}
_READ_BYTES = 8 << 20


class StoredPart(NamedTuple):
    """The file of a video, or a frame pack of it, and the store that holds it.

    Attributes:
        name: "media", or "packs.VERSION", as in `VideoPlaces.note`; empty for an object of no video.
        size_bytes: Size of the file; of a pack that of its frames, while the object is larger; 0 for an old pack.
        path: Of the file on this disk, relative to the home.
        urls: Sources of the video.
        left: Whether a move has left copies of the video's parts that are still to be deleted.
    """

    sha256: str
    name: str
    key: str
    store: str
    size_bytes: int
    path: str = ""
    urls: tuple[str, ...] = ()
    left: bool = False


def parts_of(row: Document) -> Iterator[StoredPart]:
    """Yield what stores hold of a video, given the `FIELDS` of its document."""
    facts, stored, pack = row["ingest"], row.get(PLACE) or {}, (row.get("scenes") or {}).get("pack")
    path, place, more = (row.get("raw_video") or facts)["path"], MediaPlace(**stored), bool(stored.get("left"))
    if not facts.get("referenced"):
        key = media_key(row["_id"], Path(path).suffix)
        yield StoredPart(row["_id"], MEDIA, key, place.media, facts["size_bytes"], path, tuple(facts["urls"]), more)
    sizes = {**dict.fromkeys(place.packs, 0), **({pack["version"]: pack["bytes"]} if pack else {})}
    for version, size_bytes in sizes.items():
        key, store = pack_key(row["_id"], version), place.packs.get(version, LOCAL)
        yield StoredPart(row["_id"], f"packs.{version}", key, store, size_bytes, left=more)


@dataclass(frozen=True)
class MediaMover:
    """Works on what stores hold of videos, one after another, each under its lease.

    Attributes:
        library: The library.
        progress: Follows and stops the transfers.
        on_done: Called with the number of files and frame packs done so far.
    """

    library: Library
    progress: Progress = field(default_factory=Progress)
    on_done: Callable[[int], None] = lambda done: None

    def parts(self, ids: Iterable[str] | None = None) -> Iterator[StoredPart]:
        """Yield what stores hold of the videos; None: of all."""
        videos = self.library.collections["videos"]
        for chunk in chunked(VideoIds(row["_id"] for row in videos.find({}, {"_id": 1})) if ids is None else ids):
            for row in list(videos.find({"_id": {"$in": chunk}}, FIELDS)):  # no cursor waits for a transfer
                yield from parts_of(row)

    def move(
        self, report: PruneReport, to: str, parts: Iterable[StoredPart], *, limit: int = 0, dry: bool = False
    ) -> None:
        """Move those of the files and frame packs to the store `to` that are in others, `limit` of them at most."""

        def work(part: StoredPart) -> None:
            if part.store not in (to, DROPPED):
                self.copy(part, part.store, to)
                self.replace(part, to, part.store)

        self.library.stores.of(to)  # raises if there is none
        moving = (part for part in parts if part.store not in (to, DROPPED) or part.left)
        self.each(report, islice(moving, limit or None), work, dry=dry)

    def each(
        self, report: PruneReport, parts: Iterable[StoredPart], work: Callable[[StoredPart], None], *, dry: bool = False
    ) -> None:
        """Call `work` with each part while the lease of its video is held, and count it; `dry` only counts."""
        with self.library.leases() as leases:
            leases.free_dead()
            for done, part in enumerate(parts, 1):
                try:
                    if not dry:
                        rows = leases.take([part.sha256], FIELDS)
                        if not rows:
                            raise StoreError("a run uses this video; repeat the command later.")
                        self.finish(rows[0])
                        for now in parts_of(rows[0]):  # another process may have moved it since it was listed
                            if now.name == part.name:
                                work(now)
                    report.add(part.size_bytes, None)
                except VidpipeError as error:
                    report.notes.append(f"{part.sha256[:12]}: {error}")
                leases.give_back([part.sha256])
                self.on_done(done)

    def copy(self, part: StoredPart, source: str, to: str) -> None:
        """Copy an object from one store into another, and verify it there. Raises StoreError, FetchCancelled."""
        if to == LOCAL and not self.library.files.cache.discard(part.key):
            raise StoreError(f"{part.key} is being read from the cache.", "Repeat the command later.")
        with self._file(part, source) as (file, digest):
            self.library.stores.of(to).put(part.key, file, digest, self.progress)
            size_bytes = file.stat().st_size
        found, unpacked = self.library.stores.of(to).stat(part.key), part.name != MEDIA and to == LOCAL
        if not found or not (
            unpacked or (found.size_bytes == size_bytes and (found.sha256 or self._read(to, found)) == digest)
        ):
            raise StoreError(f"{to} does not hold {part.key} as it was stored; the copy in {source} is kept.")

    def replace(self, part: StoredPart, to: str, *leaves: str) -> None:
        """Record that a part is in the store `to` now ("dropped": in none), and delete its copies in `leaves`."""
        left = [{"store": store, "key": part.key} for store in dict.fromkeys(leaves)]
        if self.library.places.note(part.sha256, part.name, to, part.store, left):
            self.finish(self.library.collections["videos"].find_one({"_id": part.sha256}, FIELDS) or {})

    def finish(self, row: Document) -> None:
        """Delete the copies that a move has left, once more making sure that there is another one."""
        for left in (row.get(PLACE) or {}).get("left") or ():
            now = {part.key: part.store for part in parts_of(row)}.get(left["key"], DROPPED)
            if now not in (left["store"], DROPPED) and self.library.stores.of(now).stat(left["key"]) is None:
                raise StoreError(f"{left['key']} is not in {now}; the copy in {left['store']} is kept.")
            self.library.files.cache.discard(left["key"])  # of a dropped file
            if now != left["store"]:
                self.library.stores.of(left["store"]).delete(left["key"])
            self.library.places.settle(row["_id"], left)

    def verify(self, *, hashes: bool = False) -> Iterator[tuple[str, StoredPart]]:
        """Yield each object that is missing, wrong (by its size, with `hashes` by its bytes) or an orphan."""
        places = {part.key: (part.store, part.size_bytes) for part in self.parts()}
        missing = {key for key, (store, _) in places.items() if store != DROPPED}
        storage, cache = self.library.settings.storage, self.library.files.cache
        urls = {LOCAL, storage.media, storage.cold_media or LOCAL, *(store for store, _ in places.values())}
        for url in urls - {DROPPED}:
            for found in self.library.stores.of(url).objects():
                media, (store, size_bytes) = found.key.startswith(MEDIA), places.get(found.key, ("", 0))
                if store == url:
                    missing.discard(found.key)
                    same = not media or found.size_bytes == size_bytes
                    if not same or (hashes and media and self._read(url, found) not in found.key):
                        yield from (("wrong", part) for part in self._parts_at(found.key))
                # `vidpipe prune` deletes old frame packs; in the local folders are cached copies, too
                elif (media or store) and not (url == LOCAL and cache.entry(found.key).exists()):
                    yield "orphan", StoredPart("", "", found.key, url, found.size_bytes)
        yield from (("missing", part) for part in self.parts() if part.key in missing)

    def _parts_at(self, key: str) -> list[StoredPart]:
        """Return what is stored under a key: of the video that it names, if that is known."""
        return [part for part in self.parts(key.replace(".", "/").split("/")[1:3]) if part.key == key]

    def repair(self, part: StoredPart) -> None:
        """Store a missing or wrong object again, from a local copy or a source of the video."""
        path, cancelled = self.library.settings.resolve(part.path), self.progress.cancelled
        if part.name != MEDIA:
            self.library.places.note(part.sha256, part.name, LOCAL)  # where it is missing: the next run makes it again
        elif part.store == LOCAL or not path.is_file() or hash_file(path, cancelled)[0] != part.sha256:
            refetch(self.library.settings, part.sha256, part.urls, cancelled=cancelled)
        if part.name == MEDIA and part.store != LOCAL:
            self.library.stores.of(part.store).delete(part.key)
            self.copy(part, LOCAL, part.store)
            self.library.files.cache.adopt(part.key, part.size_bytes)

    def delete_orphans(self, report: PruneReport, orphans: Iterable[StoredPart]) -> None:
        """Delete objects older than a day that no video refers to, or of which its own store has another copy."""
        for part in orphans:
            found = self.library.stores.of(part.store).stat(part.key)
            needed = any(one.store == part.store or not self._exists(one) for one in self._parts_at(part.key))
            modified_at = found.modified_at.timestamp() if found and found.modified_at else math.inf
            if modified_at < cutoff(1) and not needed:
                self.library.stores.of(part.store).delete(part.key)
                report.add(part.size_bytes, modified_at)

    def _exists(self, part: StoredPart) -> bool:
        return part.store == DROPPED or self.library.stores.of(part.store).stat(part.key) is not None

    def usage(self) -> dict[str, Any]:
        """Return what `vidpipe store status` shows: per store, its videos, bytes and frame packs; and the cache.

        "dropped" has the deleted files; "elsewhere" is the number of videos in other stores than that of new ones.
        """
        stores, dropped = defaultdict[str, Counter[str]](Counter), list[str]()
        for part in self.parts():
            stores[part.store].update({"videos": 1, "bytes": part.size_bytes} if part.name == MEDIA else {"packs": 1})
            dropped += [part.sha256] * (part.store == DROPPED)
        cache, here = self.library.files.cache, (DROPPED, self.library.settings.storage.media)
        return {
            "stores": stores,
            "elsewhere": sum(held["videos"] for url, held in stores.items() if url not in here),
            "cache": {"bytes": cache.used_bytes(), "limit_bytes": cache.limit_bytes},
            "dropped_without_source": len(dropped) - len(self.with_source(dropped)),
        }

    def with_source(self, ids: Iterable[str]) -> set[str]:
        """Return those of the videos that have a source which may give their bytes again, as far as is known."""
        find, found = self.library.collections["sources"].find, set[str]()
        usable = {"state": "stored", "has_secret": {"$ne": True}, "gone_since": None}
        for row in (row for chunk in chunked(ids) for row in find({"video": {"$in": chunk}, **usable})):
            with suppress(VidpipeError):  # a local file that is gone
                request_for(row["url"])
                found.add(row["video"])
        return found

    def _read(self, store: str, found: StoredObject) -> str:
        """Return the sha256 of an object's bytes."""
        digest = hashlib.sha256()
        for start in range(0, found.size_bytes, _READ_BYTES):
            digest.update(self.library.stores.of(store).read(found.key, start, _READ_BYTES))
        return digest.hexdigest()

    @contextmanager
    def _file(self, part: StoredPart, source: str) -> Iterator[tuple[Path, str]]:
        """Give a file with a part's bytes on this disk, and their hash, which `put` verifies."""
        path = self.library.settings.resolve(part.path)
        same = part.name == MEDIA and path.is_file() and path.stat().st_size == part.size_bytes
        if same and (source == LOCAL or hash_file(path, self.progress.cancelled)[0] == part.sha256):
            yield path, part.sha256
            return
        file = MediaStore(self.library.settings).incoming / f"{part.key.replace('/', '-')}.part"
        if part.name != MEDIA:
            file.unlink(missing_ok=True)  # it may be of another pack with the same version
        digest = self.library.stores.of(source).get(part.key, file, self.progress)
        if part.name == MEDIA and digest != part.sha256:
            file.unlink()
            raise StoreError(f"{part.key} in {source} has other bytes than were stored.", "Run `vidpipe store repair`.")
        yield file, digest
        file.unlink(missing_ok=True)
