"""What the runs that have not ended will work on, so that nothing is launched twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import dagster as dg

from vidpipe.pipeline.sensors.tags import BY_TAG

UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)

#: The job of runs that the page or a backfill launched over assets of no particular job.
ASSET_JOB = "__ASSET_JOB"
_PARTITION = "dagster/partition"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"
#: Of those that no sensor launched. A backfill of a scattered selection may have queued thousands; what those at work
#: and the first ones of the queue leave over is protected by leases all the same.
_MOST_READ = 500


def unfinished_runs(instance: dg.DagsterInstance, jobs: Collection[str]) -> list[dg.DagsterRun]:
    """The unfinished runs of the jobs called `jobs`; all of those that sensors launched."""
    own = dg.RunsFilter(statuses=list(UNFINISHED), tags={BY_TAG: "sensor"})
    records = [
        *instance.get_run_records(own),
        *instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=_MOST_READ, ascending=True),
    ]
    found = {record.dagster_run.run_id: record.dagster_run for record in records}
    return [run for run in found.values() if run.job_name in jobs]


def videos_of_unfinished_runs(instance: dg.DagsterInstance) -> set[str]:
    """The videos of all runs, of any job, that have not ended."""
    return held_by_runs(instance, instance.get_runs(dg.RunsFilter(statuses=list(UNFINISHED)), limit=_MOST_READ))


def held_by_runs(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The videos that `runs` were given: in the list `keys` of their ops' config, or as partitions."""
    held: set[str] = set()
    order: dict[str, int] = {}
    keys: list[str] = []
    for run in runs:
        held.update(listed(run, "keys"))
        if _PARTITION in run.tags:
            held.add(run.tags[_PARTITION])
        if _RANGE_START in run.tags and _RANGE_END in run.tags:
            if not order:
                keys = list(instance.get_dynamic_partitions("videos"))
                order = {key: place for place, key in enumerate(keys)}
            first, last = order.get(run.tags[_RANGE_START]), order.get(run.tags[_RANGE_END])
            if first is not None and last is not None:
                held.update(keys[first : last + 1])
    return held


def listed(run: dg.DagsterRun, field: str) -> Iterator[str]:
    """The entries of the list `field` in the config of the run's ops; a text counts as one entry a line."""
    config: Any = run.run_config
    ops = config.get("ops") if isinstance(config, dict) else None
    for op in (ops or {}).values():
        given = (op.get("config") or {}).get(field) if isinstance(op, dict) else None
        for entry in [given] if isinstance(given, str) else given or ():
            yield from str(entry).splitlines()
