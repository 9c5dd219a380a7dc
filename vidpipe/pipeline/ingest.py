"""The job ingest and the sensor url_list: sources become stored videos, each a partition.

Dagster knows sources by id only.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
from pydantic import Field

from vidpipe.library.library import Library
from vidpipe.library.process_names import this_process
from vidpipe.library.sources import ListedSources
from vidpipe.operations.retention import PruneReport
from vidpipe.pipeline.execution import StepSession, one_op_job, run_stages, step_failure
from vidpipe.pipeline.in_process_run import execute, open_library, unexplained
from vidpipe.pipeline.instance import history_kept_open
from vidpipe.pipeline.partitions import SOURCES_KEY, VideoPartitions
from vidpipe.pipeline.resources import InProcessRun, LibraryResource
from vidpipe.pipeline.run_metrics import CountingObserver, count_outcome, step_metrics
from vidpipe.pipeline.run_queue import ALL_STEPS_TAG, UNFINISHED, config_list, run_priority, run_tags
from vidpipe.pipeline.small_batches import is_small, quick_stages, small_videos, steps_are_launched
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.sources.due_sources import IngestBatch, all_due, next_batches, requests_by_id
from vidpipe.sources.folder_changes import FolderChanges
from vidpipe.sources.inputs import Gathered
from vidpipe.sources.list_watch import DEFAULT_TIMING, ListWatch, WatchTiming
from vidpipe.sources.local_files import LocalMode
from vidpipe.sources.records import IngestObserver, IngestOutcome, NullIngestObserver, StoredVideo
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.registry import build_graph

JOB = "ingest"
OP = "ingest_sources"
_MOST_LISTED = 20


class IngestConfig(dg.Config):
    """The config of the job; no URLs or names, which everybody could read in Dagster's history."""

    sources: list[str] = Field(
        default_factory=list, description="ids of sources; empty: all due sources of the watched lists"
    )
    listed_only: bool = Field(False, description="skip sources that no watched list names any more")
    refresh: bool = Field(False, description="check known URLs for changed content")
    retry: bool = Field(True, description="retry failed and rejected sources")
    include_forgotten: bool = Field(False, description="add sources and videos that were forgotten")


def run_ingest(
    settings: Settings,
    inputs: "Sequence[str] | Gathered",
    *,
    mode: "LocalMode" = "copy",
    labels: Sequence[str] = (),
    title: str = "",
    refresh: bool = False,
    retry: bool = True,
    include_forgotten: bool = False,
    every: bool = False,
    limit: int | None = None,
    observer: IngestObserver | None = None,
    cancelled: threading.Event | None = None,
    graph: StageGraph | None = None,
    library: Library | None = None,
    by: str = "command",
) -> list[IngestOutcome]:
    """Add `inputs` by the job `ingest`, run in this process.

    Stopped by Ctrl-C, SIGTERM or `cancelled`, it returns the outcomes so far; partial downloads are resumed next time.

    Args:
        settings: Those in force.
        inputs: URLs, files, folders, lists; or what they contain.
        mode: How local files are added.
        labels: Of all inputs, besides those in lists.
        title: Of the only input.
        refresh: Check known URLs for changed content.
        retry: Retry failed and rejected sources.
        include_forgotten: Add sources and videos that were forgotten.
        every: Take all videos of a page.
        limit: Most entries of a folder, playlist or page.
        observer: Follows the ingest.
        cancelled: Set it to stop.
        graph: Stages of the library; the default ones if None.
        library: Open, and left open; None opens one.
        by: Who starts it (see `RunStep`).

    Returns:
        One outcome for each source, in order, after the inputs that cannot be added.

    Raises:
        UnavailableError: MongoDB is not available.
    """
    from vidpipe.library.mongo_list import read_collection
    from vidpipe.sources.ingest import register  # brings in requests, which other jobs do not need
    from vidpipe.sources.inputs import Gathered, gather

    own = (settings.media_directory, settings.derived_directory)
    gathered = inputs if isinstance(inputs, Gathered) else gather(
        inputs, mode=mode, exclude=own, settings=settings, every=every, limit=limit, read_database=read_collection
    )  # fmt: skip
    gathered.requests = [
        replace(one, labels=tuple(dict.fromkeys((*one.labels, *labels))), title=title or one.title)
        for one in gathered.requests
    ]
    graph = graph or build_graph(settings)
    with open_library(settings, graph, library) as opened:
        register(gathered.requests, opened.sources)
        caller = InProcessRun(
            settings, opened, ingest_observer=observer, gathered=gathered, by=by,
            cancelled=cancelled or threading.Event(),
        )  # fmt: skip
        config = {
            "sources": [one.id for one in gathered.requests], "refresh": refresh, "retry": retry,
            "include_forgotten": include_forgotten,
        }  # fmt: skip
        ok = execute(caller, ingest_job(graph), OP, config)
        if caller.outcomes is None:
            if caller.cancelled.is_set():
                return []
            raise unexplained(ok)
        return caller.outcomes


def ingest_job(graph: StageGraph) -> dg.JobDefinition:
    """Return the job for the stages of `graph`."""

    @dg.op(name=OP, description="Adds each source to the media store.")
    def ingest_sources(context: dg.OpExecutionContext, config: IngestConfig, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            _ingest(context, session, config, graph)

    description = "URLs, files and folders become stored videos, each a partition. What `vidpipe add` runs."
    return one_op_job(ingest_sources, JOB, description)


def _ingest(context: dg.OpExecutionContext, session: StepSession, config: IngestConfig, graph: StageGraph) -> None:
    from vidpipe.sources.ingest import Ingest

    settings, caller, sources = session.settings, session.caller, session.library.sources
    with (
        step_metrics(context, session.library, caller) as figures,
        history_kept_open(settings, context.run_id),
    ):
        observer = CountingObserver(figures, (caller and caller.ingest_observer) or NullIngestObserver())
        if caller is not None and caller.gathered is not None:  # with the secrets of its URLs
            gathered = caller.gathered
        else:
            listed = ListedSources(session.library.collections, sources)
            ids = config.sources or all_due(listed, settings)
            gathered = requests_by_id(ids, sources, listed, settings, listed_only=config.listed_only)
        for note in gathered.notes:
            observer.on_note(note)
        for outcome in gathered.problems:
            count_outcome(figures, outcome)
        ingest = Ingest(settings, sources, observer, cancelled=session.cancelled, files=session.library.files)

        def show(outcome: IngestOutcome) -> None:
            if outcome.stored is not None:  # not for known sources, of which a list may have 100,000
                context.log_event(_observation(outcome, outcome.stored))

        how = {"refresh": config.refresh, "retry": config.retry, "include_forgotten": config.include_forgotten}
        added = ingest.run(gathered.requests, **how, on_added=show)
        outcomes = [*gathered.problems, *added]
        if caller is not None:
            caller.outcomes = outcomes
        partitions = VideoPartitions(context.instance, session.library)
        partitions.add(outcome.video for outcome in outcomes if outcome.video)
        partitions.trim(PruneReport("partitions"), tolerance=1.1, max_s=30.0)
        if session.cancelled.is_set():
            raise KeyboardInterrupt
        processing: dg.Failure | None = None
        if ALL_STEPS_TAG in context.run.tags and (videos := small_videos(outcomes)):
            request = RunRequest(videos=videos, stages=quick_stages(graph, settings))
            try:
                run_stages(context, session, graph, request, partitioned=False, counters=figures)
            except dg.Failure as failure:
                processing = failure
        failed = [outcome for outcome in outcomes if outcome.error]
        if failed:
            head = f"{len(failed)} of {len(outcomes)} sources could not be added; the others are stored."
            sentences = [f"{_name(outcome)}: {outcome.anonymous_error}" for outcome in failed[:_MOST_LISTED]]
            sentences += [str(processing.description)] if processing else []
            metadata = {"stored": len(outcomes) - len(failed), "failed": len(failed)}
            raise step_failure(head, sentences, len(failed) - _MOST_LISTED, metadata)
        if processing:
            raise processing


def _observation(outcome: IngestOutcome, file: StoredVideo) -> dg.AssetObservation:
    """Return the observation that a source gave a video, on the page of the asset of sources."""
    metadata: dict[str, str | int] = {"state": outcome.state, "size_bytes": file.size_bytes}
    if outcome.source is not None:
        metadata |= {"source": outcome.source.id, "attempts": outcome.source.attempts}
    return dg.AssetObservation(
        SOURCES_KEY, partition=file.sha256, description=f"{_name(outcome)}: {outcome.state}", metadata=metadata
    )


def _name(outcome: IngestOutcome) -> str:
    return f"source {outcome.source.id}" if outcome.source is not None else "an input"


def url_list_sensor(graph: StageGraph, settings: Settings, timing: WatchTiming = DEFAULT_TIMING) -> dg.SensorDefinition:
    """Return the sensor.

    Args:
        graph: Stages of the library.
        settings: Those when the code location is loaded; each tick reads them again.
        timing: How long files must be unchanged before they are read.
    """
    folders: dict[str, FolderChanges] = {}

    @dg.sensor(
        name="url_list",
        job_name=JOB,
        minimum_interval_seconds=math.ceil(settings.sensors.interval),
        default_status=dg.DefaultSensorStatus.RUNNING if settings.sensors.enabled else dg.DefaultSensorStatus.STOPPED,
        description="Watches the lists of [Paths] SourceLists: new lines become sources, and due ones are fetched, the "
        "highest priority first. A small number of new videos is processed in the same run.",
    )
    def url_list(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SensorResult:
        today = library.settings()
        with library.opened(graph, today) as opened:
            sources = ListedSources(opened.collections, opened.sources)
            watch = ListWatch(today, sources, this_process(), timing, folders)
            cursor = watch.check(context.cursor)
            unfinished = unfinished_ingest(context.instance)
            batches = next_batches(sources, unfinished, today)
        for message in watch.messages:
            context.log.info(message)
        if batches:
            all_steps = is_small(batches, unfinished) and steps_are_launched(context.instance, today)
            requests = [_run_request(batch, all_steps=all_steps) for batch in batches]
            return dg.SensorResult(run_requests=requests, cursor=cursor)
        return dg.SensorResult(skip_reason=" ".join(watch.messages) or "Nothing is due.", cursor=cursor)

    return url_list


def unfinished_ingest(instance: dg.DagsterInstance) -> list[IngestBatch]:
    """Return the batches of the ingest runs that have not ended."""
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=list(UNFINISHED)))
    return [IngestBatch(run_priority(run), tuple(config_list(run, "sources"))) for run in runs]


def _run_request(batch: IngestBatch, *, all_steps: bool) -> dg.RunRequest:
    config = {"sources": list(batch.sources), "listed_only": True, "retry": False}
    tags = run_tags(JOB, batch.priority) | ({ALL_STEPS_TAG: "yes"} if all_steps else {})
    return dg.RunRequest(run_config={"ops": {OP: {"config": config}}}, tags=tags)
