"""All sensors and schedules of a graph of stages."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from vidpipe.pipeline.sensors.url_list import url_list_sensor
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph


def build_sensors(graph: StageGraph, settings: Settings) -> Sequence[dg.SensorDefinition]:
    return [url_list_sensor(graph, settings)]


def build_schedules(graph: StageGraph, settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    return []
