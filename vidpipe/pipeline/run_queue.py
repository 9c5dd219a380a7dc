"""What Dagster is working on: queued and running runs, pools, and the last signs of life of sensors and daemons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from vidpipe.operations.metrics.snapshot import PoolFigures, QueueFigures
from vidpipe.pipeline.dagster_internals import pool_slots
from vidpipe.pipeline.sensors.launched_runs import BY_TAG, STEP_TAG, UNFINISHED, config_list

_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
#: Runs of one status that are read to learn the names of their jobs; all are counted.
_MOST_READ = 50


@dataclass(frozen=True)
class ActiveRun:
    """A run that has begun and not ended.

    Attributes:
        id: Dagster's run id.
        job: Name of the job.
        by: What launched it: `sensor`, or empty.
        step: ingest, prepare, describe, label, or empty.
        status: Dagster's status in lower case.
        began_at: None: not yet recorded.
        items: Videos or sources that it was given; None: its config does not say.
    """

    id: str
    job: str
    by: str
    step: str
    status: str
    began_at: datetime | None
    items: int | None


def queue_figures(instance: dg.DagsterInstance) -> QueueFigures:
    """Counts in Dagster's storage, reading few runs."""
    oldest = instance.get_run_records(dg.RunsFilter(statuses=list(_WAITING)), limit=1, ascending=True)
    oldest_s = (datetime.now(UTC) - oldest[0].create_timestamp.replace(tzinfo=UTC)).total_seconds() if oldest else 0.0
    ticks = {
        state.instigator_name: float(last)
        for state in instance.all_instigator_state()
        if (last := getattr(state.instigator_data, "last_tick_timestamp", None))  # sensors alone have it
    }
    heartbeats = {str(name): beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}
    pools = {name: PoolFigures(*slots) for name, slots in pool_slots(instance).items()}
    return QueueFigures(_unfinished(instance), max(oldest_s, 0.0), ticks, heartbeats, pools)


def _unfinished(instance: dg.DagsterInstance) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for status in UNFINISHED:
        name, left = status.value.lower(), instance.get_runs_count(dg.RunsFilter(statuses=[status]))
        records = instance.get_run_records(dg.RunsFilter(statuses=[status]), limit=_MOST_READ) if left else ()
        for job in {record.dagster_run.job_name for record in records}:
            found[job, name] = instance.get_runs_count(dg.RunsFilter(statuses=[status], job_name=job))
            left -= found[job, name]
        if left > 0:  # of jobs that have no run among the last ones
            found["", name] = left
    return found


def active_runs(instance: dg.DagsterInstance, most: int = 20) -> list[ActiveRun]:
    """Returns the running runs, oldest first, `most` of them."""
    records = instance.get_run_records(dg.RunsFilter(statuses=list(_RUNNING)), limit=most, ascending=True)
    return [
        ActiveRun(
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
    given = sum(1 for name in ("keys", "sources", "inputs") for _ in config_list(run, name))
    if given:
        return given
    return 1 if "dagster/partition" in run.tags else None
