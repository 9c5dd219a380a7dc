"""Reports what a run did to Dagster, video by video and stage by stage, during the run.

A run over partitions logs its events, so that Dagster shows them with the run; `context.log_event` keeps each in memory
until the step ends, but the number of partitions of a run is bounded. A run over any number of videos reports them
outside the run instead, which keeps nothing.
"""

import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.videos import read_result
from vidpipe.pipeline.event_metadata import IDENTIFYING_FIELDS, anonymous, materialization, observation
from vidpipe.pipeline.instance import history_kept_open
from vidpipe.pipeline.partitions import VideoPartitions
from vidpipe.pipeline.video_checks import evaluate_failures
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import StageError
from vidpipe.stages.events import StageEvent
from vidpipe.stages.versions import fingerprint

log = logging.getLogger(__name__)

Document = dict[str, Any]

_BATCH_SIZE = 250
#: More unreported events than this hold the run back, so that memory does not grow with the number of videos.
_MAX_WAITING = 500
_MAX_FAILURES = 20

_BUSY = StageError("Another run is processing this video.", "Materialize it again once that run has finished.")
_DISCARDED = StageError("An input changed during the computation.", "The video is due again; materialize it again.")
_WITHOUT_RESULT = ("failed", "blocked", "busy", "discarded")


class EventReporter:
    """Takes the events of one step from any thread and reports them from a background thread.

    Use it as a context manager; leaving it reports what is left and evaluates the check `videos_succeeded` of each
    stage that ran.

    Args:
        context: The context of the op whose events are reported.
        library: The library that the run works on.
        plan: The stages and settings of the run.
        partitioned: Whether the run is over partitions, each of which needs a result or a reason why there is none.
            Otherwise only news is reported: new results, failures, and results that Dagster does not show yet; of
            videos that are partitions.
        yielded: Takes the materializations of a step that yields them itself, instead of Dagster's log.

    Attributes:
        failures: The first failures as "hash, stage: message" without names, for the message of the failed step.

    Raises:
        VidpipeError: On leaving, if events could not be stored. The results in MongoDB are not affected.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        library: Library,
        plan: Plan,
        *,
        partitioned: bool,
        yielded: list[dg.AssetMaterialization] | None = None,
    ) -> None:
        self.failures: list[str] = []
        self._context = context
        self._library = library
        self._plan = plan
        self._partitioned = partitioned
        self._yielded = yielded
        self._partitions = VideoPartitions(context.instance, library)
        self._queue: queue.Queue[StageEvent | None] = queue.Queue(_MAX_WAITING)
        self._stages_run: set[str] = set()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._report_all, name="dagster-events", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is not None:
            return
        if self._fault is not None:
            raise VidpipeError(
                f"Dagster's event log cannot be written: {self._fault}.",
                "The results are stored. Check the disk of data/dagster, then materialize the videos again.",
            ) from self._fault
        for stage in self._plan.stages:
            if stage.name in self._stages_run:
                evaluation = evaluate_failures(self._library, stage.name)
                self._context.instance.report_runless_asset_event(evaluation)

    def on_event(self, event: StageEvent) -> None:
        """Take an event; waits while too many are unreported."""
        if event.state != "started":
            self._queue.put(event)

    def _report_all(self) -> None:
        with history_kept_open(self._plan.settings, self._context.run_id):
            self._report_batches()

    def _report_batches(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while batch[-1] is not None and len(batch) < _BATCH_SIZE:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ended = batch[-1] is None
            if self._fault is None:  # otherwise only keep the run from waiting
                try:
                    self._report([event for event in batch if event is not None])
                except Exception as fault:
                    log.exception("%d events could not be reported to Dagster", len(batch))
                    self._fault = fault

    def _report(self, events: list[StageEvent]) -> None:
        tried = (event for event in events if event.state in ("computed", "failed") and not event.earlier)
        self._stages_run |= {event.stage for event in tried}
        failed = [event for event in events if event.state == "failed"][: _MAX_FAILURES - len(self.failures)]
        if not self._partitioned:
            events = self._news(events)
            partitions = self._partitions.add(event.sha256 for event in events)
            events = [event for event in events if event.sha256 in partitions]
        documents = self._documents([*events, *failed])
        for event in failed:
            error = self._error_of(event, documents.get(event.sha256, {"_id": event.sha256}))
            self.failures.append(f"{event.sha256[:12]}, {event.stage}: {error}")
        for event in events:
            document = documents.get(event.sha256, {"_id": event.sha256})
            if event.state in _WITHOUT_RESULT:
                for explanation in self._explanations(event, document):
                    self._emit(explanation)
            else:
                filled = self._with_result(event, document)
                made = materialization(filled, self._plan.settings, self._plan.graph)
                self._emit(made) if self._yielded is None else self._yielded.append(made)

    def _emit(self, event: dg.AssetMaterialization | dg.AssetObservation) -> None:
        if self._partitioned:
            self._context.log_event(event)
            return
        run = {"run": dg.MetadataValue.dagster_run(self._context.run_id)}
        self._context.instance.report_runless_asset_event(event.with_metadata({**event.metadata, **run}))

    def _news(self, events: Sequence[StageEvent]) -> list[StageEvent]:
        """Return the events that Dagster does not show yet."""
        unchanged: dict[str, set[str]] = {}
        for event in events:
            if event.state in ("computed", "current") and not event.changed:
                unchanged.setdefault(event.stage, set()).add(event.sha256)
        shown = {stage: shown_as_materialized(self._context.instance, stage, ids) for stage, ids in unchanged.items()}
        return [
            event
            for event in events
            if (event.state == "failed" and not event.earlier)
            or (event.state in ("computed", "current") and event.sha256 not in shown.get(event.stage, ()))
        ]

    def _documents(self, events: Sequence[StageEvent]) -> dict[str, Document]:
        """Return what the events do not say themselves: stored results, failures, and names to be left out."""
        graph = self._plan.graph
        incomplete = [event for event in events if event.result is None]
        fields: dict[str, int] = {}
        for stage in {event.stage for event in incomplete if event.state not in _WITHOUT_RESULT}:
            fields |= {graph.key(stage): 1, f"stages.{stage}.data": 1}
        if any(event.state in _WITHOUT_RESULT for event in incomplete):
            for path in IDENTIFYING_FIELDS:  # MongoDB refuses a path beside its parent
                fields |= {path: 1} if path.partition(".")[0] not in fields else {}
            for name in graph.names:
                fields |= {f"stages.{name}.{field}": 1 for field in ("status", "error", "attempts", "next_try_at")}
        ids = list({event.sha256 for event in incomplete})
        find = self._library.collections["videos"].find
        rows = self._library.retry(lambda: list(find({"_id": {"$in": ids}}, fields))) if ids else []
        return {row["_id"]: row for row in rows}

    def _with_result(self, event: StageEvent, document: Document) -> StageEvent:
        """Return the event with the stored result and version, where the run did not make them."""
        if event.result is not None or "stages" not in document:
            return event
        return replace(
            event,
            result=read_result(self._plan.graph, event.stage, document),
            data_version=fingerprint(document["stages"][event.stage].get("data") or {}),
            code_version=self._plan.graph[event.stage].code_version,
        )

    def _explanations(self, event: StageEvent, document: Document) -> Iterator[dg.AssetObservation]:
        """Yield why there is no result, for the event's stage and those that wait for it."""
        entries = document.get("stages", {})
        if event.state == "failed":
            error = self._error_of(event, document)
            entry = entries.get(event.stage, {})
            next_try_at = entry.get("next_try_at")
            yield observation(
                event,
                error,
                status=entry.get("status"),
                attempts=entry.get("attempts"),
                next_try=next_try_at and dg.MetadataValue.timestamp(next_try_at),
            )
            yield from self._waiting_stages(event, error)
        elif event.state == "blocked":
            yield self._blocked(event, document)
        elif event.state == "busy":  # reported once per video, for its first stage
            for stage in self._plan.stages:
                yield observation(replace(event, stage=stage.name), _BUSY)
        elif event.state == "discarded":
            yield observation(event, _DISCARDED)

    def _error_of(self, event: StageEvent, document: Document) -> StageError:
        return anonymous(event.error or StageError("It failed."), document, self._plan.settings)

    def _waiting_stages(self, event: StageEvent, error: StageError) -> Iterator[dg.AssetObservation]:
        """Yield why later stages, which this run does not launch, have no result."""
        explained = {stage.name for stage in self._plan.stages} if self._partitioned else set()
        for name in self._plan.graph.downstream(event.stage):
            if name not in explained:
                blocked = replace(event, stage=name, state="blocked")
                yield observation(blocked, _waits_for(event.stage, error), waits_for=event.stage)

    def _blocked(self, event: StageEvent, document: Document) -> dg.AssetObservation:
        """Name the first earlier stage without a result, and why it has none."""
        graph = self._plan.graph
        entries: Mapping[str, Any] = document.get("stages", {})
        earlier = [name for name in graph.names if event.stage in graph.downstream(name)]
        missing = next((name for name in earlier if entries.get(name, {}).get("status") != "ok"), "")
        fault = entries.get(missing, {}).get("error")
        if fault:
            stored = StageError(fault["message"], fault["hint"])
            error = _waits_for(missing, anonymous(stored, document, self._plan.settings))
        else:
            error = StageError(
                f"It waits for {missing or 'an earlier stage'}, which has not run yet.",
                f"Materialize {missing or 'the earlier stages'} of this video first.",
            )
        return observation(event, error, waits_for=missing)


def shown_as_materialized(instance: dg.DagsterInstance, stage: str, videos: Set[str]) -> set[str]:
    """Return those of `videos` whose partition is green: materialized since it was last planned.

    `get_status_by_partition` takes 0.7 s for a library of 100,000 videos, whatever is asked for; this takes 10 ms for
    250 of them.
    """
    planned, made = (
        instance.get_latest_storage_id_by_partition(dg.AssetKey(stage), kind, set(videos))
        for kind in (dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.ASSET_MATERIALIZATION)
    )
    return {video for video, event_id in made.items() if planned.get(video, 0) < event_id}


def _waits_for(stage: str, fault: StageError) -> StageError:
    return StageError(f"It waits for {stage}, which failed: {fault.message}", fault.hint)
