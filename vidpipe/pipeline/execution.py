"""The runner inside a Dagster step: each video's result is reported on its own, and the step fails once, at its end."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import dagster as dg

from vidpipe.datasets.duplicates.sharing import run_in_turns
from vidpipe.errors import DamagedError, LoginRejectedError, UnavailableError, VidpipeError
from vidpipe.library.embedded import FullDiskError
from vidpipe.library.library import Library
from vidpipe.library.process_names import this_process
from vidpipe.library.runs import RunCounters
from vidpipe.pipeline.event_reporting import EventReporter
from vidpipe.pipeline.resources import InProcessRun, LibraryResource
from vidpipe.pipeline.run_launcher import PROCESS_TAG
from vidpipe.pipeline.run_metrics import started_by, step_metrics, tag_estimate, tag_usage
from vidpipe.runner.plan import Plan, record_specs
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.rule_changes import record_in_force
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageError
from vidpipe.stages.events import NullObserver, StageEvent
from vidpipe.stages.graph import StageGraph

#: Name of the logger that sends a run's log to vidpipe's log file instead of the terminal.
FILE_LOGGER = "vidpipe"
#: Wait before a step is retried because MongoDB was unreachable; doubled for the second retry.
FIRST_RETRY_WAIT_S = 15.0
_MOST_RETRIES = 2
_MOST_LISTED = 20
_NO_SUCH_VIDEO = StageError(
    "There is no such video in the library.", "Its file was never added, or this is another library."
)
_LASTING = (FullDiskError, DamagedError, LoginRejectedError)
_INTERRUPTS = (KeyboardInterrupt, dg.DagsterExecutionInterruptedError)


@dataclass
class StepSession:
    """What a step works with.

    Attributes:
        settings: The settings in force.
        library: The open library.
        caller: What the caller shares, if the run is in the caller's process; otherwise None.
        cancelled: Stops the work once set.
    """

    settings: Settings
    library: Library
    caller: InProcessRun | None
    cancelled: threading.Event

    @classmethod
    @contextmanager
    def begin(
        cls, context: dg.OpExecutionContext, resource: LibraryResource, graph: StageGraph
    ) -> "Iterator[StepSession]":
        """Open the library for a step, or use the caller's.

        Raises:
            dagster.Failure: With the message of a VidpipeError.
            dagster.RetryRequested: MongoDB was unreachable, which may pass.
            dagster.DagsterExecutionInterruptedError: The step was stopped; its run is marked as cancelled.
        """
        caller = resource.caller
        try:
            if caller is not None:
                yield cls(caller.settings, caller.library, caller, caller.cancelled)
                return
            context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: this_process()})
            settings = resource.settings()
            with resource.opened(graph, settings) as library:
                yield cls(settings, library, None, threading.Event())
        except _INTERRUPTS:
            run = context.instance.get_run_by_id(context.run.run_id)
            if run is not None and run.status == dg.DagsterRunStatus.STARTED:
                context.instance.report_run_canceling(run, "Stopped by the user; finished work is stored.")
            raise dg.DagsterExecutionInterruptedError from None
        except dg.Failure:
            raise
        except Exception as error:
            if caller is not None:
                caller.fault = error
            if not isinstance(error, VidpipeError):
                raise
            failed = step_failure(str(error))
            if caller is None and _is_temporary(error):
                wait_s = FIRST_RETRY_WAIT_S * 2**context.retry_number
                raise dg.RetryRequested(max_retries=_MOST_RETRIES, seconds_to_wait=wait_s) from failed
            raise failed from error


def _is_temporary(error: VidpipeError) -> bool:
    """Whether retrying the whole step a little later may help.

    Failed videos are no reason: the library remembers when to retry each. Steps have no retry policy, since with one
    Dagster also repeats runs that somebody stopped.
    """
    return isinstance(error, UnavailableError) and not isinstance(error, _LASTING)


@dataclass
class StepObserver(NullObserver):
    """The runner's observer in a step: counts events, and passes them on to Dagster.

    Attributes:
        reporter: Reports events to Dagster.
        figures: The figures of the run.
        ignored: States that are not worth an event in this run.
        unfinished: The first events of videos without a result that are not failures.
    """

    reporter: EventReporter
    figures: RunCounters
    ignored: frozenset[str]
    unfinished: list[StageEvent] = field(default_factory=list)

    def on_event(self, event: StageEvent) -> None:
        """Count an event and pass it on."""
        self.figures.count(event)
        if event.state in ("blocked", "busy", "discarded") and len(self.unfinished) < _MOST_LISTED:
            self.unfinished.append(event)
        if event.state not in self.ignored:
            self.reporter.on_event(event)


def run_stages(
    context: dg.OpExecutionContext,
    session: StepSession,
    graph: StageGraph,
    request: RunRequest,
    *,
    partitioned: bool,
    keep: list[dg.AssetMaterialization] | None = None,
    counters: RunCounters | None = None,
) -> RunReport:
    """Fulfil `request` in a step, or follow the work that the caller has started, and report to Dagster.

    Args:
        context: The step's context.
        session: The step's session.
        graph: All stages.
        request: Which videos, which stages, and how.
        partitioned: Whether the run has partitions; each then gets an event.
        keep: Collects materializations that the step yields itself, instead of the event log.
        counters: The figures of the step, if it counts other work as well.

    Raises:
        dagster.Failure: Something failed; it lists what.
        dagster.DagsterExecutionInterruptedError: The step was stopped.
    """
    work = session.caller.work if session.caller else None
    recorded = nullcontext(counters) if counters else step_metrics(context, session.library, session.caller)
    with recorded as figures:
        with closing(Plan.make(graph, session.settings, request.stages, fetch=True)) as plan:
            if work is None:
                record_specs(session.library, plan)
                record_in_force(session.library, plan, started_by(context.run.tags, session.caller))
            known, asking = (work.expected, work.plan) if work else (None, plan)
            tag_estimate(context, figures, session.library, asking, request, known=known)
            # A run over all due videos meets current results by chance, and Dagster already shows nearly all of them.
            ignored = frozenset({"current", "waiting"} if request.videos is None else {"waiting"})
            with EventReporter(context, session.library, plan, partitioned=partitioned, yielded=keep) as reporter:
                observer = StepObserver(reporter, figures, ignored)
                runner = Runner(session.library, plan, observer, context.run.run_id, session.cancelled)
                try:
                    report = work.follow(observer) if work else run_in_turns(runner, request)
                    if partitioned:
                        for sha256, stage in product(report.unknown, plan.stages):
                            reporter.on_event(StageEvent(sha256, stage.name, "failed", error=_NO_SUCH_VIDEO))
                except _INTERRUPTS:
                    report = replace(runner.report, interrupted=True)
                if session.caller is not None:
                    session.caller.report = report
            tag_usage(context, figures, plan)
        if report.interrupted:
            raise dg.DagsterExecutionInterruptedError
        failure = _failure(report, reporter.failures, observer.unfinished if partitioned else ())
        if failure is not None:
            raise failure
    return report


def _failure(report: RunReport, failures: Sequence[str], unfinished: Sequence[StageEvent]) -> dg.Failure | None:
    """Return the one failure of a step; None if all is well.

    Args:
        report: What the run did.
        failures: The first failures, as sentences without names.
        unfinished: Events of partitions that got no result though nothing failed.
    """
    sentences = [f"{name} could not run: {error}" for name, error in report.problems.items()]
    sentences += [f"{sha256}: no such video in the library." for sha256 in report.unknown[:_MOST_LISTED]]
    sentences += failures
    because = {
        "blocked": "waits for an earlier stage that has no result",
        "busy": "in progress in another run",
        "discarded": "changed during the run; it is due again",
    }
    sentences += [f"{event.sha256[:12]}, {event.stage}: {because[event.state]}." for event in unfinished]
    if not sentences:
        return None
    counts = {state: report.total(state) for state in ("computed", "current", "failed", *because)}
    left_out = max(0, counts["failed"] - _MOST_LISTED) + max(0, report.unknown_videos - _MOST_LISTED)
    failed = len({event.sha256 for event in report.failures})
    head = "Not everything is done."
    if failed:
        complete = counts["failed"] == len(report.failures)
        head = f"{failed if complete else f'More than {failed}'} of {report.videos} videos failed; the others are done."
    return step_failure(head, sentences, left_out, {state: count for state, count in counts.items() if count})


def step_failure(
    head: str, sentences: Sequence[str] = (), left_out: int = 0, metadata: Mapping[str, int] | None = None
) -> dg.Failure:
    """Return the failure of a step, which Dagster does not retry.

    Args:
        head: What failed.
        sentences: One for each failure, without names.
        left_out: How many more failures there are.
        metadata: Figures of the step.
    """
    more = [f"… and {left_out} more."] if left_out > 0 else []
    return dg.Failure("\n".join([head, *sentences, *more]), metadata=metadata, allow_retries=False)


@dg.logger(None, description="vidpipe's own log file, nothing on the terminal")
def file_logger(_: dg.InitLoggerContext) -> logging.Logger:
    """Log to vidpipe's log file."""
    logger = logging.getLogger("vidpipe.dagster")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # where no log file is configured, logging would write to the terminal
    return logger


def one_op_job(
    op: dg.OpDefinition, name: str, description: str, tags: Mapping[str, Any] | None = None
) -> dg.JobDefinition:
    """Return the job that runs `op` in one process, with `tags` on its runs."""

    @dg.job(
        name=name,
        description=description,
        tags=tags,
        executor_def=dg.in_process_executor,
        logger_defs={"console": dg.colored_console_logger, FILE_LOGGER: file_logger},
    )
    def job() -> None:
        op()

    return job
