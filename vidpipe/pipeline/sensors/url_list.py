"""The sensor url_list: new lines of the watched lists become sources, and due sources become ingest runs."""

from __future__ import annotations

import math

import dagster as dg

from vidpipe.library.leases import this_process
from vidpipe.library.sources import ListedSources
from vidpipe.pipeline.ingest_job import JOB, OP
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.sensors.launched_runs import PRIORITY_TAG, UNFINISHED, run_tags
from vidpipe.pipeline.sensors.launched_runs import config_list as listed_in
from vidpipe.settings import Settings
from vidpipe.sources.due_sources import IngestBatch, next_batches
from vidpipe.sources.list_watch import DEFAULT_TIMING, ListWatch, WatchTiming
from vidpipe.stages.graph import StageGraph


def url_list_sensor(graph: StageGraph, settings: Settings, timing: WatchTiming = DEFAULT_TIMING) -> dg.SensorDefinition:
    """Return the sensor.

    Args:
        graph: Stages of the library.
        settings: Those when the code location is loaded; each tick reads them anew.
        timing: How long files must be unchanged before they are read.
    """

    @dg.sensor(
        name="url_list",
        job_name=JOB,
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Watches the lists of [Paths] SourceLists: new lines become sources, and due ones are fetched, the "
        "highest priority first.",
    )
    def url_list(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        today = library.settings()
        with library.opened(graph, today) as opened:
            sources = ListedSources(opened.collections, opened.sources)
            watch = ListWatch(today, sources, this_process(), timing)
            cursor = watch.check(context.cursor)
            batches = next_batches(sources, unfinished_ingest(context.instance), today)
        for message in watch.messages:
            context.log.info(message)
        requests = [dg.RunRequest(run_config=_config(batch), tags=run_tags(JOB, batch.priority)) for batch in batches]
        if requests:
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        return dg.SensorResult(skip_reason=" ".join(watch.messages) or "Nothing is due.", cursor=cursor)

    return url_list


def unfinished_ingest(instance: dg.DagsterInstance) -> list[IngestBatch]:
    """Return the batches of the ingest runs that have not ended."""
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=list(UNFINISHED)))
    return [IngestBatch(_priority(run), tuple(listed_in(run, "sources"))) for run in runs]


def _config(batch: IngestBatch) -> dict[str, object]:
    config = {"sources": list(batch.sources), "listed_only": True, "retry": False}
    return {"ops": {OP: {"config": config}}}


def _priority(run: dg.DagsterRun) -> int:
    try:
        return int(run.tags.get(PRIORITY_TAG, "0"))
    except ValueError:
        return 0
