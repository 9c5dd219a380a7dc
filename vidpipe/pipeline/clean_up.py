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
from vidpipe.pipeline.event_resync import resync_events
from vidpipe.pipeline.execution import StepSession
from vidpipe.pipeline.history_pruning import HistoryPruning
from vidpipe.pipeline.jobs import FILE_LOGGER, file_logger
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

JOB_NAME = "clean_up"
OP_NAME = "clean_up_home"
_DESCRIPTION = "Deletes what is older than [Retention] allows, and reports results that a killed run did not report."


def clean_up(
    instance: dg.DagsterInstance, settings: Settings, library: Library, *, dry_run: bool = False
) -> list[PruneReport]:
    """Deletes what is too old, or with `dry_run` counts it.

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
    """Builds the job, which first reports what Dagster does not show (see `resync_events`)."""

    @dg.op(name=OP_NAME, description=_DESCRIPTION)
    def clean_up_home(context: dg.OpExecutionContext, config: CleanUpConfig, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            if not config.dry_run:
                resync_events(context, session.library)
            if config.only_show:
                return
            reports = clean_up(context.instance, session.settings, session.library, dry_run=config.dry_run)
            for report in reports:
                context.log.info(sentence(report, dry_run=config.dry_run))
            context.add_output_metadata({report.kind: sentence(report, dry_run=config.dry_run) for report in reports})
            failed = [report for report in reports if report.error]
            if failed:
                said = "\n".join(f"{report.kind}: {report.error}" for report in failed)
                raise dg.Failure(
                    f"{len(failed)} kinds of clean-up failed; the others are done.\n{said}", allow_retries=False
                )

    @dg.job(
        name=JOB_NAME,
        description="Deletes old runs, ticks, log files and unused frame packs, as `vidpipe prune` does.",
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def clean_up_all() -> None:
        clean_up_home()

    return clean_up_all


def clean_up_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """Returns the schedule of [Retention] Schedule; none if it is empty."""
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
    """Returns the report as one line of text."""
    done = "would be deleted" if dry_run else "deleted"
    oldest = f", the oldest from {report.oldest:%Y-%m-%d}" if report.oldest else ""
    parts = [f"{report.kind}: {report.count} {done}, {report.size_bytes / 1e6:.1f} MB{oldest}."]
    return " ".join([*parts, *report.notes, *([f"Failed: {report.error}"] if report.error else [])])


def local_timezone() -> str:
    """Returns the IANA name of this machine's time zone, which cron expressions refer to; UTC if it has none."""
    name = os.environ.get("TZ", "").lstrip(":") or Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key if name else "UTC"
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return "UTC"
