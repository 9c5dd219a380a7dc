"""All sensors and schedules of a graph of stages."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph


def build_sensors(graph: StageGraph, settings: Settings) -> Sequence[dg.SensorDefinition]:
    return []


def build_schedules(graph: StageGraph, settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    return []
