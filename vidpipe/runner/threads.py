"""The threads of a run: workers that call the stages' functions, and the one that writes results.

Each pool has a queue and a limited number of threads. One thread commits results in batches and reports them to the
observer.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.settings import Settings
from vidpipe.stages.contract import Cancelled, Outcome, OutOfReach, Pool, Stage, StageError, video_name
from vidpipe.stages.events import StageEvent

if TYPE_CHECKING:
    from vidpipe.library.commits import PreparedCommit
    from vidpipe.library.library import Library
    from vidpipe.runner.plan import Plan
    from vidpipe.runner.video_state import VideoState

log = logging.getLogger(__name__)

#: Most commits written in one bulk operation.
_LARGEST_BATCH = 256


def pool_sizes(settings: Settings) -> dict[Pool, int]:
    """Return how many calls of the stages of each pool run at once."""
    return {"cpu": settings.concurrency.workers, "gpu": 1, "network": settings.download.parallel}


@dataclass(frozen=True)
class StageWork:
    """One video waiting for one stage."""

    state: VideoState
    stage: Stage


class WorkerListener(Protocol):
    """The run that the workers belong to. Called from their threads."""

    run_id: str

    def began(self, work: StageWork) -> None:
        """A stage starts to work on a video."""

    def progressed(self, stage: str, sha256: str, fraction: float) -> None:
        """A stage has done a share, 0 to 1, of its work on a video."""

    def done(self, work: StageWork, outcome: Outcome | None, seconds: float) -> None:
        """A stage is done with a video; `outcome` is None if the run was cancelled or a service was unreachable."""

    def went_out_of_reach(self, stage: Stage, error: OutOfReach) -> None:
        """A service that the stage needs is unreachable: the stage is not called again in this run."""

    def stop_with(self, fault: BaseException) -> None:
        """Stop the run; it raises `fault`."""


#: Priority, serial number and work; the end marker comes last.
_Queued = tuple[int, int, StageWork | None]
_END = 1


class StageWorkers:
    """Threads for every pool of a plan, as many as `pool_sizes` allows calls at once.

    Later stages come first. Otherwise all videos in progress would be decoded before the first gets its labels, and
    meanwhile, and at the end of the run, the cores would wait for labels and commits, which take turns on one core.
    """

    def __init__(self, plan: Plan, library: Library, cancelled: threading.Event, listener: WorkerListener) -> None:
        self._cancelled = cancelled
        self._listener = listener
        self._out_of_reach: set[str] = set()
        self._plan = plan
        self._priorities = {stage.name: -place for place, stage in enumerate(plan.stages)}
        self._numbers = itertools.count()
        run = listener.run_id
        self._contexts = {
            stage.name: plan.context_of(stage, library, run, cancelled, partial(listener.progressed, stage.name))
            for stage in plan.stages
        }
        sizes = pool_sizes(plan.settings)
        self._queues: dict[Pool, queue.PriorityQueue[_Queued]] = {
            stage.pool: queue.PriorityQueue() for stage in plan.stages
        }
        self._threads: list[threading.Thread] = []
        for pool, waiting in self._queues.items():
            for number in range(sizes[pool]):
                thread = threading.Thread(target=self._serve, args=[waiting], name=f"{pool}-{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def put(self, work: StageWork) -> None:
        """Queue a video for a stage."""
        self._queues[work.stage.pool].put((self._priorities[work.stage.name], next(self._numbers), work))

    def close(self) -> None:
        """Wait until everything queued is done; once cancelled, only what has started is finished."""
        for waiting in self._queues.values():
            waiting.put((_END, next(self._numbers), None))
        for thread in self._threads:
            thread.join()

    def _serve(self, waiting: queue.PriorityQueue[_Queued]) -> None:
        while (first := waiting.get()[2]) is not None:
            try:
                self._call(first.stage, [first, *self._more(first.stage, waiting)])
            except BaseException as fault:  # the library is unreachable, or a bug: the run stops and raises it
                self._listener.stop_with(fault)
        waiting.put((_END, next(self._numbers), None))  # for the pool's other threads

    def _more(self, stage: Stage, waiting: queue.PriorityQueue[_Queued]) -> list[StageWork]:
        """Take what else waits for this stage, up to its batch size."""
        more: list[StageWork] = []
        while len(more) < stage.batch_size - 1:
            try:
                queued = waiting.get_nowait()
            except queue.Empty:
                break
            work = queued[2]
            if work is None or work.stage is not stage:
                waiting.put(queued)
                break
            more.append(work)
        return more

    def _call(self, stage: Stage, batch: Sequence[StageWork]) -> None:
        """Call the stage's function. If a batch fails, each of its videos is tried on its own."""
        waiting = {work.state.sha256: work for work in batch}
        if self._cancelled.is_set() or stage.name in self._out_of_reach:
            self._finish(batch)
            return
        for work in batch:
            self._listener.began(work)
        context, began = self._contexts[stage.name], time.perf_counter()
        try:
            for outcome in stage.function([self._plan.item(stage, work.state) for work in batch], context):
                seconds = time.perf_counter() - began
                self._hand_over(waiting.pop(outcome.sha256), outcome, seconds)
                began = time.perf_counter()
        except Cancelled:
            self._finish(waiting.values())
        except OutOfReach as away:
            self._out_of_reach.add(stage.name)
            self._listener.went_out_of_reach(stage, away)
            self._finish(waiting.values())
        except UnavailableError:
            raise  # the library is unreachable: no video is to blame, all stay due
        except Exception as fault:
            if len(waiting) > 1:
                for work in waiting.values():
                    self._call(stage, [work])
                return
            log.exception("stage %s failed unexpectedly", stage.name)
            self._finish(waiting.values(), unexpected(fault))
        else:
            error = StageError(f"The stage {stage.name} yielded no outcome.", "This is a bug in the stage's code.")
            self._finish(waiting.values(), error)

    def _finish(self, works: Iterable[StageWork], error: StageError | None = None) -> None:
        """End the work with `error`; without one, the videos stay due."""
        for work in works:
            self._listener.done(work, Outcome(work.state.sha256, error=error) if error else None, 0.0)

    def _hand_over(self, work: StageWork, outcome: Outcome, seconds: float) -> None:
        """Pass an outcome on. A fault in doing so is the run's, not the stage's: it ends the run."""
        try:
            self._listener.done(work, outcome, seconds)
        except Exception as fault:
            self._listener.stop_with(fault)
            raise Cancelled from fault


def with_names(outcome: Outcome, work: StageWork) -> Outcome:
    """Return `outcome` with the video and the stage named in its error."""
    if outcome.error is None:
        return outcome
    return replace(outcome, error=named(outcome.error, work.state.name, work.state.sha256, work.stage.name))


def named(error: StageError, name: str, sha256: str, stage: str) -> StageError:
    """Return `error` with the video, of this file name, and the stage named."""
    message = error.message.removeprefix(f"{video_name(sha256)}: ")
    return StageError(f"{name} ({sha256[:12]}), stage {stage}: {message}", error.hint, transient=error.transient)


def unexpected(fault: Exception) -> StageError:
    """Return the error of a video for what the function of a stage raised and is none of its outcomes."""
    if isinstance(fault, VidpipeError):
        return StageError(fault.message, fault.hint, transient=isinstance(fault, UnavailableError))
    return StageError(
        f"An unexpected {type(fault).__name__}: {fault}",
        "This is a bug in vidpipe or in a library it uses; the log has the details.",
    )


@dataclass(frozen=True)
class CommitEntry:
    """One entry of the commit queue.

    A prepared commit and the event that reports it; an event alone, reported after everything queued before it is
    stored; or neither: the video is finished and its lease is released.
    """

    sha256: str
    prepared: PreparedCommit | None = None
    event: StageEvent | None = None

    @property
    def is_end(self) -> bool:
        """Whether the video is finished."""
        return self.prepared is None and self.event is None


class CommitThread:
    """Commits queued results in order. The first fault stops it.

    Args:
        library: Where results are committed.
        owner: Owner of the run's leases.
        report: Called with the event of each commit.
        finished: Called with each video whose last entry is written.
        failed: Called with the fault that stopped the thread.
    """

    def __init__(
        self,
        library: Library,
        owner: str,
        report: Callable[[StageEvent], None],
        finished: Callable[[str], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._library = library
        self._owner = owner
        self._report = report
        self._finished = finished
        self._failed = failed
        self._queue: queue.SimpleQueue[CommitEntry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="committer", daemon=True)
        self._thread.start()

    def put(self, write: CommitEntry) -> None:
        """Queue an entry."""
        self._queue.put(write)

    def close(self) -> None:
        """Wait until everything queued is written, or a fault has stopped the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        failed = last = False
        while not last:
            batch: list[CommitEntry] = []
            entry = self._queue.get()
            while entry is not None:
                batch.append(entry)
                if len(batch) >= _LARGEST_BATCH or self._queue.empty():
                    break
                entry = self._queue.get()
            last = entry is None
            if batch and not failed:
                try:
                    self._write(batch)
                except BaseException as error:  # the run stops and raises it
                    failed = True
                    self._failed(error)
            for write in batch:
                if write.is_end:
                    self._finished(write.sha256)

    def _write(self, batch: list[CommitEntry]) -> None:
        release = [write.sha256 for write in batch if write.is_end]
        prepared = [write.prepared for write in batch if write.prepared is not None]
        stored = iter(self._library.commit(prepared, self._owner, release))
        for write in batch:
            took_effect = next(stored) if write.prepared is not None else None
            if write.event is not None:
                same = took_effect is write.prepared
                self._report(write.event if same else _actual_event(write.event, took_effect))


def _actual_event(event: StageEvent, took_effect: PreparedCommit | None) -> StageEvent:
    """Return what happened instead of `event`: nothing was stored, or a failure."""
    event = replace(event, changed=False, result=None, data_version="")
    if took_effect is None:
        return replace(event, state="discarded", error=None)
    return replace(event, state="failed", error=took_effect.commit.error)
