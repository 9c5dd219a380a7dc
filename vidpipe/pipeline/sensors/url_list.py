"""The sensor url_list: new lines of the watched lists become sources, and what is due of them becomes ingest runs."""

from __future__ import annotations

import math

import dagster as dg

from vidpipe.library.listed_sources import ListedSources
from vidpipe.pipeline.ingesting.batches import UnfinishedIngest, next_batches
from vidpipe.pipeline.ingesting.job import JOB, source_config
from vidpipe.pipeline.ingesting.list_watch import Watch
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sensors.launched_runs import UNFINISHED
from vidpipe.pipeline.sensors.launched_runs import config_list as listed_in
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

_PRIORITY = "dagster/priority"


def url_list_sensor(graph: StageGraph, settings: Settings) -> dg.SensorDefinition:
    @dg.sensor(
        name="url_list",
        job_name=JOB,
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Watches the lists of [Paths] SourceLists: new lines become sources, and what is due of them is "
        "taken in, the highest priority first.",
    )
    def url_list(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        today = library.settings()
        with library.opened(graph, today) as opened:
            sources = ListedSources(opened.collections, opened.sources)
            watch = Watch(today, sources)
            cursor = watch.look(context.cursor)
            batches = next_batches(sources, unfinished_ingest(context.instance), today)
        for sentence in watch.said:
            context.log.info(sentence)
        requests = [
            dg.RunRequest(
                run_config=source_config(batch.sources),
                tags={
                    _PRIORITY: str(batch.priority),
                    "dagster/max_retries": "0",
                    "vidpipe/by": "sensor",
                    "vidpipe/step": JOB,
                },
            )
            for batch in batches
        ]
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        return dg.SensorResult(skip_reason=" ".join(watch.said) or "Nothing is due.", cursor=cursor)

    return url_list


def unfinished_ingest(instance: dg.DagsterInstance) -> list[UnfinishedIngest]:
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=list(UNFINISHED)))
    return [UnfinishedIngest(_priority(run), tuple(listed_in(run, "sources"))) for run in runs]


def _priority(run: dg.DagsterRun) -> int:
    try:
        return int(run.tags.get(_PRIORITY, "0"))
    except ValueError:
        return 0
