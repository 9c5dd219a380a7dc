"""The Runner inside a Dagster step: what each video came to is reported alone, and the step fails once, at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import AssetMaterializationPlannedData

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.processes import this_process
from vidpipe.library.videos import read_result
from vidpipe.pipeline.caller import CALLER, Caller
from vidpipe.pipeline.events import EventLog, Record, StepContext
from vidpipe.pipeline.metadata import materialization
from vidpipe.pipeline.partitions import add_videos
from vidpipe.pipeline.processes import PROCESS_TAG
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.runner.plan import Plan
from vidpipe.runner.report import RunReport
from vidpipe.runner.runner import Runner
from vidpipe.runner.selection import RunOptions
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import fingerprint

_MOST_LISTED = 20


@dataclass
class Session:
    """A step's way to the library: the caller's own where there is one, otherwise the resource's."""

    settings: Settings
    library: Library
    caller: Caller | None
    cancelled: threading.Event

    @classmethod
    @contextmanager
    def begin(cls, context: StepContext, resource: LibraryResource, graph: StageGraph) -> Iterator[Session]:
        """Raises dg.Failure with the sentence of a VidpipeError, or DagsterExecutionInterruptedError where stopped.

        The run is then marked as cancelled, not as failed.
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
        except (KeyboardInterrupt, DagsterExecutionInterruptedError):
            run = context.instance.get_run_by_id(context.run.run_id)
            if run is not None and run.status == dg.DagsterRunStatus.STARTED:
                context.instance.report_run_canceling(run, "Stopped by the user; what was finished is stored.")
            raise DagsterExecutionInterruptedError() from None
        except dg.Failure:
            raise
        except Exception as error:
            if caller is not None:
                caller.fault = error
            if isinstance(error, VidpipeError):
                raise dg.Failure(str(error), allow_retries=False) from error
            raise


@dataclass
class Progress:
    """The Runner's observer: counts, passes on to the caller, and hands to Dagster's log what belongs there."""

    log: EventLog[StageEvent]
    caller: Caller | None
    counted: RunReport = field(default_factory=RunReport)
    unfinished: list[StageEvent] = field(default_factory=list)

    def on_event(self, event: StageEvent) -> None:
        self.counted.count(event)
        if event.state in ("blocked", "busy", "discarded") and len(self.unfinished) < _MOST_LISTED:
            self.unfinished.append(event)
        if self.caller is not None and self.caller.observer is not None:
            self.caller.observer.on_event(event)
        if event.state in ("computed", "current", "failed"):
            self.log.put(event)

    def so_far(self) -> RunReport:
        """The report of a run that was interrupted."""
        videos = max((sum(counter.values()) for counter in self.counted.counts.values()), default=0)
        return replace(self.counted, videos=videos, interrupted=True)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        if self.caller is not None and self.caller.observer is not None:
            self.caller.observer.on_progress(sha256, stage, fraction)


@dataclass(frozen=True)
class Materializations:
    """Turns the Runner's events into Dagster's.

    partitioned: the run has partitions. Then a video that was current is materialised too, so that its partition is
                 green; and Dagster knows already which ones should have been. Without partitions a failed video is
                 announced here, so that it shows red.
    keep:        takes the materialisations instead of the event log, for a step that yields them itself
    """

    instance: dg.DagsterInstance
    library: Library
    plan: Plan
    partitioned: bool
    keep: list[dg.AssetMaterialization] | None = None

    def __call__(self, events: list[StageEvent]) -> list[Record]:
        if self.partitioned:
            events = self._with_results(events)
        else:
            events = [event for event in events if event.state != "current"]
            add_videos(self.instance, (event.sha256 for event in events))
        records: list[Record] = []
        for event in events:
            if event.state != "failed":
                into: list[Any] = records if self.keep is None else self.keep
                into.append(materialization(event, self.plan.settings, self.plan.graph))
            elif not self.partitioned:
                records.append(AssetMaterializationPlannedData(dg.AssetKey(event.stage), partition=event.sha256))
        return records

    def _with_results(self, events: list[StageEvent]) -> list[StageEvent]:
        """`events` with the stored result and version where a video was current."""
        wanted = {event.sha256 for event in events if event.state == "current"}
        if not wanted:
            return events
        stages = {event.stage for event in events if event.state == "current"}
        fields = {field: 1 for stage in stages for field in (self.plan.graph.key(stage), f"stages.{stage}.data")}
        found = {
            row["_id"]: row for row in self.library.collections["videos"].find({"_id": {"$in": list(wanted)}}, fields)
        }
        filled = []
        for event in events:
            row = found.get(event.sha256)
            if event.state == "current" and row is not None:
                event = replace(  # noqa: PLW2901
                    event,
                    result=read_result(self.plan.graph, event.stage, row),
                    data_version=fingerprint(row["stages"][event.stage].get("data") or {}),
                    code_version=self.plan.graph[event.stage].code_version,
                )
            filled.append(event)
        return filled


def run_stages(
    context: StepContext,
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

    Raises dg.Failure at the end, with the sentences of what failed; DagsterExecutionInterruptedError where stopped.
    """
    plan = Plan.make(graph, session.settings, stages)
    records = Materializations(context.instance, session.library, plan, partitioned, keep)
    try:
        with EventLog(context, records) as log:
            progress = Progress(log, session.caller, RunReport(problems=dict(plan.unavailable)))
            runner = Runner(session.library, plan, progress, options, context.run.run_id, session.cancelled)
            try:
                report = runner.run(videos)
            except (KeyboardInterrupt, DagsterExecutionInterruptedError):
                report = progress.so_far()
            if session.caller is not None:
                session.caller.report = report
    finally:
        plan.close()
    if report.interrupted:
        raise DagsterExecutionInterruptedError()
    failure = _failure(report, progress.unfinished if partitioned else ())
    if failure is not None:
        raise failure
    return report


def _failure(report: RunReport, unfinished: Sequence[StageEvent]) -> dg.Failure | None:
    """The one failure of a step; None if all is well. unfinished: what a partitioned run owes its partitions."""
    sentences = [f"{name} could not run: {error}" for name, error in report.problems.items()]
    sentences += [f"{sha256}: no such video in the library." for sha256 in report.unknown[:_MOST_LISTED]]
    sentences += [f"{event.name}, {event.stage}: {event.error}" for event in report.failures[:_MOST_LISTED]]
    because = {
        "blocked": "waits for an earlier stage that has no result",
        "busy": "another run works on this video",
        "discarded": "changed while it was worked on; it is due again",
    }
    sentences += [f"{event.name or event.sha256[:12]}, {event.stage}: {because[event.state]}." for event in unfinished]
    if not sentences:
        return None
    counts = {state: report.total(state) for state in ("computed", "current", "failed", *because)}
    left_out = max(0, counts["failed"] - _MOST_LISTED) + max(0, len(report.unknown) - _MOST_LISTED)
    if left_out > 0:
        sentences.append(f"… and {left_out} more.")
    failed = len({event.sha256 for event in report.failures})
    head = f"{failed} of {report.videos} videos failed; the others are done." if failed else "Not everything is done."
    return dg.Failure(
        description="\n".join([head, *sentences]),
        metadata={state: count for state, count in counts.items() if count},
        allow_retries=False,
    )
