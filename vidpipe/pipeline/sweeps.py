"""When changed rules are applied to the whole library, by one run over everything due in the step label: a sweep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import takewhile

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.queries.launchable import is_waiting_for_spec
from vidpipe.pipeline.assets import steps
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.sensors.launched_runs import SWEEP_TAG, UNFINISHED, run_tags
from vidpipe.runner.pending_changes import record_specs
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.versions import fingerprint

STEP = "label"
JOB = list_job_name(STEP)
_ALL = {"vidpipe/videos": "all"}
#: Seconds after the first, second, ... sweep under the same rules that left videos undone, before the next one.
_WAITS_S = (0.0, 60.0, 300.0, 1800.0)


def next_sweep(
    instance: dg.DagsterInstance, library: Library, settings: Settings, *, begin: bool
) -> dg.RunRequest | dg.SkipReason:
    """The sweep to launch now, or why there is none.

    begin: whether rules may be applied that no sweep has begun to apply; otherwise only an interrupted one is continued
    """
    stages = [stage.name for stage in steps(library.graph).get(STEP, ())]
    plan = Plan.make(library.graph, settings, stages)
    try:
        record_specs(library, plan)
        problems = " ".join(f"Stage {name} cannot run: {error}" for name, error in plan.unavailable.items())
        if not is_waiting_for_spec(library.collections["videos"], plan.specs):
            return dg.SkipReason(problems or "The library is labelled by today's rules.")
    finally:
        plan.close()
    rules = fingerprint(dict(plan.specs))
    if instance.get_run_records(dg.RunsFilter(job_name=JOB, tags=_ALL, statuses=list(UNFINISHED)), limit=1):
        return dg.SkipReason("Changed rules are being applied; what changed meanwhile comes next.")
    before = _sweeps_before(instance, rules)
    if not before and not begin:
        return dg.SkipReason(f"Changed rules wait for Schedule of [Rules]: {settings.rules.schedule}.")
    if before:
        wait_s = _WAITS_S[min(len(before), len(_WAITS_S)) - 1]
        left_s = (before[0].end_time or before[0].create_timestamp.timestamp()) + wait_s - time.time()
        if left_s > 0:
            return dg.SkipReason(
                f"{len(before)} sweeps with today's rules have left videos that are still due; the next one begins in "
                f"{left_s:.0f} s. {problems}".strip()
            )
    config: dict[str, object] = {"keys": []}
    if len(plan.specs) < len(stages):
        config["stages"] = list(plan.specs)
    return dg.RunRequest(
        job_name=JOB,
        run_config={"ops": {list_op_name(STEP): {"config": config}}},
        tags={**run_tags(STEP), **_ALL, SWEEP_TAG: rules},
    )


def _sweeps_before(instance: dg.DagsterInstance, rules: str) -> Sequence[dg.RunRecord]:
    """The last sweeps, newest first, as far as they applied `rules`."""
    records = instance.get_run_records(dg.RunsFilter(job_name=JOB, tags=_ALL), limit=len(_WAITS_S))
    return list(takewhile(lambda record: record.dagster_run.tags.get(SWEEP_TAG) == rules, records))
