"""Changed rules are applied to the library by the sensor, as soon as it sees them, or by the schedule of [Rules].

With a schedule, the sensor only goes on with what the schedule began and something cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.pipeline.assets import steps
from vidpipe.pipeline.clean_up import local_timezone
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sweeps import JOB, STEP, next_sweep
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

NAME = "changed_rules"


def changed_rules_sensors(graph: StageGraph, settings: Settings) -> Sequence[dg.SensorDefinition]:
    """The sensor; none where the graph has no stage to label."""
    if STEP not in steps(graph):
        return []

    @dg.sensor(
        name=NAME,
        job_name=JOB,
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Applies changed rules to the library, in one run; only videos with another outcome are "
        "materialised.",
    )
    def changed_rules(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.RunRequest | dg.SkipReason:
        try:
            today = library.settings()
            if today.rules.schedule != settings.rules.schedule:
                return dg.SkipReason("Schedule of [Rules] was changed: it counts from the next `vidpipe up`, or once "
                                     "the code location is reloaded on this page.")  # fmt: skip
            with library.opened(graph, today) as opened, opened.connection.errors_explained():
                return next_sweep(context.instance, opened, today, begin=not today.rules.schedule)
        except VidpipeError as error:
            return dg.SkipReason(str(error))

    return [changed_rules]


def changed_rules_schedules(graph: StageGraph, settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """The schedule of [Rules] Schedule; none where it is empty."""
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
        try:
            today = library.settings()
            with library.opened(graph, today) as opened, opened.connection.errors_explained():
                return next_sweep(context.instance, opened, today, begin=True)
        except VidpipeError as error:
            return dg.SkipReason(str(error))

    return [changed_rules_schedule]
