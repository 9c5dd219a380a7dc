"""What sensors and schedules saw at each look, and backfills that are over."""

from __future__ import annotations

import dagster as dg
import sqlalchemy as db
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES
from dagster._core.storage.runs.schema import BackfillTagsTable, BulkActionsTable, RunsTable
from dagster._core.storage.schedules.schema import JobTickTable
from dagster._core.storage.schedules.sql_schedule_storage import SqlScheduleStorage

from vidpipe.errors import UnavailableError
from vidpipe.operations.retention.pruning import PruneReport, paced_chunks
from vidpipe.pipeline.history.old_runs import OldRuns, from_utc, run_storage, to_utc

_CHUNK = 1000


def delete_ticks(instance: dg.DagsterInstance, before: float, report: PruneReport, dry_run: bool) -> None:
    """Ticks before `before` (seconds since 1970), also of sensors that are no more, which Dagster keeps for ever.

    The last one of each sensor and schedule stays: from it a schedule goes on.
    """
    storage = instance.schedule_storage
    if not isinstance(storage, SqlScheduleStorage):
        raise UnavailableError("Dagster's ticks do not lie in SQL; vidpipe cannot clean them up.")
    ticks = JobTickTable.c
    last = db.select(db.func.max(ticks.id)).group_by(ticks.job_origin_id, ticks.selector_id)
    query = db.select(ticks.id, db.func.length(ticks.tick_body), ticks.timestamp)
    with storage.connect() as connection:
        rows = connection.execute(query.where((ticks.timestamp < to_utc(before)) & ticks.id.not_in(last))).fetchall()
    for _, size, at in rows:
        report.add(size or 0, from_utc(at))
    for chunk in paced_chunks([row[0] for row in rows], _CHUNK) if not dry_run else ():
        with storage.connect() as connection:
            connection.execute(JobTickTable.delete().where(ticks.id.in_(chunk)))


def delete_backfills(
    instance: dg.DagsterInstance, old: OldRuns, before: float, report: PruneReport, dry_run: bool
) -> None:
    """Backfills that ended, began before `before` and have no run any more."""
    storage = run_storage(instance)
    actions = BulkActionsTable.c
    over = actions.status.in_([status.value for status in BULK_ACTION_TERMINAL_STATUSES])
    query = db.select(actions.key, db.func.length(actions.body), actions.timestamp)
    with storage.connect() as connection:
        rows = connection.execute(query.where(over & (actions.timestamp < to_utc(before)))).fetchall()
        with_runs = {
            backfill
            for backfill, run_id in connection.execute(
                db.select(RunsTable.c.backfill_id, RunsTable.c.run_id).where(RunsTable.c.backfill_id.is_not(None))
            )
            if run_id not in old.doomed
        }
    rows = [row for row in rows if row[0] not in with_runs]
    for _, size, at in rows:
        report.add(size or 0, from_utc(at))
    for chunk in paced_chunks([row[0] for row in rows], _CHUNK) if not dry_run else ():
        with storage.connect() as connection:
            connection.execute(BackfillTagsTable.delete().where(BackfillTagsTable.c.backfill_id.in_(chunk)))
            connection.execute(BulkActionsTable.delete().where(actions.key.in_(chunk)))
