"""Removes videos, and frame packs and thumbnails that no video refers to.

`forget` removes a video's files, results, texts and partition, and what names it in logs, exports and Dagster's
history; nothing adds it again. The order makes it safe to be killed: first the copy for undoing it is written and the
sources are marked, so that nothing fetches the video again; what names it is found by the documents of the library, so
these follow; the video's own document is deleted last, so that the same command finds it and completes the removal.

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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.repair import audited
from vidpipe.library.schema import FORGOTTEN_SOURCE
from vidpipe.library.videos import chunked, name_of
from vidpipe.media.frame_pack import TEMPORARY, is_unlocked
from vidpipe.operations.backups.file_transfer import media_list
from vidpipe.operations.backups.manifest import whole_backups
from vidpipe.operations.proxies import PARTIAL, clips_folder, proxy_path
from vidpipe.operations.retention import PruneReport, cutoff
from vidpipe.operations.retention.traces import Traces, overwrite_logs, overwrite_notes, remove_from_exports, texts_of
from vidpipe.operations.retention.undo_copies import FORGETTING, RELATED, documents_of, seal, stored_objects
from vidpipe.settings import Settings
from vidpipe.sources.media_store import MediaStore
from vidpipe.storage.object_store import StoreError


@dataclass(frozen=True)
class ForgottenVideo:
    """What happened to a video, or would happen in a dry run.

    Attributes:
        state: busy: a run is using the video, and nothing was removed. failed: a store could not be used; the same
            again completes the removal.
        sources: Number of its URLs and files, which nothing adds again.
        freed_bytes: Size of the deleted files.
        kept: Path of a referenced file outside the media store.
        undo: Id of the copy from which it can be restored; empty if there is none.
        removed: Collection, store or kind of file -> number of documents, objects or files.
        elsewhere: "exports" that contained videos of this removal; "exports to check", from which they have to be
            removed by hand; "backups" that contain the video, which are kept.
        error: Why it failed.
    """

    video: str
    name: str
    state: Literal["forgotten", "busy", "failed"]
    sources: int = 0
    freed_bytes: int = 0
    kept: str | None = None
    undo: str = ""
    removed: Mapping[str, int] = field(default_factory=dict)
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)
    error: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return what the audit record says: hashes and figures, no names."""
        return {name: getattr(self, name) for name in ("video", "state", "sources", "freed_bytes", "undo", "removed")}


def forget(
    library: Library, ids: Sequence[str], remove_partition: Callable[[str], None], *, busy: Collection[str] = (),
    clean_history: Callable[[Traces, bool], int] = lambda traces, dry_run: 0, sources: Sequence[str] = (),
    dry_run: bool = False, **facts: str,
) -> list[ForgottenVideo]:  # fmt: skip
    """Remove videos, each under its lease, and what names them elsewhere. Safe to interrupt and repeat.

    Args:
        library: The library.
        ids: The videos; those that are not in the library are skipped.
        remove_partition: Removes a video's partition from Dagster.
        busy: Videos of unfinished runs.
        clean_history: Deletes the runs of Dagster that name a video, unless its second argument is true (a dry run),
            and returns their number.
        sources: Ids of sources that are forgotten, too, also if they never gave a video.
        dry_run: Remove nothing.
        **facts: Who removes them and why, for the tombstone.
    """
    videos, records = library.collections["videos"], library.collections["sources"]
    with library.leases() as leases:
        leases.free_dead()
        known = list(dict.fromkeys(filter(library.videos.get, ids)))
        free = [sha256 for sha256 in known if sha256 not in busy]
        rows: Iterable[Any] = videos.find({"_id": {"$in": free}, "lease": {"$exists": False}}, {"_id": 1})
        if not dry_run:
            rows = [row for chunk in chunked(free) for row in leases.take(chunk, {"_id": 1})]
        held = {row["_id"]: documents_of(library, row["_id"]) for row in rows}
        own = list(records.find({"_id": {"$in": list(sources)}}))
        removed: dict[str, ForgottenVideo] = {}
        for sha256 in () if dry_run else list(held):
            with _failures(removed, held, sha256):
                _begin(library, sha256)
        texts = set(texts_of([*own, *(found for one in held.values() for found in one.values())]))
        traces = Traces(held, texts, _shared(library, held, texts))
        counts = {
            "Dagster runs": clean_history(traces, dry_run),
            "log files": overwrite_logs(library.settings, traces, dry_run),
        }
        if not dry_run:
            overwrite_notes(library, traces)
        elsewhere = remove_from_exports(library, traces, dry_run)
        backups = _backups(library.settings, held)
        for sha256 in list(held):
            with _failures(removed, held, sha256):
                one = _forget(library, sha256, remove_partition, facts, dry_run=dry_run)
                about = {**elsewhere, "backups": backups.get(sha256, [])}
                removed[sha256] = replace(one, removed={**one.removed, **counts}, elsewhere=about)
        if not dry_run:
            records.update_many({"_id": {"$in": list(sources)}, "video": None}, FORGOTTEN_SOURCE)
        return [
            removed.get(one) or ForgottenVideo(one, name_of(library.videos.get(one) or {"_id": ""}), "busy")
            for one in known
        ]


@contextlib.contextmanager
def _failures(removed: dict[str, ForgottenVideo], held: dict[str, Any], sha256: str) -> Iterator[None]:
    """Note that a store failed, and go on with the next video."""
    try:
        yield
    except StoreError as error:
        name = name_of(held.pop(sha256)["videos"][0])
        removed[sha256] = ForgottenVideo(sha256, name, "failed", error=f"{error.message} {error.hint}")


def _shared(library: Library, ids: Collection[str], texts: Collection[str]) -> set[str]:
    """Return names and titles in `texts` that other videos and their sources have, too."""
    known, others = {"$in": list(texts)}, {"$nin": list(ids)}
    of_videos = {"$or": [{f"ingest.{name}": known} for name in ("names", "titles")], "_id": others}
    of_sources = {"$or": [{name: known} for name in ("title", "file_name")], "video": {"$nin": [None, *ids]}}
    rows = [*library.collections["videos"].find(of_videos, {"ingest.names": 1, "ingest.titles": 1})]
    rows += library.collections["sources"].find(of_sources, {"title": 1, "file_name": 1})
    return set(texts_of(rows))


def _begin(library: Library, sha256: str) -> None:
    """Write the copy for undoing it, then stop lists from fetching the video again. Raises StoreError."""
    for _, found in stored_objects(library, sha256):
        library.files.cache.discard(found.key)  # the copy for undoing it needs only the stored one
    new = uuid.uuid4().hex[:16] if library.settings.privacy.grace_days else ""
    copy = (library.videos.get(sha256) or {}).get(FORGETTING, new)
    library.collections["videos"].update_one({"_id": sha256}, {"$set": {FORGETTING: copy}})
    if copy:
        seal(library, sha256, copy)
    library.collections["sources"].update_many({"video": sha256}, {"$set": {"state": "forgotten"}})


def backup_folders(settings: Settings) -> list[Path]:
    """Return the existing backups, of the folders that audit.jsonl tells of."""
    folders = {Path(entry["path"]).parent for entry in audited(settings) if entry.get("event") == "backup"}
    return sorted(backup for folder in folders if folder.is_dir() for backup in whole_backups(folder))


def _backups(settings: Settings, ids: Collection[str]) -> dict[str, list[str]]:
    """Return video -> the backups that contain it, or that cannot be read."""
    found: dict[str, list[str]] = {}
    for backup in backup_folders(settings):
        inside = set(ids)
        with contextlib.suppress(OSError, ValueError, VidpipeError):
            inside.intersection_update(file.video for file in media_list(backup))
        for sha256 in inside:
            found.setdefault(sha256, []).append(str(backup))
    return found


def _forget(
    library: Library, sha256: str, remove_partition: Callable[[str], None], about: Mapping[str, str], *, dry_run: bool
) -> ForgottenVideo:
    document: dict[str, Any] = library.videos.get(sha256) or {}
    facts, copy, collections = document.get("ingest", {}), document.get(FORGETTING, ""), library.collections
    given = [row["_id"] for row in collections["sources"].find({"video": sha256}, {"_id": 1})]
    removed = {name: collections[name].count_documents({"video": sha256}) for name in RELATED}
    report = PruneReport("forget")
    derived = library.settings.derived_directory / sha256
    if derived.is_dir():
        _delete_video(derived, math.inf, report, dry_run)
    freed = report.size_bytes + _delete_files(library.settings, sha256, facts, given, dry_run)
    for store, stored in stored_objects(library, sha256):
        removed[store.url], freed = removed.get(store.url, 0) + 1, freed + stored.size_bytes
        if not dry_run:
            store.delete(stored.key)
    if not dry_run:
        library.files.cache.discard_video(sha256)
        for name in RELATED:
            collections[name].delete_many({"video": sha256})
        remove_partition(sha256)
        collections["sources"].update_many({"video": sha256}, FORGOTTEN_SOURCE)
        collections["sources"].update_many({"earlier_videos": sha256}, {"$pull": {"earlier_videos": sha256}})
        library.changes.add_tombstone(sha256, forgotten_at=datetime.now(UTC), undo=copy, **about)
        collections["videos"].delete_one({"_id": sha256})
    kept = str(facts["path"]) if facts.get("referenced") else None
    removed["packs"] = report.count
    return ForgottenVideo(sha256, name_of(document), "forgotten", len(given), freed, kept, copy, removed)


def _delete_files(
    settings: Settings, sha256: str, facts: Mapping[str, Any], sources: Sequence[str], dry_run: bool
) -> int:
    """Delete the video's local files but no referenced one, its proxies and clips, and what uploads and downloads left.

    Returns:
        Their size in bytes.
    """
    store, proxy, clips = MediaStore(settings), proxy_path(settings, sha256), clips_folder(settings, sha256)
    files = [*store.files(sha256), *clips.glob("*"), proxy, proxy.with_name(f"{PARTIAL}{proxy.name}")]
    files += [store.incoming / f"{source}.{suffix}" for source in sources for suffix in ("part", "json")]
    files += (settings.data_directory / "cache").glob(f"*{sha256}*")
    files += [path for path in settings.uploads_directory.glob("*/*") if path.name in facts.get("names", ())]
    freed = 0
    for path in filter(Path.is_file, files):
        freed += path.stat().st_size
        if not dry_run:
            path.unlink(missing_ok=True)
    for folder in (clips, store.root / sha256[:2]) if not dry_run else ():
        with contextlib.suppress(OSError):  # missing, or holds other videos
            folder.rmdir()
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
