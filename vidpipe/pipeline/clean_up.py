"""Deletes what is older than [Retention] allows: as a job, on a schedule, and for `vidpipe prune`."""

import os
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
from pydantic import Field

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport, prune
from vidpipe.operations.retention.home_tasks import home_tasks
from vidpipe.pipeline.event_reporting import EventReporter
from vidpipe.pipeline.execution import StepSession, one_op_job, step_failure
from vidpipe.pipeline.history_pruning import HistoryPruning
from vidpipe.pipeline.in_process_run import execute, unexplained
from vidpipe.pipeline.resources import InProcessRun, LibraryResource
from vidpipe.pipeline.run_launcher import end_dead_runs
from vidpipe.pipeline.video_checks import evaluate_failures
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageEvent
from vidpipe.stages.graph import StageGraph

JOB_NAME = "clean_up"
OP_NAME = "clean_up_home"
_DESCRIPTION = "Deletes what is older than [Retention] allows, and reports results that a killed run did not report."


def clean_up(
    instance: dg.DagsterInstance, settings: Settings, library: Library, *, dry_run: bool = False
) -> list[PruneReport]:
    """Delete what is too old, or only count it with `dry_run`.

    Returns:
        One report per kind, the same with and without `dry_run`.

    Raises:
        UnavailableError: Another clean-up of the home is running.
    """
    kinds = [*HistoryPruning(instance, settings).kinds(), *home_tasks(settings, library)]
    return prune(kinds, settings.data_directory / "run", dry_run=dry_run)


class CleanUpConfig(dg.Config):
    """The run config of the job."""

    only_show: bool = Field(False, description="only report results that Dagster does not show; delete nothing")
    dry_run: bool = Field(False, description="count only; delete nothing")


def clean_up_job(graph: StageGraph) -> dg.JobDefinition:
    """Build the job, which first reports what Dagster does not show (see `resync_events`)."""

    @dg.op(name=OP_NAME, description=_DESCRIPTION)
    def clean_up_home(context: dg.OpExecutionContext, config: CleanUpConfig, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            if not config.dry_run:
                resync_events(context, session.library)
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

    description = "Deletes old runs, ticks, log files and unused frame packs, as `vidpipe prune` does."
    return one_op_job(clean_up_home, JOB_NAME, description)


def report_results_again(settings: Settings, library: Library) -> None:
    """Materialize every good result that Dagster does not show, for instance in a new history, by a run of the job."""
    run = InProcessRun(settings, library)
    if not execute(run, clean_up_job(library.graph), OP_NAME, {"only_show": True}):
        raise unexplained(succeeded=False)


def clean_up_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Return the schedule of [Retention] Schedule; none if it is empty."""
    if not settings.retention.schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name=JOB_NAME,
            job_name=JOB_NAME,
            cron_schedule=settings.retention.schedule,
            execution_timezone=local_timezone(),
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=_DESCRIPTION,
        )
    ]


def sentence(report: PruneReport, *, dry_run: bool) -> str:
    """Return the report as one line of text."""
    done = "would be deleted" if dry_run else "deleted"
    oldest = f", the oldest from {report.oldest:%Y-%m-%d}" if report.oldest else ""
    parts = [f"{report.kind}: {report.count} {done}, {report.size_bytes / 1e6:.1f} MB{oldest}."]
    return " ".join([*parts, *report.notes, *([f"Failed: {report.error}"] if report.error else [])])


def local_timezone() -> str:
    """Return the IANA name of this machine's time zone, which cron expressions refer to; UTC if it has none."""
    name = os.environ.get("TZ", "").lstrip(":") or Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key if name else "UTC"
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return "UTC"


def resync_events(context: dg.OpExecutionContext, library: Library) -> None:
    """Materialize every good result whose partition is not green, and evaluate the checks for failed videos.

    Takes about 10 s for 100,000 videos that Dagster shows already.
    """
    plan = Plan(library.graph, library.settings, tuple(library.graph), {}, {})
    videos = library.collections["videos"]
    with EventReporter(context, library, plan, partitioned=False) as reporter:
        for stage in library.graph:
            for row in videos.find({f"stages.{stage.name}.status": "ok"}, {"_id": 1}):
                reporter.on_event(StageEvent(row["_id"], stage.name, "current"))
    for stage in library.graph:
        context.instance.report_runless_asset_event(evaluate_failures(library, stage.name))


def health_sensor(graph: StageGraph) -> dg.SensorDefinition:
    """Return the sensor; it also runs where [Sensors] Enabled is no."""

    @dg.sensor(
        name="health",
        description="Ends runs whose process was killed, and frees the videos that they held.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def health(context: dg.SensorEvaluationContext, library: LibraryResource) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        with library.opened(graph) as opened:
            freed = free_dead_leases(opened)
        if not ended and not freed:
            return dg.SkipReason("No process has died.")
        return dg.SkipReason(f"Processes have died: ended {len(ended)} runs and freed {freed} videos.")

    return health


def free_dead_leases(library: Library) -> int:
    """Free the videos that dead processes of this machine hold. Returns their number."""
    videos = library.collections["videos"]
    held = {"lease": {"$exists": True}}
    before = videos.count_documents(held)
    with library.leases() as leases:
        leases.free_dead()
    return max(0, before - videos.count_documents(held))
