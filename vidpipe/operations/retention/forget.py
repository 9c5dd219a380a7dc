"""Removes videos: file, results, texts, thumbnails, lineage and partition; watched lists do not add them again.

The order makes it safe to be killed: the sources are marked first, so that nothing fetches the video again; its
document is deleted last, so that the same command finds the video and completes the removal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidpipe.library.library import Library
from vidpipe.operations.retention.derived_files import delete_folders_of
from vidpipe.operations.retention.pruning import PruneReport
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.records import NO_FAILURE

#: Collections with further documents of a video.
_RELATED = ("scenes", "answers", "lineage")


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
        ids: The videos.
        remove_partition: Removes a video's partition from Dagster.
        busy: Videos of unfinished runs.
        dry_run: Remove nothing.
    """
    videos = library.collections["videos"]
    found = []
    with library.leases() as leases:
        leases.free_dead()
        for sha256 in ids:
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
    delete_folders_of(library.settings, sha256, report, dry_run)
    freed = report.size_bytes + _delete_files(library, sha256, dry_run)
    if not dry_run:
        remove_partition(sha256)
        library.collections["videos"].delete_one({"_id": sha256})
    kept = str(facts["path"]) if facts.get("referenced") else None
    return ForgottenVideo(sha256, name, "forgotten", count, freed, kept)


def _delete_files(library: Library, sha256: str, dry_run: bool) -> int:
    """Delete the files in the media store, not a referenced file elsewhere. Returns their size in bytes."""
    store, freed = MediaStore(library.settings), 0
    for path in store.files(sha256):
        freed += path.stat().st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    if not dry_run:
        with contextlib.suppress(OSError):  # missing, or holds other videos
            (store.root / sha256[:2]).rmdir()
    return freed
