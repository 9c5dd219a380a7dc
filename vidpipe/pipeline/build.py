"""Everything Dagster is told, for a graph of stages: the seven of the registry, or a test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from vidpipe.pipeline.assets import build_assets
from vidpipe.pipeline.checks import build_checks, verify_job
from vidpipe.pipeline.clean_up import clean_up_job
from vidpipe.pipeline.ingest_job import ingest_job
from vidpipe.pipeline.jobs import list_jobs, process_job, step_jobs
from vidpipe.pipeline.resources import library_of
from vidpipe.pipeline.sensors.build import build_schedules, build_sensors
from vidpipe.pipeline.sensors.kept_open import kept_open
from vidpipe.pipeline.sources_asset import SOURCES
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph


def build_definitions(
    graph: StageGraph, settings: Settings, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Connects to nothing. resources: instead of the library of `settings.home`."""
    jobs = [process_job(graph, settings), *list_jobs(graph, settings), ingest_job(graph), verify_job(graph)]
    jobs.append(clean_up_job(graph))
    return dg.Definitions(
        assets=[SOURCES, *build_assets(graph, settings)],
        asset_checks=build_checks(graph),
        jobs=[*step_jobs(graph), *jobs],
        sensors=kept_open(build_sensors(graph, settings, {job.name: job for job in jobs}), settings.home),
        schedules=build_schedules(graph, settings),
        resources=resources or {"library": library_of(settings.home)},
        executor=dg.in_process_executor,
    )
