"""Moves, checks, repairs and drops what stores hold of videos: their files and frame packs.

A part is copied, verified at its destination, and only then recorded there, together with a note of the copy that is
left behind; that copy is deleted next, and the note last. So a killed move leaves one copy or two, and repeating it
completes it. A video is moved under its lease; files that are only referenced stay where they are.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.operations.retention import PruneReport
from vidpipe.sources.download import refetch
from vidpipe.sources.inputs import request_for
from vidpipe.sources.media_store import MediaStore, hash_file
from vidpipe.storage.object_store import DROPPED, LOCAL, Progress, StoredObject, StoreError, media_key, pack_key
from vidpipe.storage.places import MediaPlace
from vidpipe.storage.stores import Stores

MEDIA = "media"
#: The fields of a video's document that are read here.
FIELDS = {"ingest": 1, "raw_video.path": 1, "scenes.pack": 1, PLACE: 1}
#: A condition on sources: stored, and not known to be unusable for fetching the file again.
_USABLE = {"state": "stored", "has_secret": {"$ne": True}, "gone_since": None}
_READ_BYTES = 8 << 20


class StoredPart(NamedTuple):
    """The file of a video, or a frame pack of it, and the store that holds it.

    Attributes:
        name: "media", or "packs.VERSION", as in `VideoPlaces.note`; empty for an object of no video.
        size_bytes: Size of the file; of a pack that of its frames, while the object is larger.
        path: Of the file or the pack's folder on this disk, relative to the home.
    """

    sha256: str
    name: str
    key: str
    store: str
    size_bytes: int
    path: str


def parts_of(row: Document) -> list[StoredPart]:
    """Return what stores hold of a video, given the `FIELDS` of its document."""
    sha256, facts, place = row["_id"], row["ingest"], MediaPlace.model_validate(row.get(PLACE) or {})
    path, pack, found = (row.get("raw_video") or facts)["path"], (row.get("scenes") or {}).get("pack"), []
    if not facts.get("referenced"):
        key = media_key(sha256, Path(path).suffix)
        found.append(StoredPart(sha256, MEDIA, key, place.media, facts["size_bytes"], path))
    if pack:
        key, store = pack_key(sha256, pack["version"]), place.packs.get(pack["version"], LOCAL)
        found.append(StoredPart(sha256, f"packs.{pack['version']}", key, store, pack["bytes"], pack["path"]))
    return found


@dataclass(frozen=True)
class MediaMover:
    """Works on what stores hold of videos, one after another, each under its lease.

    Attributes:
        library: The library.
        stores: The stores.
        progress: Follows and stops the transfers.
        on_done: Called with the number of videos or objects done so far.
        uncache: Takes a local copy out of the cache of remote stores without deleting it, and returns whether it could.
    """

    library: Library
    stores: Stores
    progress: Progress = field(default_factory=Progress)
    on_done: Callable[[int], None] = lambda done: None
    uncache: Callable[[str], bool] = lambda key: True

    def move(
        self, report: PruneReport, to: str, ids: Iterable[str], *, packs: bool = True, limit: int = 0, dry: bool = False
    ) -> None:
        """Move files, and frame packs, to the store `to`: of `limit` videos at most. Safe to interrupt and repeat."""

        def moving(row: Document) -> list[StoredPart]:
            return [part for part in parts_of(row) if part.store not in (to, DROPPED) and (packs or part.name == MEDIA)]

        def work(row: Document) -> None:
            for part in moving(row):
                self.copy(part, part.store, to)
                self.replace(part, to, part.store)

        self.stores.of(to)  # raises if there is none
        rows = (row for row in self._rows(ids) if moving(row) or _left(row))
        self.each(report, ((row["_id"], moving(row)) for row in islice(rows, limit or None)), work, dry=dry)

    def drop(self, report: PruneReport, ids: Iterable[str], still: Document, *, dry: bool = False) -> None:
        """Delete the files of videos, which are on purpose without one from then on, if they meet `still` at that time."""

        def work(row: Document) -> None:
            (file, *_) = parts_of(row)
            if self.library.collections["videos"].find_one({"_id": row["_id"], **still}, {"_id": 1}):
                self.replace(file, DROPPED, file.store, LOCAL)

        self.each(report, ((row["_id"], parts_of(row)[:1]) for row in self._rows(ids)), work, dry=dry)

    def each(
        self,
        report: PruneReport,
        videos: Iterable[tuple[str, Sequence[StoredPart]]],
        work: Callable[[Document], object],
        *,
        dry: bool = False,
    ) -> None:
        """Call `work` with the `FIELDS` of each video, under its lease, and count the parts; `dry` only counts them."""
        with self.library.leases() as leases:
            leases.free_dead()
            for done, (sha256, parts) in enumerate(videos, 1):
                rows = [] if dry else leases.take([sha256], FIELDS)
                try:
                    for row in rows:
                        self.finish(row)
                        work(row)
                    if rows or dry:
                        report.add(sum(part.size_bytes for part in parts), None)
                    else:
                        report.notes.append(f"{sha256[:12]} is used by a run; repeat the command later.")
                except VidpipeError as error:
                    report.notes.append(f"{sha256[:12]}: {error}")
                leases.give_back([sha256])
                self.on_done(done)

    def copy(self, part: StoredPart, source: str, to: str, *, anew: bool = False) -> None:
        """Copy an object from one store into another, and verify it there. Raises StoreError, FetchCancelled.

        With `anew`, an object that is there, which has other bytes than it should, is deleted first.
        """
        if to == LOCAL and not self.uncache(part.key):
            raise StoreError(f"{part.key} is being read from the cache.", "Repeat the command later.")
        target = self.stores.of(to)
        with self._file(part, source) as (file, digest):
            if anew and hash_file(file, self.progress.cancelled)[0] == digest:
                target.delete(part.key)
            target.put(part.key, file, digest, self.progress)
            size_bytes = file.stat().st_size
        found, unpacked = target.stat(part.key), part.name != MEDIA and to == LOCAL
        if not (
            found and (unpacked or (found.size_bytes, found.sha256 or self._hash(to, found)) == (size_bytes, digest))
        ):
            raise StoreError(f"{to} does not hold {part.key} as it was stored; the copy in {source} is kept.")

    def replace(self, part: StoredPart, to: str, *leaves: str) -> None:
        """Record that a part is in the store `to` now ("dropped": in none), and delete its copies in `leaves`."""
        left = [{"store": store, "key": part.key} for store in dict.fromkeys(leaves)]
        if self.library.places.note(part.sha256, part.name, to, part.store, left):
            self.finish(self.library.collections["videos"].find_one({"_id": part.sha256}, FIELDS) or {})

    def finish(self, row: Document) -> None:
        """Delete the copies that a move has left, once more making sure that there is another one."""
        for left in _left(row):
            stores, store, key = {part.key: part.store for part in parts_of(row)}, left["store"], left["key"]
            now = stores.get(key, DROPPED)
            if now not in (store, DROPPED) and self.stores.of(now).stat(key) is None:
                raise StoreError(f"{key} is not in {now}; the copy in {store} is kept.")
            if now != store:
                self.stores.of(store).delete(key)
            self.library.places.settle(row["_id"], left)

    def verify(self, *, hashes: bool = False) -> Iterator[tuple[str, StoredPart]]:
        """Yield each object that is missing, wrong (by its size, with `hashes` by its bytes) or an orphan."""
        held: defaultdict[str, dict[str, StoredPart]] = defaultdict(dict)
        for part in (part for row in self.library.collections["videos"].find({}, FIELDS) for part in parts_of(row)):
            held[part.store][part.key] = part
        cached = {key for store, parts in held.items() if store not in (LOCAL, DROPPED) for key in parts}
        done = 0
        for url in self._urls.union(held) - {DROPPED}:
            for found in self.stores.of(url).objects():
                known = held[url].pop(found.key, None)
                self.on_done(done := done + 1)
                # in the local folders are cached copies, too, and old frame packs, which `vidpipe prune` deletes
                if known is None and (url != LOCAL or (found.key.startswith(MEDIA) and found.key not in cached)):
                    yield "orphan", StoredPart("", "", found.key, url, found.size_bytes, "")
                elif (
                    known
                    and known.name == MEDIA
                    and (found.size_bytes != known.size_bytes or (hashes and self._hash(url, found) != known.sha256))
                ):
                    yield "wrong", known
            yield from (("missing", part) for part in held[url].values())

    def repair(self, report: PruneReport, problems: Iterable[StoredPart]) -> None:
        """Store missing and wrong objects again, from a local copy, another store, or a source of the video."""
        wrong = defaultdict[str, list[StoredPart]](list)
        for part in problems:
            wrong[part.sha256].append(part)

        def work(row: Document) -> None:
            for part in wrong[row["_id"]]:
                self._repair(part, self._urls - {part.store}, row["ingest"]["urls"])

        self.each(report, wrong.items(), work)

    def _repair(self, part: StoredPart, sources: Iterable[str], urls: Sequence[str]) -> None:
        for source in sources:
            with suppress(StoreError):  # none there, or damaged, too
                self.copy(part, source, part.store, anew=True)
                return
        if part.name != MEDIA:
            self.library.places.note(part.sha256, part.name, LOCAL)  # where it is missing: the next run makes it again
            return
        refetch(self.library.settings, part.sha256, urls, cancelled=self.progress.cancelled)
        if part.store != LOCAL:
            self.copy(part, LOCAL, part.store, anew=True)

    def delete_orphans(self, report: PruneReport, orphans: Iterable[StoredPart]) -> None:
        """Delete objects that are older than a day and that still no video refers to."""
        before = datetime.now(UTC) - timedelta(days=1)
        for part in orphans:
            found = self.stores.of(part.store).stat(part.key)
            rows = self._rows(re.findall(r"[0-9a-f]{64}", part.key))
            used = any((part.key, part.store) == (one.key, one.store) for row in rows for one in parts_of(row))
            if found and found.modified_at and found.modified_at < before and not used:
                self.stores.of(part.store).delete(part.key)
                report.add(found.size_bytes, found.modified_at)

    def usage(self) -> dict[str, Any]:
        """Return what each store holds ("dropped": the deleted files), and what should be elsewhere."""
        stores, ids = defaultdict[str, Counter[str]](Counter), list[str]()
        configured = self.library.settings.storage
        for part in (part for row in self.library.collections["videos"].find({}, FIELDS) for part in parts_of(row)):
            stores[part.store].update({"videos": 1, "bytes": part.size_bytes} if part.name == MEDIA else {"packs": 1})
            ids += [part.sha256] if part.store == DROPPED else []
        elsewhere = sum(held["videos"] for store, held in stores.items() if store not in (configured.media, DROPPED))
        notes = [f"{elsewhere} videos are not in [Storage] Media, {configured.media}: `vidpipe store move`."] * bool(
            elsewhere
        )
        return {
            "media": configured.media, "stores": stores, "elsewhere": elsewhere, "notes": notes,
            "dropped_without_source": len(ids) - len(self.with_source(ids)), "cache_limit_bytes": configured.cache_mb * 10**6,
        }  # fmt: skip

    def with_source(self, ids: Iterable[str]) -> set[str]:
        """Return those of the videos that have a source which may give their bytes again, as far as is known."""
        find, found = self.library.collections["sources"].find, set[str]()
        for row in (row for chunk in chunked(ids) for row in find({"video": {"$in": chunk}, **_USABLE})):
            with suppress(VidpipeError):  # a local file that is gone
                request_for(row["url"])
                found.add(row["video"])
        return found

    @property
    def _urls(self) -> set[str]:
        storage, used = self.library.settings.storage, self.library.collections["videos"].distinct(f"{PLACE}.media")
        return {LOCAL, storage.media, storage.cold_media or LOCAL, *used} - {DROPPED}

    def _rows(self, ids: Iterable[str]) -> Iterator[Document]:
        for chunk in chunked(ids):
            yield from list(self.library.collections["videos"].find({"_id": {"$in": chunk}}, FIELDS))

    def _hash(self, store: str, found: StoredObject) -> str:
        digest = hashlib.sha256()
        for start in range(0, found.size_bytes, _READ_BYTES):
            digest.update(self.stores.of(store).read(found.key, start, _READ_BYTES))
        return digest.hexdigest()

    @contextmanager
    def _file(self, part: StoredPart, source: str) -> Iterator[tuple[Path, str]]:
        """Give a file with a part's bytes on this disk, and their hash, which `put` verifies."""
        path = self.library.settings.resolve(part.path)
        if part.name == MEDIA and path.is_file() and path.stat().st_size == part.size_bytes:
            yield path, part.sha256
            return
        file = MediaStore(self.library.settings).incoming / f"{part.key.replace('/', '-')}.part"
        digest = self.stores.of(source).get(part.key, file, self.progress)
        yield file, part.sha256 if part.name == MEDIA else digest
        file.unlink(missing_ok=True)


def _left(row: Document) -> Sequence[Document]:
    return (row.get(PLACE) or {}).get("left") or ()
