"""The files of forgotten runs: each run's own event log (an SQLite file) and the captured output of its steps."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import sqlalchemy as db
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

from vidpipe.operations.retention.pruning import PruneReport
from vidpipe.pipeline.history.old_runs import OldRuns, event_storage, to_utc

_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: The log of an old run that stays is made smaller where it is larger than this.
_THIN_BYTES = 200_000
_MADE = (dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value)


def delete_run_files(
    instance: dg.DagsterInstance, old: OldRuns, report: PruneReport, *, home: Path, before: float, dry_run: bool
) -> None:
    """Of forgotten runs all files, also those that an earlier clean-up was not able to delete. home: DAGSTER_HOME."""
    for run_id, paths in _files_by_run(event_storage(instance), home).items():
        if run_id in old.doomed or (run_id not in old.present and _latest(paths) < before):
            stats = [stat for path in paths for stat in _stats(path)]
            report.add(sum(stat.st_size for stat in stats), min((stat.st_mtime for stat in stats), default=None))
            for path in paths if not dry_run else ():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def thin_red_runs(instance: dg.DagsterInstance, old: OldRuns, report: PruneReport, dry_run: bool) -> None:
    """Old failed runs that stay keep their log, but for what they made: that stands in the log of all runs as well."""
    storage = event_storage(instance)
    if not isinstance(storage, SqliteEventLogStorage):
        return
    rows = SqlEventLogStorageTable.c
    for run_id in sorted(old.red):
        path = Path(storage.path_for_shard(run_id))
        if not path.is_file() or path.stat().st_size < _THIN_BYTES:
            continue
        wanted = rows.dagster_event_type.in_(_MADE)
        figures = (db.func.count(), db.func.sum(db.func.length(rows.event)), db.func.min(rows.timestamp))
        with storage.run_connection(run_id) as connection:
            count, size, at = connection.execute(db.select(*figures).where(wanted)).one()
            if count:
                report.add(size, at.timestamp() if hasattr(at, "timestamp") else None, count)
            if count and not dry_run:
                connection.execute(SqlEventLogStorageTable.delete().where(wanted))
        if count and not dry_run:
            _vacuum(path)


def trim_runless(instance: dg.DagsterInstance, before: float, report: PruneReport, dry_run: bool) -> None:
    """Events of no run are written to a file of their own too, which nobody reads."""
    storage = event_storage(instance)
    if not isinstance(storage, SqliteEventLogStorage) or not Path(storage.path_for_shard("")).is_file():
        return
    rows = SqlEventLogStorageTable.c
    wanted = rows.timestamp < to_utc(before)
    with storage.run_connection("") as connection:
        figures = db.select(db.func.count(), db.func.sum(db.func.length(rows.event))).where(wanted)
        count, size = connection.execute(figures).one()
        if count:
            report.add(size, None, count)
            if not dry_run:
                connection.execute(SqlEventLogStorageTable.delete().where(wanted))


def _vacuum(path: Path) -> None:
    with sqlite3.connect(path, timeout=5, isolation_level=None) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _files_by_run(storage: object, home: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    folders = [home / "storage"]
    if isinstance(storage, SqliteEventLogStorage):
        folders.append(Path(storage.path_for_shard(INDEX_SHARD_NAME)).parent)
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            run_id = path.name.partition(".")[0]
            if _RUN_ID.fullmatch(run_id) and not path.is_symlink():
                found.setdefault(run_id, []).append(path)
    return found


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of a file, or of all in a folder. SQLite's index in shared memory (-shm) comes and goes with each reader."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        with contextlib.suppress(FileNotFoundError):
            if not file.name.endswith("-shm") and not file.is_symlink() and file.is_file():
                yield file.stat()


def _latest(paths: list[Path]) -> float:
    """When something was last written; just now, where a file has gone meanwhile: somebody is at work."""
    try:
        return max(path.lstat().st_mtime for path in paths)
    except FileNotFoundError:
        return time.time()
