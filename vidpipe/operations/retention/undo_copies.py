"""Sealed copies of forgotten videos, from which `vidpipe forget --undo` restores them within [Privacy] GraceDays.

    data/undo/<id>.sealed      a tar archive: documents as BSON, and the files of the local folders and the stores

The id is random. The bytes are masked, so that no search through files finds a text or hash in them; they are not
encrypted. A copy is complete or does not exist.
"""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import move, rmtree
from typing import IO, Any
from urllib.parse import quote, unquote

import bson
from pymongo.errors import DuplicateKeyError

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import Document
from vidpipe.operations.retention import PruneReport, cutoff
from vidpipe.safe_files import extract_files, private_directory
from vidpipe.settings import Settings
from vidpipe.sources.media_store import MediaStore, hash_file
from vidpipe.storage.object_store import DROPPED, LOCAL, Progress, StoredObject
from vidpipe.storage.verified_store import VerifiedStore

#: Collections with further documents of a video.
RELATED = ("scenes", "answers", "lineage", "verdicts", "dataset_items", "distinct")
#: Field of a video that is being forgotten: id of its copy, "" without one.
FORGETTING = "forgetting"
#: Fewer digits of a hash may mean any video.
_MIN_DIGITS = 4
_MASK = bytes(byte ^ 0xA5 for byte in range(256))


class _MaskedFile(io.RawIOBase):
    """A file whose bytes are masked when they are written, and unmasked when they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size).translate(_MASK)

    def write(self, data: Any) -> int:
        return self._file.write(bytes(data).translate(_MASK))


def sealed_path(settings: Settings, copy: str) -> Path:
    """Return where the copy with this id is."""
    return settings.data_directory / "undo" / f"{copy}.sealed"


def stored_objects(library: Library, sha256: str) -> Iterator[tuple[VerifiedStore, StoredObject]]:
    """Yield the objects of a video in every store but the local folders. Raises StoreError."""
    place, storage, stores = library.places.get(sha256), library.settings.storage, library.stores
    left = {one["store"] for one in (library.videos.get(sha256) or {}).get(PLACE, {}).get("left", ())}
    for url in {place.media, *place.packs.values(), *left, storage.media, storage.cold_media} - {LOCAL, DROPPED, ""}:
        for prefix in (f"media/{sha256[:2]}/{sha256}.", f"packs/{sha256}/"):
            yield from ((stores.of(url), found) for found in list(stores.of(url).objects(prefix)))


def documents_of(library: Library, sha256: str) -> dict[str, list[Document]]:
    """Return collection -> the documents of a video and of the sources that give it, or gave it before."""
    queries: dict[str, Document] = {name: {"video": sha256} for name in RELATED}
    queries |= {"videos": {"_id": sha256}, "sources": {"$or": [{"video": sha256}, {"earlier_videos": sha256}]}}
    return {name: list(library.collections[name].find(query)) for name, query in queries.items()}


def seal(library: Library, sha256: str, copy: str) -> None:
    """Write the copy of a video, unless it exists. It needs as much space as the video's files."""
    path, settings = sealed_path(library.settings, copy), library.settings
    if path.exists():
        return
    private_directory(path.parent)
    part, derived = path.with_suffix(".part"), settings.derived_directory / sha256
    with (
        _work_folder(path) as folder,
        open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        tarfile.open(fileobj=_MaskedFile(file), mode="w|") as archive,
    ):
        for name, documents in documents_of(library, sha256).items():
            content, member = b"".join(map(bson.encode, documents)), tarfile.TarInfo(f"documents/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        is_local = library.places.get(sha256).media == LOCAL  # otherwise its files here are a cache
        for found in MediaStore(settings).files(sha256) if is_local else ():
            archive.add(found, f"local/media/{found.relative_to(settings.media_directory)}")
        if derived.is_dir():
            archive.add(derived, f"local/derived/{sha256}")
        for store, stored in stored_objects(library, sha256):
            store.get(stored.key, fetched := folder / "object", Progress())
            archive.add(fetched, f"store/{quote(store.url, safe='')}/{stored.key}")
            fetched.unlink()
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(path)


@contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Give a new folder for unmasked files; what an interrupted attempt left in it is deleted."""
    folder = path.with_suffix(".work")
    rmtree(folder, ignore_errors=True)
    private_directory(folder)
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


def _copy_of(library: Library, given: str) -> str:
    """Return the id of the copy of a forgotten video, given that id, its hash or the beginning of it.

    Raises:
        VidpipeError: There is none.
    """
    begins = {"_id": {"$gte": given.lower(), "$lte": f"{given.lower()}g"}}
    found = library.collections["tombstones"].find_one({"$or": [begins, {"undo": given}]})
    found = found or library.collections["videos"].find_one({**begins, FORGETTING: {"$exists": True}}) or {}
    copy: str = found.get("undo") or found.get(FORGETTING) or ""
    if not copy or len(given) < _MIN_DIGITS or not sealed_path(library.settings, copy).exists():
        hint = "Copies are kept for [Privacy] GraceDays; audit.jsonl names the hash and copy of each forgotten video."
        raise VidpipeError(f"There is no copy of {given}.", hint)
    return copy


def restore(library: Library, given: str, add_partition: Callable[[str], None]) -> str:
    """Restore a forgotten video as it was, and delete the copy. Safe to interrupt and repeat.

    Args:
        library: The library.
        given: The video's hash or its beginning, or the id of the copy.
        add_partition: Adds the video's partition to Dagster.

    Returns:
        Its hash.

    Raises:
        VidpipeError: There is no copy, or the video was added again meanwhile, or is being forgotten.
        StoreError: A store does not take its file.
    """
    copy, videos = _copy_of(library, given), library.collections["videos"]
    path = sealed_path(library.settings, copy)
    with _work_folder(path) as folder:
        with path.open("rb") as file, tarfile.open(fileobj=_MaskedFile(file), mode="r|") as archive:
            extract_files(archive, archive, folder)
        rows = {one.name: bson.decode_all(one.read_bytes()) for one in (folder / "documents").iterdir()}
        (video,) = rows.pop("videos")
        sha256: str = video["_id"]
        present = videos.find_one({"_id": sha256}, {FORGETTING: 1, "lease": 1})
        if present is not None and (present.get(FORGETTING) != copy or "lease" in present):
            message = f"Video {sha256[:12]} was added again, or is being forgotten right now; nothing was restored."
            raise VidpipeError(message, "`vidpipe forget` removes it first.")
        _restore_files(library, folder)
    for name, found in rows.items():
        for row in found:
            forgotten = {"_id": row["_id"], **({"state": "forgotten"} if name == "sources" else {})}
            with suppress(DuplicateKeyError):  # this source has been fetched again, and gives another video
                library.collections[name].replace_one(forgotten, row, upsert=True)
    (number,) = library.changes.take()
    video.pop("lease", None)
    videos.replace_one({"_id": sha256}, video | {"change_seq": number, FORGETTING: copy}, upsert=True)
    add_partition(sha256)
    library.collections["tombstones"].delete_one({"_id": sha256})
    videos.update_one({"_id": sha256}, {"$unset": {FORGETTING: ""}})
    path.unlink()
    return sha256


def _restore_files(library: Library, folder: Path) -> None:
    settings, stores = library.settings, library.stores
    for file in (path for path in folder.rglob("*") if path.is_file()):
        place, first, *rest = file.relative_to(folder).parts
        if place == "local":
            root = settings.media_directory if first == "media" else settings.derived_directory
            root.joinpath(*rest).parent.mkdir(parents=True, exist_ok=True)
            move(file, root.joinpath(*rest))
        elif place == "store":
            sha256, _ = hash_file(file, Progress().cancelled)
            stores.of(unquote(first)).put("/".join(rest), file, sha256, Progress())


def delete_expired(library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete the copies whose time is over, and what an interrupted removal left."""
    limit = cutoff(library.settings.privacy.grace_days)
    for path in (library.settings.data_directory / "undo").glob("*.*"):
        if (stat := path.stat()).st_mtime <= limit:
            report.add(stat.st_size, stat.st_mtime)
            if not dry_run:
                rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                library.collections["tombstones"].update_many({"undo": path.stem}, {"$unset": {"undo": ""}})
