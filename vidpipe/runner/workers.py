"""The threads that call the stages' functions: each stage has a queue of its own, each pool a number of places."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.runner.plan import Plan
from vidpipe.runner.video_state import VideoState
from vidpipe.stages.contract import (
    Cancelled,
    CellStore,
    Outcome,
    OutOfReach,
    Stage,
    StageContext,
    StageError,
    video_name,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """One video waiting for one stage."""

    state: VideoState
    stage: Stage


class Listener(Protocol):
    """The run that the workers work for. Called from their threads."""

    def began(self, work: Work) -> None: ...

    def progressed(self, sha256: str, stage: str, fraction: float) -> None: ...

    def done(self, work: Work, outcome: Outcome | None, seconds: float) -> None:
        """outcome: None when nothing is to be recorded: the run was cancelled, or what the stage asks is away."""

    def went_out_of_reach(self, stage: Stage, error: OutOfReach) -> None:
        """What the stage asks of the outside is away: it is not called again in this run."""

    def stop_with(self, fault: BaseException) -> None: ...


class StageWorkers:
    """Threads for every stage of a plan. At most MaxWorkers calls of `cpu` stages are at work at once, one of `gpu`."""

    def __init__(self, plan: Plan, cells: CellStore, cancelled: threading.Event, listener: Listener) -> None:
        self._cancelled = cancelled
        self._listener = listener
        settings = plan.settings
        places = {"cpu": settings.concurrency.workers, "gpu": 1, "network": settings.download.parallel}
        pools = {pool: threading.BoundedSemaphore(number) for pool, number in places.items()}
        self._out_of_reach: set[str] = set()
        self._queues: dict[str, queue.SimpleQueue[Work | None]] = {}
        self._threads: list[threading.Thread] = []
        for stage in plan.stages:
            self._queues[stage.name] = queue.SimpleQueue()
            context = StageContext(
                settings=settings,
                resources=plan.resources_of(stage),
                cells=cells,
                cancelled=cancelled,
                progress=partial(self._progress, stage.name),
            )
            for number in range(places[stage.pool]):
                thread = threading.Thread(
                    target=self._serve,
                    args=(stage, context, pools[stage.pool]),
                    name=f"{stage.name}-{number}",
                    daemon=True,
                )
                self._threads.append(thread)
                thread.start()

    def put(self, work: Work) -> None:
        self._queues[work.stage.name].put(work)

    def close(self) -> None:
        """Waits until what has begun is finished; with `cancelled` set, nothing else is begun."""
        for thread in self._threads:
            self._queues[thread.name.rsplit("-", 1)[0]].put(None)
        for thread in self._threads:
            thread.join()

    def _progress(self, stage: str, sha256: str, fraction: float) -> None:
        self._listener.progressed(sha256, stage, fraction)

    def _serve(self, stage: Stage, context: StageContext, pool: threading.BoundedSemaphore) -> None:
        while (first := self._queues[stage.name].get()) is not None:
            with pool:
                batch = [first, *self._more(stage)]
                try:
                    self._call(stage, context, batch)
                except BaseException as fault:  # the library is out of reach, or a bug: the run stops and raises it
                    self._listener.stop_with(fault)

    def _more(self, stage: Stage) -> list[Work]:
        """What else waits for this stage, up to its batch size."""
        more: list[Work] = []
        waiting = self._queues[stage.name]
        while len(more) < stage.batch_size - 1 and not waiting.empty():
            try:
                work = waiting.get_nowait()
            except queue.Empty:
                break
            if work is None:
                waiting.put(None)  # the sign to stop: left for the next round
                break
            more.append(work)
        return more

    def _call(self, stage: Stage, context: StageContext, batch: Sequence[Work]) -> None:
        """Calls the stage's function; a fault in a batch is narrowed down by calling it for each video alone."""
        waiting = {work.state.sha256: work for work in batch}
        if self._cancelled.is_set() or stage.name in self._out_of_reach:
            self._leave_due(batch)
            return
        for work in batch:
            self._listener.began(work)
        began = time.perf_counter()
        try:
            for outcome in stage.function([work.state.item(stage) for work in batch], context):
                seconds = time.perf_counter() - began
                self._hand_over(waiting.pop(outcome.sha256), outcome, seconds)
                began = time.perf_counter()
        except Cancelled:
            self._leave_due(waiting.values())
            return
        except OutOfReach as away:
            self._out_of_reach.add(stage.name)
            self._listener.went_out_of_reach(stage, away)
            self._leave_due(waiting.values())
            return
        except UnavailableError:
            raise  # the library stays away: no video is to blame, all of them stay due
        except Exception as fault:
            if len(waiting) > 1:
                for work in waiting.values():
                    self._call(stage, context, [work])
                return
            log.exception("stage %s failed unexpectedly", stage.name)
            for work in waiting.values():
                self._listener.done(work, Outcome(work.state.sha256, error=_unexpected(fault)), 0.0)
            return
        for work in waiting.values():
            error = StageError(f"The stage {stage.name} gave no outcome.", "This is a fault of the stage's code.")
            self._listener.done(work, Outcome(work.state.sha256, error=error), 0.0)

    def _leave_due(self, works: Iterable[Work]) -> None:
        for work in works:
            self._listener.done(work, None, 0.0)

    def _hand_over(self, work: Work, outcome: Outcome, seconds: float) -> None:
        """A fault beyond this point is the run's, not that of the stage or its video: it ends the run."""
        try:
            self._listener.done(work, outcome, seconds)
        except Exception as fault:
            self._listener.stop_with(fault)
            raise Cancelled from fault


def named(outcome: Outcome, work: Work) -> Outcome:
    """`outcome`, with an error that says which video and which stage it speaks of."""
    if outcome.error is None:
        return outcome
    where = f"{work.state.name} ({work.state.sha256[:12]}), stage {work.stage.name}: "
    message = outcome.error.message.removeprefix(f"{video_name(work.state.sha256)}: ")
    error = StageError(where + message, outcome.error.hint, transient=outcome.error.transient)
    return replace(outcome, error=error)


def _unexpected(fault: Exception) -> StageError:
    if isinstance(fault, VidpipeError):
        return StageError(fault.message, fault.hint)
    return StageError(
        f"An unexpected {type(fault).__name__}: {fault}",
        "This is a fault of vidpipe or of a library it uses; the log has the details.",
    )
