"""What Dagster has in hand: its queue, its running runs, and when sensors and daemons were last heard of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from vidpipe.operations.metrics.snapshot import PoolFigures, QueueFigures
from vidpipe.pipeline.sensors.tags import BY_TAG, STEP_TAG
from vidpipe.pipeline.sensors.unfinished import UNFINISHED, listed

_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_WAITING = (dg.DagsterRunStatus.QUEUED.value, dg.DagsterRunStatus.NOT_STARTED.value)


@dataclass(frozen=True)
class RunAtWork:
    """A run that has begun and not ended. items: videos or sources it was given; None: its config does not say."""

    id: str
    job: str
    by: str
    step: str
    status: str
    began_at: datetime | None
    items: int | None


def queue_figures(instance: dg.DagsterInstance) -> QueueFigures:
    """Counted in Dagster's storage; no run is read."""
    unfinished, oldest_s = _unfinished(instance)
    ticks = {
        state.instigator_name: data.last_tick_timestamp
        for state in instance.all_instigator_state()
        if isinstance(data := state.instigator_data, SensorInstigatorData) and data.last_tick_timestamp
    }
    heartbeats = {str(name): beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}
    return QueueFigures(unfinished, oldest_s, ticks, heartbeats, _pools(instance))


def _unfinished(instance: dg.DagsterInstance) -> tuple[dict[tuple[str, str], int], float]:
    storage: Any = instance.run_storage
    statuses = [status.value for status in UNFINISHED]
    if not isinstance(storage, SqlRunStorage):  # of somebody's own making
        counts = {
            ("", status.value.lower()): instance.get_runs_count(dg.RunsFilter(statuses=[status]))
            for status in UNFINISHED
        }
        return {key: number for key, number in counts.items() if number}, 0.0
    columns = RunsTable.c
    rows = storage.fetchall(
        db.select(
            columns.pipeline_name, columns.status, db.func.count().label("number"),
            db.func.min(columns.create_timestamp).label("oldest"),
        )
        .where(columns.status.in_(statuses))
        .group_by(columns.pipeline_name, columns.status)
    )  # fmt: skip
    waiting = [row["oldest"].replace(tzinfo=UTC) for row in rows if row["status"] in _WAITING and row["oldest"]]
    oldest_s = max((datetime.now(UTC) - min(waiting)).total_seconds(), 0.0) if waiting else 0.0
    return {(row["pipeline_name"], row["status"].lower()): row["number"] for row in rows}, oldest_s


def _pools(instance: dg.DagsterInstance) -> dict[str, PoolFigures]:
    storage = instance.event_log_storage
    found = {}
    for limit in storage.get_pool_limits():
        info = storage.get_concurrency_info(limit.name)
        found[limit.name] = PoolFigures(info.slot_count, info.active_slot_count, info.pending_step_count)
    return found


def runs_at_work(instance: dg.DagsterInstance, most: int = 20) -> list[RunAtWork]:
    """The running runs, oldest first, `most` of them."""
    records = instance.get_run_records(dg.RunsFilter(statuses=list(_RUNNING)), limit=most, ascending=True)
    return [
        RunAtWork(
            id=record.dagster_run.run_id,
            job=record.dagster_run.job_name,
            by=record.dagster_run.tags.get(BY_TAG, ""),
            step=record.dagster_run.tags.get(STEP_TAG, ""),
            status=record.dagster_run.status.value.lower(),
            began_at=datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None,
            items=_items(record.dagster_run),
        )
        for record in records
    ]


def _items(run: dg.DagsterRun) -> int | None:
    given = sum(1 for name in ("keys", "sources", "inputs") for _ in listed(run, name))
    if given:
        return given
    return 1 if "dagster/partition" in run.tags else None
