"""The clean-up tasks of a home and its library. Those of Dagster's history are in `vidpipe.pipeline.clean_up`.

Log files that are in use stay:

data/logs/vidpipe.log, audit.jsonl, mongod.log    current; they rotate and are never deleted
data/logs/vidpipe.log.3, mongod.log.2026-…        rotated
data/logs/daemon.log, runs/<run id>.log           of a server or a run; a server's is emptied when it is large
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from vidpipe.library import embedded
from vidpipe.library.connection import Connection
from vidpipe.library.library import Library
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.operations.proxies import PARTIAL, clips_folder, proxy_path
from vidpipe.operations.retention import PruneReport, PruneTask, cutoff
from vidpipe.operations.retention.media_moves import MEDIA, MediaMover
from vidpipe.operations.retention.undo_copies import delete_expired
from vidpipe.operations.retention.video_removal import delete_unreferenced
from vidpipe.runner.due import NOT_DROPPED
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.settings.logs import AUDIT_NAME
from vidpipe.sources.media_store import MediaStore
from vidpipe.storage.object_store import DROPPED, LOCAL

_CHUNK = 1000
#: Pause between the chunks of a large deletion, so that others get access to the database.
_PAUSE_S = 0.02


def home_tasks(settings: Settings, library: Library) -> list[PruneTask]:
    """Return the tasks, in the order in which they run."""
    runs, figures_before = library.collections["runs"], cutoff(settings.retention.measures_days)
    return [
        PruneTask("mongod log", partial(rotate_mongod_log, settings, library.connection)),
        PruneTask("server logs", partial(rotate_server_logs, settings)),
        PruneTask("log files", partial(delete_log_files, settings)),
        PruneTask("derived", partial(delete_unreferenced, settings, library)),
        PruneTask("proxies", partial(delete_proxies, settings, library)),
        PruneTask("clips", partial(delete_clips, settings, library)),
        PruneTask("downloads", partial(delete_downloads, settings)),
        PruneTask("journals", partial(delete_journals, settings, library)),
        PruneTask("undo copies", partial(delete_expired, library)),
        PruneTask("originals", partial(store_originals, settings, library)),
        PruneTask("verdicts", lambda report, dry_run: None if dry_run else library.verdicts.repair()),
        PruneTask("measures", partial(delete_run_figures, runs, figures_before)),
        PruneTask("database files", partial(compact, library)),
    ]


def compact(library: Library, report: PruneReport, dry_run: bool) -> None:
    """Free space in the embedded server's files, which keep the text of deleted documents until they reuse it."""
    if library.connection.is_embedded and not dry_run:
        database = library.collections["videos"].database
        for name in database.list_collection_names():
            database.command("compact", name)


def delete_downloads(settings: Settings, report: PruneReport, dry_run: bool) -> None:
    """Delete uploads, and partial files that no process holds, that have not been written to for PartialDays."""
    _delete_uploads(settings, report, dry_run)
    if not (settings.media_directory / "incoming").is_dir():
        return
    store, days = MediaStore(settings), settings.retention.partial_days
    stats: dict[Path, os.stat_result] = {}
    for path in store.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            stats[path] = path.stat()
    for stat in (stats[path] for path in store.clean(days, dry_run=dry_run) if path in stats):
        report.add(stat.st_size, stat.st_mtime)


def store_originals(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete the files of processed videos if KeepOriginals = no, or move them to ColdMedia after ColdAfterDays."""
    storage, mover = settings.storage, MediaMover(library)
    if storage.keep_originals and not storage.cold_media:
        return
    with contextlib.closing(Plan.make(library.graph, settings)) as plan:
        if plan.unavailable:
            report.notes.append(f"No video is complete while these stages cannot run: {', '.join(plan.unavailable)}.")
            return
        complete: Document = {f"stages.{name}.spec": spec for name, spec in plan.specs.items()}
    complete |= {f"stages.{name}.status": "ok" for name in plan.specs}
    complete |= {f"stages.{name}.stale": False for name in plan.specs}
    if storage.keep_originals:
        before = datetime.fromtimestamp(cutoff(storage.cold_after_days), UTC)
        complete["$expr"] = {"$lt": [{"$max": [f"$stages.{name}.at" for name in plan.specs]}, before]}
    found = {row["_id"] for row in library.collections["videos"].find({**complete, **NOT_DROPPED}, {"_id": 1})}
    chosen = found if storage.keep_originals else mover.with_source(found)
    files = (part for part in mover.parts(chosen) if part.name == MEDIA)
    if storage.keep_originals:
        mover.move(report, storage.cold_media, files, dry=dry_run)
    else:
        mover.each(report, files, lambda part: mover.replace(part, DROPPED, part.store, LOCAL), dry=dry_run)
    if kept := len(found - chosen):
        report.notes.append(f"{kept} are kept, because no known source can give them again.")


def delete_proxies(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete playable copies of unknown videos, and unfinished ones older than PartialDays."""
    files = [(path, path.stem) for path in proxy_path(settings, "").parent.glob("*.mp4")]
    _delete_made(settings, library, files, report, dry_run)


def delete_clips(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete clips that were not used for ClipsDays, of unknown videos, and unfinished ones older than PartialDays."""
    files = [(path, path.parent.name) for path in clips_folder(settings, "").glob("*/*")]
    _delete_made(settings, library, files, report, dry_run, unused_since=cutoff(settings.retention.clips_days))
    for folder in clips_folder(settings, "").glob("*") if not dry_run else ():
        with contextlib.suppress(OSError):  # holds others
            folder.rmdir()


def _delete_made(
    settings: Settings,
    library: Library,
    files: Iterable[tuple[Path, str]],
    report: PruneReport,
    dry_run: bool,
    *,
    unused_since: float = 0.0,
) -> None:
    """Delete files that were made of videos, each given with its video's id; `unused_since` in seconds since 1970."""
    unfinished_since = cutoff(settings.retention.partial_days)
    for chunk in chunked(files, _CHUNK):
        known = set(library.collections["videos"].distinct("_id", {"_id": {"$in": [video for _, video in chunk]}}))
        for path, video in chunk:
            with contextlib.suppress(FileNotFoundError):
                stat, is_partial = path.stat(), path.name.startswith(PARTIAL)
                is_old = stat.st_mtime < (unfinished_since if is_partial else unused_since)
                if is_old or not (is_partial or video in known):
                    if not dry_run:
                        path.unlink()
                    report.add(stat.st_size, stat.st_mtime)


def _delete_uploads(settings: Settings, report: PruneReport, dry_run: bool) -> None:
    for folder in settings.uploads_directory.glob("*"):
        stats = []
        for path in folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                stats.append(path.stat())
        written_at = max((stat.st_mtime for stat in stats), default=0.0)
        if written_at < cutoff(settings.retention.partial_days):
            report.add(sum(stat.st_size for stat in stats), written_at or None)
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)


def delete_journals(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete journals of other containers and machines that shared this home.

    Journals of dead processes of this machine are processed by the next run. Whether the others are dead is unknown:
    they must hold no lease and have written nothing for PartialDays.
    """
    limit = cutoff(settings.retention.partial_days)
    holding = set(library.collections["videos"].distinct("lease.owner"))
    for path in sorted((settings.data_directory / "run").glob("*.journal")):
        owner = ""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            owner = path.read_text(encoding="utf-8").partition("\n")[0]
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        process = owner.rpartition("|")[0]
        is_alive_here = process.partition("|")[0] == this_process().partition("|")[0] and not is_dead(process)
        if stat.st_mtime < limit and owner not in holding and not is_alive_here:
            if not dry_run:
                path.unlink(missing_ok=True)
            report.add(stat.st_size, stat.st_mtime)


def delete_run_figures(runs: Collection[Document], before: float, report: PruneReport, dry_run: bool) -> None:
    """Delete documents of the collection `runs`.

    Args:
        runs: The collection.
        before: Runs that began earlier are deleted; seconds since 1970.
        report: Filled.
        dry_run: Only count.
    """
    wanted = {"began_at": {"$lt": datetime.fromtimestamp(before, UTC)}}
    sized: list[Document] = [{"$match": wanted}, {"$project": {"began_at": 1, "size": {"$bsonSize": "$$ROOT"}}}]
    try:
        rows = list(runs.aggregate(sized))
    except OperationFailure:  # a compatible service without $bsonSize
        rows = list(runs.find(wanted, {"began_at": 1}))
    for row in rows:
        report.add(row.get("size", 0), row["began_at"])
    for chunk in chunked([row["_id"] for row in rows], _CHUNK) if not dry_run else ():
        runs.delete_many({"_id": {"$in": chunk}, **wanted})
        time.sleep(_PAUSE_S)


_ROTATED = re.compile(r"\.(\d{1,4}|\d{4}-\d{2}-\d{2}T[\d.:-]+)(\.gz)?$")
#: Younger ones may belong to a process of another machine or container, whose open files are not visible here.
_YOUNG_S = 3600.0


def delete_log_files(settings: Settings, report: PruneReport, dry_run: bool) -> None:
    """Delete log files older than LogsDays and, oldest first, as many as are needed to get below LogsSizeMB."""
    files = _log_files(settings)
    open_files = _open_files({settings.data_directory, *(path.parent for path in files)}) if files else set()
    unused = {
        path: stat
        for path, stat in sorted(files.items(), key=lambda item: item[1].st_mtime)
        if path.resolve() not in open_files and not _is_current(settings, path)
    }
    limit, max_bytes = cutoff(settings.retention.logs_days), settings.retention.logs_size_mb * 1_000_000
    doomed = [path for path, stat in unused.items() if stat.st_mtime < limit]
    left = sum(stat.st_size for stat in files.values()) - sum(files[path].st_size for path in doomed)
    for path, stat in unused.items():
        of_run = path.parent.name == "runs" and stat.st_mtime < time.time() - _YOUNG_S
        if left > max_bytes and stat.st_mtime >= limit and (of_run or _ROTATED.search(path.name)):
            doomed.append(path)
            left -= stat.st_size
    if left > max_bytes:
        report.notes.append(
            f"{left / 1e6:.0f} MB of log files are in use or too young to delete; [Retention] LogsSizeMB is less."
        )
    for path in doomed:
        if not dry_run:
            path.unlink(missing_ok=True)
        report.add(files[path].st_size, files[path].st_mtime)


def _log_files(settings: Settings) -> dict[Path, os.stat_result]:
    """All files in data/logs, and the rotated ones of a [Logging] LogFile elsewhere."""
    paths = {path for path in (settings.data_directory / "logs").rglob("*") if path.is_file() and not path.is_symlink()}
    log_file = settings.resolve(settings.logging.log_file)
    for current in (log_file, log_file.with_name(AUDIT_NAME)):
        if current.parent.is_dir():
            paths |= {path for path in current.parent.iterdir() if path.name.startswith(f"{current.name}.")}
    found = {}
    for path in sorted(paths):
        # Lock files (.__vidpipe.lock) keep writers apart and are not logs.
        if path.suffix != ".lock" and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # rotated away meanwhile
                found[path] = path.stat()
    return found


def _is_current(settings: Settings, path: Path) -> bool:
    log_file = settings.resolve(settings.logging.log_file)
    current = {log_file, log_file.with_name(AUDIT_NAME), embedded.files_of(settings).log}
    return path.resolve() in {name.resolve() for name in current}


def _open_files(folders: Iterable[Path]) -> set[Path]:
    """Files in `folders` that a process of this machine has open, if this user can see that."""
    roots = {folder.resolve() for folder in folders}
    found: set[Path] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # has ended, or belongs to another user
            found.update(Path(file.path) for file in process.open_files())
    return {path for path in found if any(path.is_relative_to(root) for root in roots)}


def rotate_server_logs(settings: Settings, report: PruneReport, dry_run: bool) -> None:
    """Copy away and empty log files of servers that are larger than [Logging] MaxSizeMB.

    Servers append to one file for as long as they run. A line written between copying and emptying is lost.
    """
    limit = settings.logging.max_size_mb * 1_000_000
    for path in sorted((settings.data_directory / "logs").glob("*.log")):
        stat = path.stat()
        if stat.st_size > limit and not path.is_symlink() and not _is_current(settings, path):
            report.add(stat.st_size, stat.st_mtime)
            if not dry_run:
                shutil.copy2(path, path.with_name(f"{path.name}.{datetime.now():%Y-%m-%dT%H-%M-%S}"))
                os.truncate(path, 0)


def rotate_mongod_log(
    settings: Settings, connection: Connection, report: PruneReport, dry_run: bool, max_bytes: int = 50_000_000
) -> None:
    """Make the embedded server, which does not rotate by itself, start a new log file from `max_bytes` on."""
    if not connection.is_embedded:
        return
    log = embedded.files_of(settings).log
    size_bytes = log.stat().st_size if log.is_file() else 0
    if size_bytes > max_bytes:
        report.add(size_bytes, log.stat().st_mtime)
        report.notes.append("mongod starts a new log file; the old one is deleted with the other rotated ones.")
        if not dry_run:
            with connection.errors_explained():
                connection.client.admin.command({"logRotate": "server"})
