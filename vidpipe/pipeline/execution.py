"""The Runner inside a Dagster step: what each video came to is reported alone, and the step fails once, at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.processes import this_process
from vidpipe.library.runs import Figures
from vidpipe.pipeline.caller import CALLER, Caller
from vidpipe.pipeline.event_reporting import EventReporter
from vidpipe.pipeline.processes import PROCESS_TAG
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.retries import may_pass, retry
from vidpipe.pipeline.run_metrics import step_metrics
from vidpipe.pipeline.usage_tags import tag_estimate, tag_usage
from vidpipe.pipeline.waiting import keep_specs
from vidpipe.planning.due import Wish
from vidpipe.runner.plan import Plan
from vidpipe.runner.report import RunReport
from vidpipe.runner.runner import Runner
from vidpipe.runner.selection import RunOptions
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageError, StageEvent
from vidpipe.stages.graph import StageGraph

_MOST_LISTED = 20
_NO_SUCH_VIDEO = StageError(
    "There is no such video in the library.", "Its file was never taken in, or the library is another one."
)


@dataclass
class Session:
    """A step's way to the library: the caller's own where there is one, otherwise the resource's."""

    settings: Settings
    library: Library
    caller: Caller | None
    cancelled: threading.Event

    @classmethod
    @contextmanager
    def begin(cls, context: dg.OpExecutionContext, resource: LibraryResource, graph: StageGraph) -> Iterator[Session]:
        """Raises dg.Failure with the sentence of a VidpipeError, dg.RetryRequested where it may pass by itself, or
        dg.DagsterExecutionInterruptedError where stopped; the run is then marked as cancelled, not as failed.
        """
        caller = CALLER.get()
        if caller is None:
            context.instance.add_run_tags(context.run.run_id, {PROCESS_TAG: this_process()})
        try:
            if caller is not None:
                yield cls(caller.settings, caller.library, caller, caller.cancelled)
            else:
                settings = resource.settings()
                with resource.opened(graph, settings) as library:
                    yield cls(settings, library, None, threading.Event())
        except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
            run = context.instance.get_run_by_id(context.run.run_id)
            if run is not None and run.status == dg.DagsterRunStatus.STARTED:
                context.instance.report_run_canceling(run, "Stopped by the user; what was finished is stored.")
            raise dg.DagsterExecutionInterruptedError() from None
        except dg.Failure:
            raise
        except Exception as error:
            if caller is not None:
                caller.fault = error
            if isinstance(error, VidpipeError):
                failed = dg.Failure(str(error), allow_retries=False)
                if caller is None and may_pass(error):
                    raise retry(context.retry_number) from failed
                raise failed from error
            raise


@dataclass
class Progress:
    """The Runner's observer: counts, passes on to the caller, and hands to Dagster's log what belongs there.

    skipped: states that are not reported to Dagster in this run
    """

    reporter: EventReporter
    caller: Caller | None
    figures: Figures
    skipped: frozenset[str]
    counted: RunReport = field(default_factory=RunReport)
    unfinished: list[StageEvent] = field(default_factory=list)

    def on_event(self, event: StageEvent) -> None:
        self.counted.count(event)
        self.figures.count(event)
        if event.state in ("blocked", "busy", "discarded") and len(self.unfinished) < _MOST_LISTED:
            self.unfinished.append(event)
        if self.caller is not None and self.caller.observer is not None:
            self.caller.observer.on_event(event)
        if event.state not in self.skipped:
            self.reporter.on_event(event)

    def so_far(self) -> RunReport:
        """The report of a run that was interrupted."""
        videos = max((sum(counter.values()) for counter in self.counted.counts.values()), default=0)
        return replace(self.counted, videos=videos, interrupted=True)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        if self.caller is not None and self.caller.observer is not None:
            self.caller.observer.on_progress(sha256, stage, fraction)


def run_stages(
    context: dg.OpExecutionContext,
    session: Session,
    graph: StageGraph,
    *,
    stages: Sequence[str] | None,
    videos: Iterable[str] | None,
    options: RunOptions,
    partitioned: bool,
    keep: list[dg.AssetMaterialization] | None = None,
) -> RunReport:
    """Runs `stages` (None: all) over `videos` (None: all that are due), reporting to Dagster.

    Raises dg.Failure at the end, with the sentences of what failed; dg.DagsterExecutionInterruptedError where stopped.
    """
    with step_metrics(context, session.library, session.caller) as figures:
        return _run_stages(
            context, session, graph, figures=figures, stages=stages, videos=videos, options=options,
            partitioned=partitioned, keep=keep,
        )  # fmt: skip


def _run_stages(
    context: dg.OpExecutionContext,
    session: Session,
    graph: StageGraph,
    *,
    figures: Figures,
    stages: Sequence[str] | None,
    videos: Iterable[str] | None,
    options: RunOptions,
    partitioned: bool,
    keep: list[dg.AssetMaterialization] | None,
) -> RunReport:
    plan = Plan.make(graph, session.settings, stages)
    given = None if videos is None else list(videos)
    try:
        keep_specs(session.library, plan)
        wish = Wish(given, options.retry, options.force)
        tag_estimate(context, figures, session.library, plan, wish)
        with EventReporter(context, session.library, plan, partitioned=partitioned, yielded=keep) as reporter:
            # A run over all that is due meets current results by chance, and Dagster shows nearly all of them already.
            skipped = frozenset({"current"} if given is None else ())
            progress = Progress(reporter, session.caller, figures, skipped, RunReport(problems=dict(plan.unavailable)))
            runner = Runner(session.library, plan, progress, options, context.run.run_id, session.cancelled)
            try:
                report = runner.run(given)
                if partitioned:
                    for sha256, stage in product(report.unknown, plan.stages):
                        reporter.on_event(StageEvent(sha256, stage.name, "failed", error=_NO_SUCH_VIDEO))
            except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
                report = progress.so_far()
            if session.caller is not None:
                session.caller.report = report
        tag_usage(context, figures, plan)
    finally:
        plan.close()
    if report.interrupted:
        raise dg.DagsterExecutionInterruptedError()
    failure = _failure(report, reporter.failures, progress.unfinished if partitioned else ())
    if failure is not None:
        raise failure
    return report


def _failure(report: RunReport, failures: Sequence[str], unfinished: Sequence[StageEvent]) -> dg.Failure | None:
    """The one failure of a step; None if all is well. failures: the first of them, in sentences without names;
    unfinished: what a partitioned run owes its partitions."""
    sentences = [f"{name} could not run: {error}" for name, error in report.problems.items()]
    sentences += [f"{sha256}: no such video in the library." for sha256 in report.unknown[:_MOST_LISTED]]
    sentences += failures
    because = {
        "blocked": "waits for an earlier stage that has no result",
        "busy": "another run works on this video",
        "discarded": "changed while it was worked on; it is due again",
    }
    sentences += [f"{event.sha256[:12]}, {event.stage}: {because[event.state]}." for event in unfinished]
    if not sentences:
        return None
    counts = {state: report.total(state) for state in ("computed", "current", "failed", *because)}
    left_out = max(0, counts["failed"] - _MOST_LISTED) + max(0, report.unknown_videos - _MOST_LISTED)
    if left_out > 0:
        sentences.append(f"… and {left_out} more.")
    failed = len({event.sha256 for event in report.failures})
    head = "Not everything is done."
    if failed:
        all_kept = counts["failed"] == len(report.failures)
        head = f"{failed if all_kept else f'More than {failed}'} of {report.videos} videos failed; the others are done."
    return dg.Failure(
        description="\n".join([head, *sentences]),
        metadata={state: count for state, count in counts.items() if count},
        allow_retries=False,
    )
