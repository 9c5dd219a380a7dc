"""Frame packs and thumbnails that no video refers to.

    derived/<sha256>/<version>/     an older version, after other scenes were found; or of a video that was removed
    derived/<sha256>/.partial-…/    written by a run that was killed

A run stores a folder's name in MongoDB only after it has made the folder, and a folder that exists already keeps its
age. So a video's folders are deleted only under its lease, and those of leased videos are left alone.
"""

from __future__ import annotations

import math
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.videos import chunked
from vidpipe.media.frame_pack import TEMPORARY, is_unlocked
from vidpipe.operations.retention import PruneReport, cutoff
from vidpipe.settings import Settings

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
    unknown: list[str] = []
    for chunk in chunked(names, _CHUNK):
        named = _packs(library, chunk)
        unknown += [sha256 for sha256 in chunk if sha256 not in named]
        suspects = {
            sha256: [folder for folder in _versions(root / sha256, limit) if folder.path.name not in named[sha256]]
            for sha256 in named
        }
        _delete_suspects(library, {sha256: found for sha256, found in suspects.items() if found}, report, dry_run)
    if len(unknown) > max(_MAX_UNKNOWN, _MAX_UNKNOWN_SHARE * len(names)):
        raise VidpipeError(
            f"{len(unknown)} of the {len(names)} folders in {settings.relative(root)} belong to videos that are not "
            "in this library; they were kept.",
            "Check [MongoDB] URI, DatabaseName and CollectionName. Delete the folders by hand if the videos are gone.",
        )
    for sha256 in unknown:
        _delete_video(root / sha256, limit, report, dry_run)


def delete_folders_of(settings: Settings, sha256: str, report: PruneReport, dry_run: bool) -> None:
    """Delete all frame packs and thumbnails of a video, whose lease the caller holds."""
    parent = settings.derived_directory / sha256
    if parent.is_dir():
        _delete_video(parent, math.inf, report, dry_run)


def _packs(library: Library, ids: list[str]) -> dict[str, set[str]]:
    """Existing video -> names of the folders that its results refer to as their pack."""
    keys = [library.graph.key(stage.name) for stage in library.graph]
    rows = library.collections["videos"].find({"_id": {"$in": ids}}, {f"{key}.pack.path": 1 for key in keys})
    return {row["_id"]: set(_versions_in(row, row["_id"])) for row in rows}


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
    for path in parent.iterdir():
        try:
            modified = path.stat().st_mtime
            old = modified < limit and path.is_dir() and not path.is_symlink()
            if old and not (path.name.startswith(TEMPORARY) and not is_unlocked(path)):
                found.append(_Folder(path, modified, _size(path)))
        except OSError:  # deleted meanwhile
            continue
    return found


def _delete_suspects(
    library: Library, by_video: Mapping[str, list[_Folder]], report: PruneReport, dry_run: bool
) -> None:
    if not by_video:
        return
    if dry_run:
        free = {"_id": {"$in": list(by_video)}, "lease": {"$exists": False}}
        held = [row["_id"] for row in library.collections["videos"].find(free)]
        _delete_held(library, held, by_video, report, dry_run)
        return
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
            if folder.path.name not in named:
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
    if not dry_run:
        # Renamed first, in one step, so that a half-deleted pack is never used.
        aside = folder.path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}")
        folder.path.rename(aside)
        shutil.rmtree(aside)
    report.add(folder.size_bytes, folder.modified)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
