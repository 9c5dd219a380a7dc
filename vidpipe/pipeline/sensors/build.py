"""All sensors and schedules of a graph of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from vidpipe.pipeline.alert_sensors import failure_rate_sensor, run_failures_sensor
from vidpipe.pipeline.clean_up import clean_up_schedules
from vidpipe.pipeline.sensors.changed_rules import changed_rules_schedules, changed_rules_sensors
from vidpipe.pipeline.sensors.due_videos import due_videos_sensor
from vidpipe.pipeline.sensors.health import health_sensor
from vidpipe.pipeline.sensors.url_list import url_list_sensor
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph


def build_sensors(
    graph: StageGraph, settings: Settings, jobs: Mapping[str, dg.JobDefinition]
) -> Sequence[dg.SensorDefinition]:
    """jobs: by name, those that are no asset jobs; a sensor with more than one target has to be given them."""
    return [
        health_sensor(graph),
        url_list_sensor(graph, settings),
        due_videos_sensor(graph, settings, jobs),
        *changed_rules_sensors(graph, settings),
        run_failures_sensor(graph),
        failure_rate_sensor(graph),
    ]


def build_schedules(graph: StageGraph, settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    return [*changed_rules_schedules(graph, settings), *clean_up_schedules(settings)]
