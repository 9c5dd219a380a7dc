"""Removes videos, and frame packs and thumbnails that no video refers to.

`forget` removes a video's file, proxy, results, texts, thumbnails, lineage and partition; watched lists do not add it
again. The order makes it safe to be killed: the sources are marked first, so that nothing fetches the video again; its
document is deleted last, so that the same command finds the video and completes the removal.

    derived/<sha256>/<version>/     an older version, after other scenes were found; or of a video that was removed
    derived/<sha256>/.partial-…/    written by a run that was killed

A run stores a folder's name in MongoDB only after it has made the folder, and a folder that exists already keeps its
age. So a video's folders are deleted only under its lease, and those of leased videos are left alone.
"""

import contextlib
import math
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.videos import chunked
from vidpipe.media.frame_pack import TEMPORARY, is_unlocked
from vidpipe.operations.proxies import proxy_path
from vidpipe.operations.retention import PruneReport, cutoff
from vidpipe.settings import Settings
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.records import NO_FAILURE

#: Collections with further documents of a video.
_RELATED = ("scenes", "answers", "lineage", "verdicts")


@dataclass(frozen=True)
class ForgottenVideo:
    """What happened to a video, or would happen in a dry run.

    Attributes:
        state: busy: a run is using the video, and nothing was removed.
        sources: Number of its URLs and files, which lists do not add again.
        freed_bytes: Size of the deleted files.
        kept: Path of a referenced file outside the media store.
    """

    video: str
    name: str
    state: Literal["forgotten", "busy"]
    sources: int = 0
    freed_bytes: int = 0
    kept: str | None = None


def forget(
    library: Library,
    ids: Sequence[str],
    remove_partition: Callable[[str], None],
    *,
    busy: Collection[str] = (),
    dry_run: bool = False,
) -> list[ForgottenVideo]:
    """Remove the videos one after another, each under its lease. Safe to interrupt and repeat.

    Args:
        library: The library.
        ids: The videos; those that are not in the library are skipped.
        remove_partition: Removes a video's partition from Dagster.
        busy: Videos of unfinished runs.
        dry_run: Remove nothing.
    """
    videos = library.collections["videos"]
    found = []
    with library.leases() as leases:
        leases.free_dead()
        for sha256 in filter(library.videos.get, ids):
            free: Any = sha256 not in busy
            if free and dry_run:
                free = videos.find_one({"_id": sha256, "lease": {"$exists": False}}, {"_id": 1})
            elif free:
                free = leases.take([sha256], {"_id": 1})
            found.append(_forget(library, sha256, remove_partition, held=bool(free), dry_run=dry_run))
    return found


def _forget(
    library: Library, sha256: str, remove_partition: Callable[[str], None], *, held: bool, dry_run: bool
) -> ForgottenVideo:
    document: dict[str, Any] = library.videos.get(sha256) or {}
    facts = document.get("ingest", {})
    name = next(iter(facts.get("names", ())), sha256[:12])
    if not held:
        return ForgottenVideo(sha256, name, "busy")
    sources = library.collections["sources"]
    count = sources.count_documents({"video": sha256})
    if not dry_run:
        settled = {**NO_FAILURE, "blocked_by": [], "state": "forgotten", "video": None}
        sources.update_many({"video": sha256}, {"$set": settled})
        sources.update_many({"earlier_videos": sha256}, {"$pull": {"earlier_videos": sha256}})
        for collection in _RELATED:
            library.collections[collection].delete_many({"video": sha256})
    report = PruneReport("forget")
    derived = library.settings.derived_directory / sha256
    if derived.is_dir():
        _delete_video(derived, math.inf, report, dry_run)
    freed = report.size_bytes + _delete_files(library, sha256, dry_run)
    if not dry_run:
        remove_partition(sha256)
        library.changes.add_tombstone(sha256)
        library.collections["videos"].delete_one({"_id": sha256})
    kept = str(facts["path"]) if facts.get("referenced") else None
    return ForgottenVideo(sha256, name, "forgotten", count, freed, kept)


def _delete_files(library: Library, sha256: str, dry_run: bool) -> int:
    """Delete the files in the media store and the proxy, not a referenced file. Returns their size in bytes."""
    store = MediaStore(library.settings)
    files = [*store.files(sha256), *filter(Path.is_file, [proxy_path(library.settings, sha256)])]
    freed = sum(path.stat().st_size for path in files)
    if not dry_run:
        for path in files:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # missing, or holds other videos
            (store.root / sha256[:2]).rmdir()
    return freed


_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 200
_LEASED_TOGETHER = 20
#: If more of the folders than this belong to no video, the settings probably name the wrong database.
_MAX_UNKNOWN_SHARE = 0.5
_MAX_UNKNOWN = 20


@dataclass(frozen=True)
class _Folder:
    path: Path
    modified: float
    size_bytes: int


def delete_unreferenced(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete folders older than [Retention] DerivedDays that nothing refers to.

    Raises:
        VidpipeError: Most of the folders belong to unknown videos.
    """
    root = settings.derived_directory
    if not root.is_dir():
        return
    limit = cutoff(settings.retention.derived_days)
    names = [path.name for path in root.iterdir() if _SHA256.fullmatch(path.name) and path.is_dir()]
    elsewhere = library.collections["videos"].distinct("_id", {f"{PLACE}.packs": {"$exists": True}})
    packs = {PLACE: 1} | {f"{library.graph.key(stage.name)}.pack.path": 1 for stage in library.graph}
    unknown: list[str] = []
    for chunk in chunked(dict.fromkeys([*names, *elsewhere]), _CHUNK):
        # Existing video -> names of the folders that its results refer to as their pack.
        rows = list(library.collections["videos"].find({"_id": {"$in": chunk}}, packs))
        evicted = {row["_id"]: _evicted(root / row["_id"], row.get(PLACE, {}).get("packs", ())) for row in rows}
        named = {row["_id"]: set(_versions_in(row, row["_id"])) for row in rows}
        unknown += [sha256 for sha256 in chunk if sha256 not in named]
        suspects: dict[str, list[_Folder]] = {}
        for sha256, versions in named.items():
            folders = [*_versions(root / sha256, limit), *evicted[sha256]]
            if found := [folder for folder in folders if folder.path.name not in versions]:
                suspects[sha256] = found
        _delete_suspects(library, suspects, report, dry_run)
    if len(unknown) > max(_MAX_UNKNOWN, _MAX_UNKNOWN_SHARE * len(names)):
        raise VidpipeError(
            f"{len(unknown)} of the {len(names)} folders in {settings.relative(root)} belong to videos that are not "
            "in this library; they were kept.",
            "Check [MongoDB] URI, DatabaseName and CollectionName. Delete the folders by hand if the videos are gone.",
        )
    for sha256 in unknown:
        _delete_video(root / sha256, limit, report, dry_run)


def _versions_in(value: Any, sha256: str) -> Iterator[str]:
    """Names of folders of the video in all strings within `value`."""
    if isinstance(value, str):
        parts = value.split("/")
        if sha256 in parts[:-1]:
            yield parts[parts.index(sha256) + 1]
    elif isinstance(value, Mapping | list):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _versions_in(entry, sha256)


def _versions(parent: Path, limit: float) -> list[_Folder]:
    """The video's folders that are older than `limit`, without those that are being written."""
    found = []
    for path in parent.glob("*"):
        try:
            modified = path.stat().st_mtime
            old = modified < limit and path.is_dir() and not path.is_symlink()
            if old and not (path.name.startswith(TEMPORARY) and not is_unlocked(path)):
                size_bytes = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
                found.append(_Folder(path, modified, size_bytes))
        except OSError:  # deleted meanwhile
            continue
    return found


def _evicted(parent: Path, versions: Iterable[str]) -> list[_Folder]:
    """Return packs in other stores that nobody has used lately: they are not on this disk."""
    return [_Folder(parent / version, 0.0, 0) for version in versions if not (parent / version).exists()]


def _delete_suspects(
    library: Library, by_video: Mapping[str, list[_Folder]], report: PruneReport, dry_run: bool
) -> None:
    if dry_run:
        free = {"_id": {"$in": list(by_video)}, "lease": {"$exists": False}}
        held = [row["_id"] for row in library.collections["videos"].find(free, {"_id": 1})]
        _delete_held(library, held, by_video, report, dry_run)
    elif by_video:
        with library.leases() as leases:
            for chunk in chunked(by_video, _LEASED_TOGETHER):
                held = [row["_id"] for row in leases.take(chunk, {"_id": 1})]
                _delete_held(library, held, by_video, report, dry_run)
                leases.give_back(held)


def _delete_held(
    library: Library, held: Iterable[str], by_video: Mapping[str, list[_Folder]], report: PruneReport, dry_run: bool
) -> None:
    for sha256 in held:
        # Now that the lease is held, check everything stored about the video: whatever refers to a folder keeps it.
        named = set(_versions_in(library.collections["videos"].find_one({"_id": sha256}), sha256))
        for scene in library.collections["scenes"].find({"video": sha256}):
            named |= set(_versions_in(scene, sha256))
        for folder in by_video[sha256]:
            free = folder.path.name not in named
            if free and (dry_run or library.files.delete_pack(sha256, folder.path.name)):
                _delete(folder, report, dry_run)


def _delete_video(parent: Path, limit: float, report: PruneReport, dry_run: bool) -> None:
    """Delete all folders of an unknown video once the youngest is old: a new video has no document yet."""
    folders = _versions(parent, limit)
    if len(folders) != len(list(parent.iterdir())):
        return
    for folder in folders:
        _delete(folder, report, dry_run)
    if not dry_run and not any(parent.iterdir()):
        parent.rmdir()


def _delete(folder: _Folder, report: PruneReport, dry_run: bool) -> None:
    if not dry_run and folder.path.exists():
        # Renamed first, in one step, so that a half-deleted pack is never used.
        aside = folder.path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}")
        folder.path.rename(aside)
        shutil.rmtree(aside)
    report.add(folder.size_bytes, folder.modified)
