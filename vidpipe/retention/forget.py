"""Removes a video: its file, results, texts, thumbnails, lineage and partition; watched lists do not add it again.

The order makes it safe to be killed: the sources are marked first, so that nothing fetches the video again; its
document is deleted last, so that the same command finds the video and completes the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vidpipe.library.library import Library
from vidpipe.retention.derived import delete_folders_of
from vidpipe.retention.report import Pruned
from vidpipe.sources.records import NO_FAILURE
from vidpipe.storage.media_store import MediaStore

#: Collections with documents of a video besides its own.
_BESIDE = ("scenes", "answers", "lineage")


@dataclass(frozen=True)
class Forgotten:
    """What happened to one video, or would without `dry_run`.

    state:       busy: a run is using it, and nothing was removed
    sources:     number of URLs and files that gave it; lists do not add them again
    kept:        path of a referenced file outside the media store
    freed_bytes: size of the deleted files
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
) -> list[Forgotten]:
    """Removes the videos one after another, each under its lease. Safe to interrupt and repeat.

    remove_partition: removes a video's partition from Dagster
    busy:             videos of unfinished runs
    """
    with library.leases() as leases:
        leases.free_dead()
        found = []
        for sha256 in ids:
            if sha256 in busy:
                held = False
            elif dry_run:
                free = library.collections["videos"].find_one({"_id": sha256, "lease": {"$exists": False}}, {"_id": 1})
                held = free is not None
            else:
                held = bool(leases.take([sha256], {"_id": 1}))
            found.append(_forget(library, sha256, remove_partition, held=held, dry_run=dry_run))
    return found


def _forget(
    library: Library, sha256: str, remove_partition: Callable[[str], None], *, held: bool, dry_run: bool
) -> Forgotten:
    document: dict[str, Any] = library.videos.get(sha256) or {}
    facts = document.get("ingest", {})
    name = next(iter(facts.get("names", ())), sha256[:12])
    if not held:
        return Forgotten(sha256, name, "busy")
    sources = library.collections["sources"]
    count = sources.count_documents({"video": sha256})
    if not dry_run:
        settled = {**NO_FAILURE, "blocked_by": [], "state": "forgotten", "video": None}
        sources.update_many({"video": sha256}, {"$set": settled})
        sources.update_many({"earlier_videos": sha256}, {"$pull": {"earlier_videos": sha256}})
        for collection in _BESIDE:
            library.collections[collection].delete_many({"video": sha256})
    report = Pruned("forget")
    delete_folders_of(library.settings, sha256, report, dry_run)
    freed = report.size_bytes + _delete_files(library, sha256, dry_run)
    if not dry_run:
        remove_partition(sha256)
        library.collections["videos"].delete_one({"_id": sha256})
    kept = str(facts["path"]) if facts.get("referenced") else None
    return Forgotten(sha256, name, "forgotten", count, freed, kept)


def _delete_files(library: Library, sha256: str, dry_run: bool) -> int:
    """Bytes of the video's files in the media store. A file elsewhere, which is only referenced, is not touched."""
    store, freed = MediaStore(library.settings), 0
    for path in store.files(sha256):
        freed += path.stat().st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    if not dry_run:
        with contextlib.suppress(OSError):  # missing, or holds other videos
            (store.root / sha256[:2]).rmdir()
    return freed
