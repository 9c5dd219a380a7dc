"""Space that deleted rows left in SQLite files, given back to the disk without keeping others waiting for long.

A file that Dagster made gives nothing back by itself. Once it is small enough, or nobody else uses it, it is written
anew with auto_vacuum = incremental; from then on free pages are cut off in small pieces.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from vidpipe.operations.retention.pruning import PAUSE_S, PruneReport

#: Written anew while others use the file: about a second, in which they wait. Dagster's own limit is 5 s.
_SMALL_BYTES = 100_000_000
_INCREMENTAL = 2
_PAGES = 1000
#: Less free space than this share of a file is left to the rows that come next.
_WORTHWHILE = 0.1
_LONGEST_S = 60.0
_HEARTBEAT_S = 300.0


def give_back(instance: dg.DagsterInstance, folder: Path, own_run: str, report: PruneReport, *, dry_run: bool) -> None:
    """For each database of Dagster's below `folder` (DAGSTER_HOME); what it came to goes into the report's notes.

    own_run: id of the run that this is part of, or empty
    """
    if dry_run:
        return
    in_use = _in_use(instance, own_run)
    for path in (folder / "history" / "runs" / "index.db", folder / "history" / "runs.db",
                 folder / "schedules" / "schedules.db"):  # fmt: skip
        if path.is_file():
            before = path.stat().st_size
            said = _give_back(path, in_use=in_use)
            after = path.stat().st_size
            if after < before:
                report.add(before - after, None, 0)
                report.notes.append(f"{path.name}: {before / 1e6:.1f} MB, now {after / 1e6:.1f} MB.")
            if said:
                report.notes.append(said)


def _in_use(instance: dg.DagsterInstance, own_run: str) -> bool:
    """Whether others write to Dagster's databases: a daemon that lived a moment ago, or runs besides this one."""
    unfinished = instance.get_run_ids(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES))
    heartbeats = instance.get_daemon_heartbeats().values()
    return any(run_id != own_run for run_id in unfinished) or any(
        time.time() - heartbeat.timestamp < _HEARTBEAT_S for heartbeat in heartbeats
    )


def _give_back(path: Path, *, in_use: bool) -> str:
    with _connected(path) as connection:
        mode = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0] * pages
        if mode == _INCREMENTAL:
            if free > _WORTHWHILE * pages:
                _cut(connection)
        elif size <= _SMALL_BYTES or not in_use:
            if shutil.disk_usage(path.parent).free < 2.5 * size:
                return f"{path.name}: the disk has no room to write it anew ({size / 1e6:.0f} MB)."
            connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
            connection.execute("VACUUM")
        elif free > _WORTHWHILE * pages:
            return (
                f"{path.name} holds {free / pages:.0%} free space of {size / 1e6:.0f} MB, which later rows will fill; "
                "`vidpipe down` and `vidpipe prune` give it back to the disk."
            )
        # Readers may be in the way: then the next checkpoint cuts the log file.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return ""


def _cut(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        if connection.execute("PRAGMA freelist_count").fetchone()[0] == 0:
            return
        time.sleep(PAUSE_S)


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
