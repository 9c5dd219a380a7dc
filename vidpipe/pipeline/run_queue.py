"""Queued and running runs: their tags, what they work on, and figures of Dagster's queue, pools and daemons."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from vidpipe.operations.metrics.snapshot import PoolFigures, QueueFigures
from vidpipe.pipeline.dagster_internals import RANGE_END_TAG, RANGE_START_TAG, pool_slots
from vidpipe.pipeline.run_launcher import STARTED_STATUSES

BY_TAG = "vidpipe/by"
STEP_TAG = "vidpipe/step"
PRIORITY_TAG = "dagster/priority"
#: An ingest run with this tag processes the videos that it ingests, if they are few and small.
ALL_STEPS_TAG = "vidpipe/all_steps"
#: Names the rules that a sweep over the library applies.
SWEEP_TAG = "vidpipe/sweep"
_PARTITION_TAG = "dagster/partition"

UNFINISHED = (dg.DagsterRunStatus.QUEUED, *STARTED_STATUSES)
#: How many runs are read that no sensor launched. A backfill of a scattered selection may have queued thousands; leases
#: protect what those beyond the running ones and the first of the queue hold.
MOST_READ = 500
_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_WAITING = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
#: Runs of one status that are read to learn the names of their jobs; all are counted.
_MOST_NAMED = 50


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
    """Count in Dagster's storage, reading few runs."""
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
        records = instance.get_run_records(dg.RunsFilter(statuses=[status]), limit=_MOST_NAMED) if left else ()
        for job in {record.dagster_run.job_name for record in records}:
            found[job, name] = instance.get_runs_count(dg.RunsFilter(statuses=[status], job_name=job))
            left -= found[job, name]
        if left > 0:  # of jobs that have no run among the last ones
            found["", name] = left
    return found


def active_runs(instance: dg.DagsterInstance, most: int = 20) -> list[ActiveRun]:
    """Return the running runs, oldest first, `most` of them."""
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
    return 1 if _PARTITION_TAG in run.tags else None


def run_tags(step: str, priority: int = 0) -> dict[str, str]:
    """Return the tags of a run that a sensor launches.

    Args:
        step: ingest, prepare, describe or label.
        priority: In Dagster's queue.
    """
    return {BY_TAG: "sensor", STEP_TAG: step, PRIORITY_TAG: str(priority), "dagster/max_retries": "0"}


def unfinished_runs(instance: dg.DagsterInstance, jobs: Collection[str]) -> list[dg.DagsterRun]:
    """Return the unfinished runs of the jobs called `jobs`; all of those that sensors launched."""
    first = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=MOST_READ, ascending=True)
    found = {record.dagster_run.run_id: record.dagster_run for record in first}
    if len(first) >= MOST_READ:
        own = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED), tags={BY_TAG: "sensor"}))
        found |= {record.dagster_run.run_id: record.dagster_run for record in own}
    return [run for run in found.values() if run.job_name in jobs]


def videos_of_unfinished_runs(instance: dg.DagsterInstance, limit: int | None = MOST_READ) -> set[str]:
    """Return the videos of `limit` unfinished runs (None: of all), of any job."""
    return held_by_runs(instance, instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)), limit=limit))


def held_by_runs(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the videos that `runs` were given: in the list `keys` of their ops' config, or as partitions."""
    held: set[str] = set()
    order: dict[str, int] = {}
    keys: list[str] = []
    for run in runs:
        held.update(config_list(run, "keys"))
        if _PARTITION_TAG in run.tags:
            held.add(run.tags[_PARTITION_TAG])
        if RANGE_START_TAG in run.tags and RANGE_END_TAG in run.tags:
            if not order:
                keys = list(instance.get_dynamic_partitions("videos"))
                order = {key: place for place, key in enumerate(keys)}
            first, last = order.get(run.tags[RANGE_START_TAG]), order.get(run.tags[RANGE_END_TAG])
            if first is not None and last is not None:
                held.update(keys[first : last + 1])
    return held


def config_list(run: dg.DagsterRun, field: str) -> Iterator[str]:
    """Yield the entries of the list `field` in the config of the run's ops; a text counts as one entry per line."""
    config: Any = run.run_config
    ops = config.get("ops") if isinstance(config, dict) else None
    for op in (ops or {}).values():
        given = (op.get("config") or {}).get(field) if isinstance(op, dict) else None
        for entry in [given] if isinstance(given, str) else given or ():
            yield from str(entry).splitlines()


def run_priority(run: dg.DagsterRun) -> int:
    """Return the priority of the run in Dagster's queue."""
    try:
        return int(run.tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        return 0
