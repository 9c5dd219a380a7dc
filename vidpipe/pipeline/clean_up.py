"""The clean-up of what [Retention] gives an age or a size: as a job, on a schedule, and for `vidpipe prune`."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dagster as dg
from pydantic import Field

from vidpipe.library.library import Library
from vidpipe.pipeline.execution import StepSession
from vidpipe.pipeline.history.asset_events import delete_other_events, delete_superseded
from vidpipe.pipeline.history.old_runs import OldRuns, delete_records, find_old_runs
from vidpipe.pipeline.history.run_files import delete_run_files, thin_red_runs, trim_runless
from vidpipe.pipeline.history.space import give_back
from vidpipe.pipeline.history.ticks import delete_backfills, delete_ticks
from vidpipe.pipeline.instance import dagster_home
from vidpipe.pipeline.jobs import FILE_LOGGER, file_logger
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.untold import tell_untold
from vidpipe.retention.kinds import kinds_of_home
from vidpipe.retention.report import Kind, Pruned, cutoff, prune
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

JOB_NAME = "clean_up"
OP_NAME = "clean_up_home"


class History:
    """Dagster's history under [Retention] of `settings`. Which runs are old is looked up once, before anything goes.

    own_run: id of the run that this is part of; empty for the command
    """

    def __init__(self, instance: dg.DagsterInstance, settings: Settings, own_run: str = "") -> None:
        self._instance = instance
        self._home: Path = dagster_home(settings)
        self._runs_before = cutoff(settings.retention.runs_days)
        self._ticks_before = cutoff(settings.retention.ticks_days)
        self._own_run = own_run

    @cached_property
    def _old(self) -> OldRuns:
        return find_old_runs(self._instance, self._runs_before)

    def kinds(self) -> list[Kind]:
        """Events first, then the runs they belong to, then files: cut off in between, the next clean-up goes on."""
        return [
            Kind("events", "events of old runs that later ones have taken the place of", self._events),
            Kind("backfills", "backfills that are over and have no run any more", self._backfills),
            Kind("runs", "records of old runs", self._runs),
            Kind("run files", "event logs and output of each old run", self._run_files),
            Kind("ticks", "what sensors and schedules saw", self._ticks),
            Kind("space", "space that the deleted rows left in Dagster's databases", self._space),
        ]

    def _events(self, report: Pruned, dry_run: bool) -> None:
        delete_superseded(self._instance, self._old, self._runs_before, report, dry_run)
        delete_other_events(self._instance, self._old, report, dry_run)

    def _backfills(self, report: Pruned, dry_run: bool) -> None:
        delete_backfills(self._instance, self._old, self._runs_before, report, dry_run)

    def _runs(self, report: Pruned, dry_run: bool) -> None:
        delete_records(self._instance, self._old, report, dry_run)

    def _run_files(self, report: Pruned, dry_run: bool) -> None:
        delete_run_files(self._instance, self._old, report, home=self._home, before=self._runs_before, dry_run=dry_run)
        thin_red_runs(self._instance, self._old, report, dry_run)
        trim_runless(self._instance, self._runs_before, report, dry_run)

    def _ticks(self, report: Pruned, dry_run: bool) -> None:
        delete_ticks(self._instance, self._ticks_before, report, dry_run)

    def _space(self, report: Pruned, dry_run: bool) -> None:
        give_back(self._instance, self._home, self._own_run, report, dry_run=dry_run)


def clean_up(
    instance: dg.DagsterInstance, settings: Settings, library: Library, *, dry_run: bool = False, own_run: str = ""
) -> list[Pruned]:
    """One report a kind. With `dry_run` nothing changes, and the numbers are the same.

    Raises UnavailableError where another clean-up of the home is at work.
    """
    kinds = [*History(instance, settings, own_run).kinds(), *kinds_of_home(settings, library)]
    return prune(kinds, settings.data_directory / "run", dry_run=dry_run)


class CleanUpConfig(dg.Config):
    only_show: bool = Field(False, description="only report results that Dagster does not know, delete nothing")
    dry_run: bool = Field(False, description="count only, delete nothing")


def clean_up_job(graph: StageGraph) -> dg.JobDefinition:
    @dg.op(
        name=OP_NAME,
        description="Deletes what is older than [Retention] says; shows results that a killed run did not tell of.",
    )
    def clean_up_home(context: dg.OpExecutionContext, config: CleanUpConfig, library: LibraryResource) -> None:
        with StepSession.begin(context, library, graph) as session:
            if not config.dry_run:
                tell_untold(context, session, graph)
            if config.only_show:
                return
            reports = clean_up(
                context.instance, session.settings, session.library, dry_run=config.dry_run, own_run=context.run.run_id
            )
            for report in reports:
                context.log.info(sentence(report, dry_run=config.dry_run))
            context.add_output_metadata({report.kind: sentence(report, dry_run=config.dry_run) for report in reports})
            failed = [report for report in reports if report.error]
            if failed:
                said = "\n".join(f"{report.kind}: {report.error}" for report in failed)
                raise dg.Failure(f"{len(failed)} kinds of clean-up failed; the others are done.\n{said}",
                                 allow_retries=False)  # fmt: skip

    @dg.job(
        name=JOB_NAME,
        description="Old runs, events, ticks, log files, frame packs nobody names. What `vidpipe prune` does.",
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def clean_up_all() -> None:
        clean_up_home()

    return clean_up_all


def clean_up_schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """The schedule of [Retention] Schedule; none where it is empty."""
    if not settings.retention.schedule:
        return []
    return [
        dg.ScheduleDefinition(
            name=JOB_NAME,
            job_name=JOB_NAME,
            cron_schedule=settings.retention.schedule,
            execution_timezone=local_timezone(),
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Deletes what is older than [Retention] says; shows results that a killed run did not tell of.",
        )
    ]


def sentence(report: Pruned, *, dry_run: bool) -> str:
    """The report in a line for people."""
    done = "would go" if dry_run else "deleted"
    oldest = f", the oldest of {report.oldest:%Y-%m-%d}" if report.oldest else ""
    parts = [f"{report.kind}: {report.count} {done}, {report.size_bytes / 1e6:.1f} MB{oldest}."]
    return " ".join([*parts, *report.notes, *([f"Failed: {report.error}"] if report.error else [])])


def local_timezone() -> str:
    """The IANA name of this machine's zone; UTC where it has none. Cron lines are meant in it."""
    name = os.environ.get("TZ", "").lstrip(":") or Path("/etc/localtime").resolve().as_posix().partition("zoneinfo/")[2]
    try:
        return ZoneInfo(name).key if name else "UTC"
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return "UTC"
