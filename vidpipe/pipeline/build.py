"""Everything Dagster loads, for a graph of stages: vidpipe's seven, or a test's own."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from vidpipe.pipeline.assets import build_assets
from vidpipe.pipeline.checks import build_checks, verify_job
from vidpipe.pipeline.clean_up import clean_up_job, health_sensor
from vidpipe.pipeline.ingest import ingest_job, url_list_sensor
from vidpipe.pipeline.jobs import list_jobs, process_job, step_jobs
from vidpipe.pipeline.mirroring import mirror_job
from vidpipe.pipeline.partitions import SOURCES
from vidpipe.pipeline.resources import DescribingModelResource, home_resources
from vidpipe.pipeline.schedules import job_schedules
from vidpipe.pipeline.sensors.alerts import failure_rate_sensor, run_failures_sensor
from vidpipe.pipeline.sensors.due_videos import due_videos_sensor
from vidpipe.pipeline.sensors.rule_sweep import changed_rules_schedules, changed_rules_sensors
from vidpipe.pipeline.sensors.shared_connections import with_shared_connections
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph


def build_definitions(
    graph: StageGraph, settings: Settings, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """Return the definitions for a graph of stages. Connects to nothing.

    Args:
        graph: The stages.
        settings: The settings of the home, which may lack secrets: resources read them when they are used.
        resources: Replace those of `home_resources` with the same keys.
    """
    resources = home_resources(graph, settings.home) | dict(resources or {})
    model = resources["describing_model"]
    if isinstance(model, DescribingModelResource):
        settings = model.apply(settings)  # the backend decides on the ops' GPU tags
    clean_up, mirror = clean_up_job(graph), mirror_job(graph)
    jobs = [
        process_job(graph, settings),
        *list_jobs(graph, settings),
        ingest_job(graph),
        verify_job(graph),
        clean_up,
        mirror,
    ]
    sensors = [
        health_sensor(graph),
        url_list_sensor(graph, settings),
        due_videos_sensor(graph, settings, {job.name: job for job in jobs}),
        *changed_rules_sensors(graph, settings),
        run_failures_sensor(graph),
        failure_rate_sensor(graph),
    ]
    return dg.Definitions(
        assets=[SOURCES, *build_assets(graph, settings)],
        asset_checks=build_checks(graph),
        jobs=[*step_jobs(graph, settings), *jobs],
        sensors=[with_shared_connections(sensor, str(settings.home)) for sensor in sensors],
        schedules=[
            *changed_rules_schedules(graph, settings),
            *job_schedules(clean_up, settings.retention.schedule),
            *job_schedules(mirror, settings.mirror.schedule),
        ],
        resources=resources,
        executor=dg.in_process_executor,
    )
