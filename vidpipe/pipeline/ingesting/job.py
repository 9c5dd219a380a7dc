"""The job ingest: sources become stored videos, each a partition."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from vidpipe.errors import VidpipeError
from vidpipe.ingest.records import IngestOutcome
from vidpipe.ingest.urls import readable_url, redacted_url
from vidpipe.library.runs import Figures
from vidpipe.pipeline.execution import Session
from vidpipe.pipeline.jobs import FILE_LOGGER, file_logger
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_metrics import CountingObserver, count_outcome, step_metrics
from vidpipe.pipeline.sources_asset import SOURCES_KEY
from vidpipe.redaction import MASK
from vidpipe.stages.graph import StageGraph

if TYPE_CHECKING:
    from vidpipe.ingest.sources import SourceRequest

JOB = "ingest"
_OP = "ingest_sources"
_MOST_LISTED = 20


class IngestConfig(dg.Config):
    inputs: list[str] = Field(
        default_factory=list, description="URLs, files, folders, CSV files with a url column, lists (.txt)"
    )
    sources: list[str] = Field(
        default_factory=list,
        description="ids of sources that a watched list names; those that none names any more are left out",
    )
    mode: Literal["copy", "hardlink", "reference"] = Field("copy", description="how local files are taken in")
    labels: list[str] = Field(default_factory=list, description="labels of all inputs, besides those in lists")
    title: str = Field("", description="title of all inputs")
    refresh: bool = Field(False, description="ask known URLs again whether they give other bytes now")
    retry: bool = Field(True, description="try sources again that failed before")


def source_config(sources: Iterable[str]) -> dict[str, Any]:
    """The run config that takes `sources` in, as the sensor asks for it: nothing that waits for a person is tried."""
    return {"ops": {_OP: {"config": {"sources": list(sources), "retry": False}}}}


def ingest_job(graph: StageGraph) -> dg.JobDefinition:
    """Takes sources in and makes partitions of their videos."""

    @dg.op(name=_OP, description="Takes each source into the media store.")
    def ingest_sources(context: dg.OpExecutionContext, config: IngestConfig, library: LibraryResource) -> None:
        with (
            Session.begin(context, library, graph) as session,
            step_metrics(context, session.library, session.caller) as figures,
        ):
            _ingest(context, session, config, figures)

    @dg.job(
        name=JOB,
        description="URLs, files and folders become stored videos, each a partition. What `vidpipe add` runs.",
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def ingest() -> None:
        ingest_sources()

    return ingest


def _ingest(context: dg.OpExecutionContext, session: Session, config: IngestConfig, figures: Figures) -> None:
    from vidpipe.ingest.ingest import Ingest  # brings in requests, which the other jobs do not need
    from vidpipe.ingest.sources import Gathered, gather
    from vidpipe.pipeline.ingesting.listed_requests import request_listed

    caller = session.caller
    inputs = list(caller.inputs) if caller is not None else config.inputs
    if caller is None and any(MASK in redacted_url(text) for text in inputs):
        raise VidpipeError(
            "A URL with a password or key was given, and Dagster shows everybody a run's inputs.",
            "Change that secret, and take such a URL in with `vidpipe add` or from data/urls.txt.",
        )
    settings = session.settings
    own = (settings.media_directory, settings.derived_directory)
    gathered = gather(inputs, mode=config.mode, exclude=own, download=settings.download, columns=settings.lists)
    named = request_listed(config.sources, session.library, settings) if config.sources else Gathered()
    observer = CountingObserver(figures, caller.ingest_observer if caller is not None else None)
    ingest = Ingest(settings, session.library.sources, observer, cancelled=session.cancelled)
    for note in gathered.notes:
        context.log.info(note.sentence)
        observer.on_note(note)
    requests = [_described(request, config) for request in gathered.requests] + named.requests
    outcomes = gathered.problems + named.problems
    for outcome in outcomes:
        count_outcome(figures, outcome)
    outcomes += ingest.run(requests, refresh=config.refresh, retry=config.retry)
    if caller is not None:
        caller.outcomes = outcomes
    add_videos(context.instance, (outcome.video for outcome in outcomes if outcome.video))
    for outcome in outcomes:
        if outcome.video:
            context.instance.report_runless_asset_event(_observation(outcome))
    if session.cancelled.is_set():
        raise KeyboardInterrupt
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        some = [f"{outcome.input}: {outcome.sentence}" for outcome in failed[:_MOST_LISTED]]
        more = [f"… and {len(failed) - _MOST_LISTED} more."] if len(failed) > _MOST_LISTED else []
        head = f"{len(failed)} of {len(outcomes)} inputs could not be taken in; the others are stored."
        raise dg.Failure(
            "\n".join([head, *some, *more]),
            metadata={"stored": len(outcomes) - len(failed), "failed": len(failed)},
            allow_retries=False,
        )


def _described(request: "SourceRequest", config: IngestConfig) -> "SourceRequest":
    labels = tuple(dict.fromkeys((*request.labels, *config.labels)))
    return replace(request, labels=labels, title=config.title or request.title)


def _observation(outcome: IngestOutcome) -> dg.AssetObservation:
    """That a source gave a video, on the page of the asset of sources."""
    metadata: dict[str, str | int | float] = {"input": outcome.input, "state": outcome.state}
    if outcome.source is not None:
        metadata["url"] = readable_url(outcome.source.url)
        metadata["attempts"] = outcome.source.attempts
    if outcome.stored is not None:
        metadata["file"] = outcome.stored.path
        metadata["size_bytes"] = outcome.stored.size_bytes
    return dg.AssetObservation(
        SOURCES_KEY, partition=outcome.video, description=f"{outcome.input}: {outcome.state}", metadata=metadata
    )
