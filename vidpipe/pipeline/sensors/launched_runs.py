"""The runs that sensors launch: their tags, and what unfinished runs work on, so that nothing is launched twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import dagster as dg

from vidpipe.pipeline.dagster_internals import RANGE_END_TAG, RANGE_START_TAG

BY_TAG = "vidpipe/by"
STEP_TAG = "vidpipe/step"
PRIORITY_TAG = "dagster/priority"
#: Names the rules that a sweep over the library applies.
SWEEP_TAG = "vidpipe/sweep"
_PARTITION_TAG = "dagster/partition"

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
#: How many runs are read that no sensor launched. A backfill of a scattered selection may have queued thousands; leases
#: protect what those beyond the running ones and the first of the queue hold.
MOST_READ = 500


def run_tags(step: str, priority: int = 0) -> dict[str, str]:
    """Returns the tags of a run that a sensor launches.

    Args:
        step: ingest, prepare, describe or label.
        priority: In Dagster's queue.
    """
    return {BY_TAG: "sensor", STEP_TAG: step, PRIORITY_TAG: str(priority), "dagster/max_retries": "0"}


def unfinished_runs(instance: dg.DagsterInstance, jobs: Collection[str]) -> list[dg.DagsterRun]:
    """Returns the unfinished runs of the jobs called `jobs`; all of those that sensors launched."""
    first = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=MOST_READ, ascending=True)
    found = {record.dagster_run.run_id: record.dagster_run for record in first}
    if len(first) >= MOST_READ:
        own = instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED), tags={BY_TAG: "sensor"}))
        found |= {record.dagster_run.run_id: record.dagster_run for record in own}
    return [run for run in found.values() if run.job_name in jobs]


def videos_of_unfinished_runs(instance: dg.DagsterInstance) -> set[str]:
    """Returns the videos of all unfinished runs, of any job."""
    return held_by_runs(instance, instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)), limit=MOST_READ))


def held_by_runs(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Returns the videos that `runs` were given: in the list `keys` of their ops' config, or as partitions."""
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
    """Yields the entries of the list `field` in the config of the run's ops; a text counts as one entry per line."""
    config: Any = run.run_config
    ops = config.get("ops") if isinstance(config, dict) else None
    for op in (ops or {}).values():
        given = (op.get("config") or {}).get(field) if isinstance(op, dict) else None
        for entry in [given] if isinstance(given, str) else given or ():
            yield from str(entry).splitlines()
