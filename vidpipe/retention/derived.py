"""Frame packs and thumbnails that no video's document names any more.

    derived/<sha256>/<version>/     an older version, after other scenes were found; or all of a video that is gone
    derived/<sha256>/.partial-…/    what a killed run was writing

A run names a folder in MongoDB only after it has made it, and a folder that is there already stays as old as it is. So
a video's folders are deleted under its lease only, and those of leased videos not at all.
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
from vidpipe.library.states import chunked
from vidpipe.media.frame_pack import TEMPORARY, is_unlocked
from vidpipe.retention.report import Pruned, cutoff
from vidpipe.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 200
_LEASED_TOGETHER = 20
#: Where more of the folders than this belong to no video, the wrong database is more likely than so many lost videos.
_MOST_UNKNOWN = 0.5
_FEW = 20


@dataclass(frozen=True)
class _Folder:
    path: Path
    modified: float
    size_bytes: int

    @property
    def sha256(self) -> str:
        return self.path.parent.name


def delete_unnamed(settings: Settings, library: Library, report: Pruned, dry_run: bool) -> None:
    """Folders older than [Retention] DerivedDays that nothing names. Raises VidpipeError where most are unknown."""
    root = settings.derived_directory
    if not root.is_dir():
        return
    limit = cutoff(settings.retention.derived_days)
    names = [path.name for path in root.iterdir() if _SHA256.fullmatch(path.name) and path.is_dir()]
    unknown: list[str] = []
    for chunk in chunked(names, _CHUNK):
        named = _packs(library, chunk)
        unknown += [sha256 for sha256 in chunk if sha256 not in named]
        suspects = [
            folder
            for sha256 in chunk
            if sha256 in named
            for folder in _versions(root / sha256, limit)
            if folder.path.name not in named[sha256]
        ]
        _delete_suspects(library, suspects, report, dry_run)
    if len(unknown) > max(_FEW, _MOST_UNKNOWN * len(names)):
        raise VidpipeError(
            f"{len(unknown)} of the {len(names)} folders in {settings.relative(root)} belong to videos that this "
            "library does not know; they were left alone.",
            "Check [MongoDB] URI, DatabaseName and CollectionName. Delete the folders by hand if the videos are gone.",
        )
    for sha256 in unknown:
        _delete_video(root / sha256, limit, report, dry_run)


def delete_folders_of(settings: Settings, sha256: str, report: Pruned, dry_run: bool) -> None:
    """All frame packs and thumbnails of a video whose lease the caller holds."""
    parent = settings.derived_directory / sha256
    if parent.is_dir():
        _delete_video(parent, math.inf, report, dry_run)


def _packs(library: Library, ids: list[str]) -> dict[str, set[str]]:
    """sha256 -> names of the folders that its results name as their pack, for the videos that there are."""
    keys = [library.graph.key(stage.name) for stage in library.graph]
    rows = library.collections["videos"].find({"_id": {"$in": ids}}, {f"{key}.pack.path": 1 for key in keys})
    return {row["_id"]: set(_versions_in(row, row["_id"])) for row in rows}


def _versions_in(value: Any, sha256: str) -> Iterator[str]:
    """Names of folders of the video in any text within `value`."""
    if isinstance(value, str):
        parts = value.split("/")
        if sha256 in parts[:-1]:
            yield parts[parts.index(sha256) + 1]
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _versions_in(entry, sha256)
    elif isinstance(value, list):
        for entry in value:
            yield from _versions_in(entry, sha256)


def _versions(parent: Path, limit: float) -> list[_Folder]:
    """The video's folders that are older than `limit`; those being written are held by their writer."""
    found = []
    for path in parent.iterdir():
        try:
            modified = path.stat().st_mtime
            old = modified < limit and path.is_dir() and not path.is_symlink()
            if old and not (path.name.startswith(TEMPORARY) and not is_unlocked(path)):
                found.append(_Folder(path, modified, _size(path)))
        except OSError:  # gone meanwhile
            continue
    return found


def _delete_suspects(library: Library, folders: list[_Folder], report: Pruned, dry_run: bool) -> None:
    by_video: dict[str, list[_Folder]] = {}
    for folder in folders:
        by_video.setdefault(folder.sha256, []).append(folder)
    if not by_video:
        return
    if dry_run:
        free = {"lease": {"$exists": False}}
        held = [row["_id"] for row in library.collections["videos"].find({"_id": {"$in": list(by_video)}, **free})]
        _delete_held(library, held, by_video, report, dry_run)
        return
    with library.leases() as leases:
        for chunk in chunked(by_video, _LEASED_TOGETHER):
            held = [row["_id"] for row in leases.take(chunk, {"_id": 1})]
            _delete_held(library, held, by_video, report, dry_run)
            leases.give_back(held)


def _delete_held(
    library: Library, held: Iterable[str], by_video: Mapping[str, list[_Folder]], report: Pruned, dry_run: bool
) -> None:
    for sha256 in held:
        # Under the lease, and now all that is stored of the video: whatever names a folder keeps it.
        named = set(_versions_in(library.collections["videos"].find_one({"_id": sha256}), sha256))
        for scene in library.collections["scenes"].find({"video": sha256}):
            named |= set(_versions_in(scene, sha256))
        for folder in by_video[sha256]:
            if folder.path.name not in named:
                _delete(folder, report, dry_run)


def _delete_video(parent: Path, limit: float, report: Pruned, dry_run: bool) -> None:
    """All folders of a video that is gone, once the youngest is old: one that just came in has no document yet."""
    folders = _versions(parent, limit)
    if len(folders) != len(list(parent.iterdir())):
        return
    for folder in folders:
        _delete(folder, report, dry_run)
    if not dry_run and not any(parent.iterdir()):
        parent.rmdir()


def _delete(folder: _Folder, report: Pruned, dry_run: bool) -> None:
    if not dry_run:
        # In one step out of the way: nobody takes half a pack for a whole one.
        aside = folder.path.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}")
        folder.path.rename(aside)
        shutil.rmtree(aside)
    report.add(folder.size_bytes, folder.modified)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
