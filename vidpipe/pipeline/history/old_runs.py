"""Which runs are old enough to be forgotten, and which of the old ones still matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import AssetKeyTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import BulkActionsTable, RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from vidpipe.errors import UnavailableError
from vidpipe.operations.retention.pruning import PruneReport, paced_chunks

_CHUNK = 200
_FINISHED = [status.value for status in FINISHED_STATUSES]


@dataclass(frozen=True)
class OldRuns:
    """
    doomed:  the finished runs that ended before the limit and matter no more: id -> end, seconds since 1970
    red:     old runs that stay, because a partition is red by them
    present: ids of all runs that there are, whatever their state and age
    """

    doomed: dict[str, float] = field(default_factory=dict)
    red: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()

    def forgets(self, run_id: str) -> bool:
        """Whether no record of this run remains."""
        return run_id in self.doomed or run_id not in self.present

    def is_old(self, run_id: str) -> bool:
        """Whether it is forgotten, or stays for its failures alone."""
        return self.forgets(run_id) or run_id in self.red


def run_storage(instance: dg.DagsterInstance) -> SqlRunStorage:
    """Raises UnavailableError where Dagster keeps its runs in something else than SQL."""
    storage = instance.run_storage
    if not isinstance(storage, SqlRunStorage):
        raise _not_sql(storage)
    return storage


def event_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    """Raises UnavailableError where Dagster keeps its events in something else than SQL."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise _not_sql(storage)
    return storage


def _not_sql(storage: object) -> UnavailableError:
    return UnavailableError(
        f"Dagster's history lies in {type(storage).__name__}, which vidpipe cannot clean up.",
        "Use the storage of the dagster.yaml that `vidpipe init` writes, or clean up by that storage's own means.",
    )


def find_old_runs(instance: dg.DagsterInstance, before: float) -> OldRuns:
    """The runs that ended before `before` (seconds since 1970), and what is to be known of the others.

    Stay: unfinished runs; those of unfinished backfills; the last run of each job and of each asset; failed runs by
    which a partition is red.
    """
    columns = (RunsTable.c.run_id, RunsTable.c.status, RunsTable.c.backfill_id, RunsTable.c.end_time,
               RunsTable.c.update_timestamp)  # fmt: skip
    with run_storage(instance).connect() as connection:
        present = frozenset(row[0] for row in connection.execute(db.select(RunsTable.c.run_id)))
        last = db.select(db.func.max(RunsTable.c.id)).group_by(RunsTable.c.pipeline_name)
        wanted = RunsTable.c.status.in_(_FINISHED) & RunsTable.c.id.not_in(last)
        rows = connection.execute(db.select(*columns).where(wanted)).fetchall()
        open_backfills = _open_backfills(connection)
    old = {row[0]: row for row in rows if _ended(row) < before}
    deciding = _deciding(instance) if old else set()
    last_of_assets = _last_of_assets(instance) if old else set()
    failed = dg.DagsterRunStatus.FAILURE.value
    red = frozenset(run_id for run_id, row in old.items() if run_id in deciding and row[1] == failed)
    doomed = {
        run_id: _ended(row)
        for run_id, row in old.items()
        if run_id not in red and run_id not in last_of_assets and row[2] not in open_backfills
    }
    return OldRuns(doomed, red, present)


def _ended(row: Any) -> float:
    """Seconds since 1970; runs that were ended from outside may have no end time."""
    return float(row[3]) if row[3] is not None else from_utc(row[4])


def _open_backfills(connection: Any) -> set[str]:
    terminal = [status.value for status in BULK_ACTION_TERMINAL_STATUSES]
    rows = connection.execute(db.select(BulkActionsTable.c.key).where(BulkActionsTable.c.status.not_in(terminal)))
    return {row[0] for row in rows}


def asset_keys(instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    return list(instance.all_asset_keys())


def _deciding(instance: dg.DagsterInstance) -> set[str]:
    """The runs named by a planned materialisation that nothing came of, and that is the partition's latest."""
    storage = event_storage(instance)
    return {
        run_id
        for key in asset_keys(instance)
        for run_id, _ in storage.get_latest_asset_partition_materialization_attempts_without_materializations(
            key
        ).values()
    }


def _last_of_assets(instance: dg.DagsterInstance) -> set[str]:
    with event_storage(instance).index_connection() as connection:
        return {row[0] for row in connection.execute(db.select(AssetKeyTable.c.last_run_id)) if row[0]}


def delete_records(instance: dg.DagsterInstance, old: OldRuns, report: PruneReport, dry_run: bool) -> None:
    """The runs' records and tags, and what they still hold in pools."""
    for chunk in chunks_of(list(old.doomed)):
        with run_storage(instance).connect() as connection:
            sizes = db.select(RunsTable.c.run_id, db.func.length(RunsTable.c.run_body))
            for run_id, size in connection.execute(sizes.where(RunsTable.c.run_id.in_(chunk))):
                report.add(size or 0, old.doomed[run_id])
    if old.red:
        report.notes.append(f"{len(old.red)} old failed runs stay: partitions are red by them.")
    if dry_run:
        return
    events = event_storage(instance)
    if events.supports_global_concurrency_limits:
        for run_id in events.get_concurrency_run_ids() & old.doomed.keys():
            events.free_concurrency_slots_for_run(run_id)
    for chunk in paced_chunks(list(old.doomed), _CHUNK):
        with run_storage(instance).connect() as connection:
            connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id.in_(chunk)))
            connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(chunk)))


def chunks_of(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Lists of ids that fit into one statement; nothing is waited for."""
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def from_utc(when: datetime) -> float:
    """Seconds since 1970 of a time as Dagster's tables hold it: UTC without saying so."""
    return when.replace(tzinfo=UTC).timestamp()


def to_utc(seconds: float) -> datetime:
    """The reverse, for comparisons."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
