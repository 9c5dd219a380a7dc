"""The clean-up tasks of a home and its library. Those of Dagster's history are in `vidpipe.pipeline.clean_up`."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from vidpipe.library.leases import is_dead, this_process
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.operations.retention.derived_files import delete_unreferenced
from vidpipe.operations.retention.log_files import delete_log_files, rotate_mongod_log, rotate_server_logs
from vidpipe.operations.retention.pruning import PruneReport, PruneTask, cutoff, paced_chunks
from vidpipe.settings import Settings
from vidpipe.sources.media_store import MediaStore

_CHUNK = 1000


def home_tasks(settings: Settings, library: Library) -> list[PruneTask]:
    """Return the tasks, in the order in which they run."""
    runs, figures_before = library.collections["runs"], cutoff(settings.retention.measures_days)
    return [
        PruneTask("mongod log", partial(rotate_mongod_log, settings, library.connection)),
        PruneTask("server logs", partial(rotate_server_logs, settings)),
        PruneTask("log files", partial(delete_log_files, settings)),
        PruneTask("derived", partial(delete_unreferenced, settings, library)),
        PruneTask("downloads", partial(delete_downloads, settings)),
        PruneTask("journals", partial(delete_journals, settings, library)),
        PruneTask("measures", partial(delete_run_figures, runs, figures_before)),
    ]


def delete_downloads(settings: Settings, report: PruneReport, dry_run: bool) -> None:
    """Delete partial files that no process holds and that have not been written to for PartialDays."""
    if not (settings.media_directory / "incoming").is_dir():
        return
    store = MediaStore(settings)
    stats: dict[Path, os.stat_result] = {}
    for path in store.incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            stats[path] = path.stat()
    days = settings.retention.partial_days
    for path in store.clean(days, dry_run=dry_run):
        if path in stats:
            report.add(stats[path].st_size, stats[path].st_mtime)


def delete_journals(settings: Settings, library: Library, report: PruneReport, dry_run: bool) -> None:
    """Delete journals of other containers and machines that shared this home.

    Journals of dead processes of this machine are processed by the next run. Whether the others are dead is unknown:
    they must hold no lease and have written nothing for PartialDays.
    """
    limit = cutoff(settings.retention.partial_days)
    holding = set(library.collections["videos"].distinct("lease.owner"))
    for path in sorted((settings.data_directory / "run").glob("*.journal")):
        owner = _owner(path)
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if stat.st_mtime < limit and owner not in holding and not _is_alive_here(owner):
            if not dry_run:
                path.unlink(missing_ok=True)
            report.add(stat.st_size, stat.st_mtime)


def _owner(path: Path) -> str:
    try:
        return (path.read_text(encoding="utf-8").splitlines() or [""])[0]
    except (OSError, UnicodeDecodeError):
        return ""


def _is_alive_here(owner: str) -> bool:
    process = owner.rpartition("|")[0]
    return process.partition("|")[0] == this_process().partition("|")[0] and not is_dead(process)


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
    for chunk in paced_chunks([row["_id"] for row in rows], _CHUNK) if not dry_run else ():
        runs.delete_many({"_id": {"$in": list(chunk)}, **wanted})
