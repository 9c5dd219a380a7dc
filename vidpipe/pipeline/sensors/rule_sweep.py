"""Applies changed rules to the whole library, by one run over everything due in the step label: a sweep.

The sensor changed_rules launches it as soon as it sees changed rules; with Schedule of [Rules], the schedule does, and
the sensor only continues interrupted sweeps.
"""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import takewhile

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import is_waiting_for_spec
from vidpipe.pipeline.assets import steps
from vidpipe.pipeline.checks import rules_evaluation
from vidpipe.pipeline.jobs import list_job_name, list_op_name
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_queue import SWEEP_TAG, UNFINISHED, run_tags
from vidpipe.pipeline.schedules import local_timezone
from vidpipe.runner.plan import Plan, record_specs
from vidpipe.runner.request import RunRequest
from vidpipe.runner.rule_changes import edits_wait, record_in_force, rules_problem
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import fingerprint

NAME = "changed_rules"
STEP = "label"
JOB = list_job_name(STEP)

#: Cursor of the sensor while the files of rules have no error; otherwise it is the error.
_VALID = "valid"
_ALL_VIDEOS = {"vidpipe/videos": "all"}
#: Seconds after the first, second, ... sweep with the same rules that left videos due, before the next one.
_WAITS_S = (0.0, 60.0, 300.0, 1800.0)


def changed_rules_sensors(graph: StageGraph, settings: Settings) -> Sequence[dg.SensorDefinition]:
    """Return the sensor; none if the graph has no stage to label."""
    if STEP not in steps(graph):
        return []

    @dg.sensor(
        name=NAME,
        job_name=JOB,
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Applies changed rules to the library in one run; only changed results are materialized.",
    )
    def changed_rules(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        found = _evaluate(context.instance, library, graph, settings, begin=not settings.rules.schedule)
        state = _rules_problem(library) or _VALID
        told = "tags" not in graph or state == (context.cursor or _VALID)
        events = [] if told else [rules_evaluation(state.removeprefix(_VALID))]
        launched = {"run_requests": [found]} if isinstance(found, dg.RunRequest) else {"skip_reason": found}
        return dg.SensorResult(**launched, asset_events=events, cursor=state)

    return [changed_rules]


def changed_rules_schedules(graph: StageGraph, settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule of [Rules] Schedule; none if it is empty."""
    if STEP not in steps(graph) or not settings.rules.schedule:
        return []

    @dg.schedule(
        name=f"{NAME}_schedule",
        job_name=JOB,
        cron_schedule=settings.rules.schedule,
        execution_timezone=local_timezone(),
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if settings.sensors.enabled else dg.DefaultScheduleStatus.STOPPED
        ),
        description="Applies rules that changed since the last time, in one run.",
    )
    def changed_rules_schedule(
        context: dg.ScheduleEvaluationContext, library: LibraryResource
    ) -> dg.RunRequest | dg.SkipReason:
        return _evaluate(context.instance, library, graph, settings, begin=True)

    return [changed_rules_schedule]


def _rules_problem(resource: LibraryResource) -> str:
    try:
        return rules_problem(resource.settings())
    except VidpipeError:  # the tick says so
        return ""


def _evaluate(
    instance: dg.DagsterInstance, resource: LibraryResource, graph: StageGraph, loaded: Settings, *, begin: bool
) -> dg.RunRequest | dg.SkipReason:
    """Evaluate the sensor or schedule, which was built with the settings `loaded`."""
    try:
        settings = resource.settings()
        if settings.rules.schedule != loaded.rules.schedule:
            return dg.SkipReason(
                "Schedule of [Rules] has changed: restart `vidpipe up`, or reload the code location on this page."
            )
        with resource.opened(graph, settings) as library, library.connection.errors_explained():
            return next_sweep(instance, library, settings, begin=begin)
    except VidpipeError as error:
        return dg.SkipReason(str(error))


def next_sweep(
    instance: dg.DagsterInstance, library: Library, settings: Settings, *, begin: bool
) -> dg.RunRequest | dg.SkipReason:
    """Return the sweep to launch now, or why there is none.

    Args:
        instance: The Dagster instance.
        library: The open library.
        settings: The settings in force.
        begin: Whether a sweep with new rules may start; otherwise only an interrupted one is continued.
    """
    stages = [stage.name for stage in steps(library.graph).get(STEP, ())]
    with closing(Plan.make(library.graph, settings, stages)) as plan:
        record_specs(library, plan)
        problems = " ".join(f"Stage {name} cannot run: {error}" for name, error in plan.unavailable.items())
        if not is_waiting_for_spec(library.collections["videos"], plan.specs):
            record_in_force(library, plan, "sensor")
            edits = "Edited rules wait for `vidpipe rules apply` ([Rules] Apply = approve)."
            edits = edits if edits_wait(settings) else "The library is labelled with today's rules."
            return dg.SkipReason(problems or edits)
    rules = fingerprint(dict(plan.specs))
    if instance.get_run_records(dg.RunsFilter(job_name=JOB, tags=_ALL_VIDEOS, statuses=list(UNFINISHED)), limit=1):
        return dg.SkipReason("Changed rules are being applied; later changes come next.")
    before = _sweeps_before(instance, rules)
    if not before and not begin:
        return dg.SkipReason(f"Changed rules wait for Schedule of [Rules]: {settings.rules.schedule}.")
    if before:
        wait_s = _WAITS_S[min(len(before), len(_WAITS_S)) - 1]
        left_s = (before[0].end_time or before[0].create_timestamp.timestamp()) + wait_s - time.time()
        if left_s > 0:
            return dg.SkipReason(
                f"{len(before)} sweeps with today's rules left videos that are still due; the next one starts in "
                f"{left_s:.0f} s. {problems}".strip()
            )
    request = RunRequest(stages=tuple(plan.specs) if len(plan.specs) < len(stages) else None)
    return dg.RunRequest(
        job_name=JOB,
        run_config={"ops": {list_op_name(STEP): {"config": request.as_config()}}},
        tags={**run_tags(STEP), **_ALL_VIDEOS, SWEEP_TAG: rules},
    )


def _sweeps_before(instance: dg.DagsterInstance, rules: str) -> Sequence[dg.RunRecord]:
    """Return the latest sweeps, newest first, back to the first that applied other rules."""
    records = instance.get_run_records(dg.RunsFilter(job_name=JOB, tags=_ALL_VIDEOS), limit=len(_WAITS_S))
    return list(takewhile(lambda record: record.dagster_run.tags.get(SWEEP_TAG) == rules, records))
