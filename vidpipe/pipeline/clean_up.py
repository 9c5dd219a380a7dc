"""Deletes what is older than [Retention] and [Privacy] allow: as a job, on a schedule, and for `vidpipe prune`.

And removes chosen videos from the library and from Dagster, for `vidpipe forget`.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import dagster as dg
from pydantic import Field

from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.operations.retention import PruneReport, PruneTask, cutoff, prune
from vidpipe.operations.retention.home_tasks import home_tasks
from vidpipe.operations.retention.video_removal import ForgottenVideo, forget
from vidpipe.pipeline.event_reporting import EventReporter
from vidpipe.pipeline.execution import StepSession, one_op_job, step_failure
from vidpipe.pipeline.history_pruning import HistoryPruning
from vidpipe.pipeline.in_process_run import execute, unexplained
from vidpipe.pipeline.lost_runs import end_lost_runs
from vidpipe.pipeline.partitions import VideoPartitions, remove_video
from vidpipe.pipeline.resources import InProcessRun, LibraryResource
from vidpipe.pipeline.run_launcher import end_dead_runs
from vidpipe.pipeline.run_queue import videos_of_unfinished_runs
from vidpipe.pipeline.video_checks import evaluate_failures
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings, audit
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph

JOB_NAME = "clean_up"
OP_NAME = "clean_up_home"


def clean_up(
    instance: dg.DagsterInstance, settings: Settings, library: Library, *, dry_run: bool = False
) -> list[PruneReport]:
    """Delete what is too old, or only count it with `dry_run`.

    Returns:
        One report per kind, the same with and without `dry_run`.

    Raises:
        UnavailableError: Another clean-up of the home is running.
    """
    privacy = PruneTask("privacy", partial(_forget_out_of_time, instance, library))
    partitions = PruneTask("partitions", VideoPartitions(instance, library).trim)
    kinds = [privacy, partitions, *HistoryPruning(instance, settings).kinds(), *home_tasks(settings, library)]
    return prune(kinds, settings.data_directory / "run", dry_run=dry_run)


def forget_videos(
    library: Library, ids: Sequence[str], dagster: dg.DagsterInstance, *, sources: Sequence[str] = (), by: str = "",
    reason: str = "", dry_run: bool = False,
) -> list[ForgottenVideo]:  # fmt: skip
    """Remove videos and everything about them, and write the audit record; those of unfinished runs are kept.

    Args:
        library: The library.
        ids: The videos.
        dagster: The instance of the home.
        sources: Ids of sources that are forgotten, too.
        by: Who removes them.
        reason: Why.
        dry_run: Remove nothing.
    """
    facts, clean_history = {"by": by, "reason": reason}, HistoryPruning(dagster, library.settings).delete_naming
    found = forget(
        library, ids, partial(remove_video, dagster), busy=videos_of_unfinished_runs(dagster),
        clean_history=clean_history, sources=sources, dry_run=dry_run, **facts,
    )  # fmt: skip
    if not dry_run:
        audit("forget", **facts, sources=list(sources), videos=[one.as_record() for one in found])
        if any(one.state == "forgotten" for one in found):
            from vidpipe.search.index import purge  # imports tantivy

            purge(library)
    return found


def videos_out_of_time(library: Library) -> list[str]:
    """Return the videos that [Privacy] KeepDays no longer allows, and forgotten ones that a restored backup contained.

    The time counts from when a video was added; the shortest rule that applies to it counts.
    """
    collections, found = library.collections, set[str]()

    def look_up(query: Document, ids: Iterable[str] | None = None) -> None:
        queries = [query] if ids is None else ({**query, "_id": {"$in": chunk}} for chunk in chunked(ids))
        found.update(row["_id"] for one in queries for row in collections["videos"].find(one, {"_id": 1}))

    look_up({}, (row["_id"] for row in collections["tombstones"].find({}, {"_id": 1})))
    for kind, name, days in library.settings.privacy.keep_rules:
        query: Document = {"added_at": {"$lt": datetime.fromtimestamp(cutoff(days), UTC)}}
        if kind == "source":
            given = {"$or": [{"lists": name}, {"url": {"$regex": f"^{re.escape(name)}"}}]}
            rows = collections["sources"].find(given, {"video": 1, "earlier_videos": 1})
            given_by = ((row.get("video"), *row.get("earlier_videos", ())) for row in rows)
            look_up(query, (video for videos in given_by for video in videos if video))
        else:
            look_up(query | ({"ingest.labels": name} if kind == "label" else {}))
    return sorted(found)


def _forget_out_of_time(dagster: dg.DagsterInstance, library: Library, report: PruneReport, dry_run: bool) -> None:
    if ids := videos_out_of_time(library):
        reason = "[Privacy] KeepDays"
        for one in forget_videos(library, ids, dagster, by=JOB_NAME, reason=reason, dry_run=dry_run):
            if one.state == "forgotten":
                report.add(one.freed_bytes, None)
            elif one.error:
                report.error = one.error


class CleanUpConfig(dg.Config):
    """The run config of the job."""

    keys: list[str] = Field(default_factory=list, description="with only_show: sha256 of the videos; empty: all")
    only_show: bool = Field(False, description="only report results that Dagster does not show; delete nothing")
    dry_run: bool = Field(False, description="count only; delete nothing")


def clean_up_job(graph: StageGraph) -> dg.JobDefinition:
    """Build the job, which first reports what Dagster does not show (see `resync_events`)."""
    description = "Deletes what is older than [Retention] allows, and reports results that a killed run did not report."

    @dg.op(name=OP_NAME, description=description)
    def clean_up_home(context: dg.OpExecutionContext, config: CleanUpConfig, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            if not config.dry_run:
                resync_events(context, session.library, config.keys)
            if config.only_show:
                return
            reports = clean_up(context.instance, session.settings, session.library, dry_run=config.dry_run)
            sentences = {report.kind: sentence(report, dry_run=config.dry_run) for report in reports}
            for line in sentences.values():
                context.log.info(line)
            context.add_output_metadata(sentences)
            failed = [f"{report.kind}: {report.error}" for report in reports if report.error]
            if failed:
                raise step_failure(f"{len(failed)} kinds of clean-up failed; the others are done.", failed)

    return one_op_job(clean_up_home, JOB_NAME, description)


def report_results_again(settings: Settings, library: Library, keys: Sequence[str] = ()) -> None:
    """Do what `resync_events` does, for instance in a new history, by a run of the job."""
    run = InProcessRun(settings, library)
    if not execute(run, clean_up_job(library.graph), OP_NAME, {"only_show": True, "keys": list(keys)}):
        raise unexplained(succeeded=False)


def sentence(report: PruneReport, *, dry_run: bool) -> str:
    """Return the report as one line of text."""
    done = "would be deleted" if dry_run else "deleted"
    oldest = f", the oldest from {report.oldest:%Y-%m-%d}" if report.oldest else ""
    parts = [f"{report.kind}: {report.count} {done}, {report.size_bytes / 1e6:.1f} MB{oldest}."]
    return " ".join([*parts, *report.notes, *([f"Failed: {report.error}"] if report.error else [])])


def resync_events(context: dg.OpExecutionContext, library: Library, keys: Sequence[str] = ()) -> None:
    """Materialize every good result whose partition is not green, and evaluate the checks for failed videos.

    Videos that should be partitions become such. Takes about 10 s for 100,000 videos that Dagster shows already.

    Args:
        context: The context of the op.
        library: The library.
        keys: Only these videos; empty: all.
    """
    plan = Plan(library.graph, library.settings, tuple(library.graph), {}, {})
    videos = library.collections["videos"]
    partitions = VideoPartitions(context.instance, library)
    chosen = {"_id": {"$in": keys}} if keys else partitions.query
    partitions.add(row["_id"] for row in videos.find(chosen, {"_id": 1}))
    with EventReporter(context, library, plan, partitioned=False) as reporter:
        for stage in library.graph:
            for row in videos.find({f"stages.{stage.name}.status": "ok", **chosen}, {"_id": 1}):
                reporter.on_event(StageEvent(row["_id"], stage.name, "current"))
    for stage in library.graph:
        context.instance.report_runless_asset_event(evaluate_failures(library, stage.name))


def health_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Return the sensor; it also runs where [Sensors] Enabled is no."""

    @dg.sensor(
        name="health", description="Ends runs whose process or machine is gone, and frees the videos that they held.",
        minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING,
    )  # fmt: skip
    def health(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        with library.opened(graph) as opened:
            ended += end_lost_runs(context.instance, opened)
            freed = opened.free_dead()
        if not ended and not freed:
            return dg.SkipReason("No process has died.")
        return dg.SkipReason(f"Processes have died: ended {len(ended)} runs and freed {freed} videos.")

    return health
