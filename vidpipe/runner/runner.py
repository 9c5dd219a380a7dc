"""The one loop over videos and stages.

The runner asks the library which videos are due, leases them, moves each through the stages of the run, and commits
every result. Each pool has its own threads and queue, so that decoding, the model and writing overlap. The number of
videos in progress is bounded, so memory does not grow with the number of videos.
"""

import gc
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from vidpipe.errors import VidpipeError
from vidpipe.library import server_clock
from vidpipe.library.library import Library
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked, projection
from vidpipe.runner.budget import reserve_refetch
from vidpipe.runner.due import RAW_VIDEO, Selection
from vidpipe.runner.isolated_retry import IsolatedRetry
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport, RunRequest
from vidpipe.runner.sweep import Sweep
from vidpipe.runner.threads import CommitEntry, CommitThread, StageWork, StageWorkers, with_names
from vidpipe.runner.video_state import RunStamp, VideoState
from vidpipe.settings import Settings, audit
from vidpipe.stages.contract import Outcome, OutOfReach, Stage, StageError
from vidpipe.stages.events import NullObserver, Observer, StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import fingerprint
from vidpipe.storage.object_store import DROPPED, LOCAL

log = logging.getLogger(__name__)

#: Videos leased together.
_WINDOW = 32
#: A video that was in progress in this many crashes of the process is retried in a separate process.
_CRASHES_BEFORE_ISOLATION = 2
#: Thresholds of the garbage collector in a new Python process.
_DEFAULT_GC_THRESHOLDS = (700, 10, 10)


@dataclass
class Runner:
    """Runs the stages of a plan over videos of a library.

    Attributes:
        library: The open library.
        plan: The stages to run.
        observer: Receives what happens to each video and stage, from one thread at a time.
        run_id: Stored with every commit.
        cancelled: Set it, from any thread, to stop: no new work starts, finished work is stored, leases are released.
        sweep_size: Videos that a sweep examines together (see `Sweep`).
        report: The report so far; complete once `run` has returned.
    """

    library: Library
    plan: Plan
    observer: Observer = field(default_factory=NullObserver)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cancelled: threading.Event = field(default_factory=threading.Event)
    sweep_size: int = 128
    report: RunReport = field(default_factory=RunReport)

    def run(self, request: RunRequest | None = None) -> RunReport:
        """Bring the videos of `request` (None: all that are due) up to date in the plan's stages.

        Returns:
            What happened; a failed video never stops the others.

        Raises:
            UnavailableError: The library is unreachable for too long.
            KeyboardInterrupt: Passed on after everything finished is stored.
        """
        with self.library.connection.errors_explained(), _garbage_of_this_run_only():
            return _Run(self, request or RunRequest()).execute()


@contextmanager
def _garbage_of_this_run_only() -> Iterator[None]:
    """Keep the garbage collector from examining the objects of loaded packages again and again.

    Measured in a sweep: a quarter of its time. The thresholds are Python's own; a command starts with higher ones.
    """
    given = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_DEFAULT_GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*given)
        gc.unfreeze()


def _run_in_child(
    settings: Settings, graph: StageGraph, request: RunRequest, run_id: str, cancelled: threading.Event
) -> None:
    """Run a request in the child process of an isolated retry."""
    try:
        with Library.open(settings, graph) as library:
            plan = Plan.make(graph, settings, request.stages)
            Runner(library, plan, run_id=run_id, cancelled=cancelled).run(request)
    except VidpipeError as error:  # no crash: the video stays due
        log.warning("the isolated retry could not run: %s", error)


class _Run:
    def __init__(self, runner: Runner, request: RunRequest) -> None:
        self.library = runner.library
        self.plan = runner.plan
        self.run_id = runner.run_id
        self._stamp = RunStamp(runner.run_id, server_clock.now())
        self.cancelled = runner.cancelled
        self.report = runner.report
        self.report.problems.update(runner.plan.problems)
        self.report.unavailable.update(runner.plan.unavailable)
        self._request = request
        self._sweep_size = runner.sweep_size
        self._selection = Selection(runner.library, runner.plan, request)
        self._observer = runner.observer
        self._observer_lock = threading.Lock()
        self._fault: BaseException | None = None
        self._active: set[str] = set()
        self._swept: Counter[str] = Counter()
        self._confirmed: dict[str, set[str]] = {}  # stages the sweep has reported, of videos still to do
        self._changed = threading.Condition()
        widest = max((stage.batch_size for stage in self.plan.stages), default=1)
        self._most_active = max(widest, 4 * self.plan.settings.concurrency.workers)
        self._projection = projection(
            self.plan.graph,
            (read for stage in self.plan.stages for read in stage.all_reads),
            (stage.name for stage in self.plan.stages if stage.reads_previous),
        )

    def execute(self) -> RunReport:
        """Run the request and return the report."""
        videos = self._request.videos
        began = time.monotonic()
        if not self.plan.stages:
            return self.report
        self.library.store_texts(self.plan.texts())
        with self.library.leases() as self._leases:
            if crashed := self._leases.free_dead():
                log.warning("%d videos were in progress in a process that died; they are due again", crashed)
            self._committer = CommitThread(
                self.library, self._leases.owner, self._committed, self._leave, self.stop_with
            )
            self._workers = StageWorkers(self.plan, self.library, self.cancelled, self)
            try:
                ids = self._selection.due() if videos is None else self._selection.given(videos)
                left = self._unswept(ids)
                self._feed(left if videos is None else self._with_work(left))
            except BaseException:
                self.cancelled.set()
                raise
            finally:
                self._workers.close()
                self._committer.close()
                for stage, count in self._swept.items():
                    audit("sweep", run=self.run_id, stage=stage, unchanged=count)
        if self._fault:
            raise self._fault
        self.report.seconds = time.monotonic() - began
        self.report.interrupted = self.cancelled.is_set()
        return self.report

    # --- feeding

    def _unswept(self, videos: Iterable[str]) -> Iterator[str]:
        """Yield those of `videos` that the sweep has not settled; report the others."""
        sweep = Sweep(
            self._selection,
            self._stamp,
            self.cancelled,
            self._report_event,
            self._sweep_size,
        )
        for group, swept in sweep.over(videos):
            for video in swept:
                self._swept.update(video.confirmed)
                video.state.done |= video.confirmed
                if video.unsettled:
                    self._confirmed[video.state.sha256] = video.confirmed
                    continue
                self.report.videos += 1
                self._pass_over_all(video.state)
            if self.cancelled.is_set():
                return
            settled = {video.state.sha256 for video in swept if not video.unsettled}
            yield from (sha256 for sha256 in group if sha256 not in settled)

    def _with_work(self, videos: Iterable[str]) -> Iterable[str]:
        """Yield those of the given videos that have work to do; report the others at once, without a lease."""
        for sha256, state in self._selection.states(videos):
            if state is None:
                self.report.skip("unknown", sha256)
            elif self._selection.wants_any(state):
                yield sha256
            else:
                self.report.videos += 1
                state.done |= self._confirmed.pop(sha256, set())
                self._pass_over_all(state)

    def _feed(self, videos: Iterable[str]) -> None:
        suspects: list[str] = []
        for chunk in chunked(videos, _WINDOW):
            self._wait_until_active(self._most_active - 1)
            if self.cancelled.is_set():
                return
            self.report.videos += len(chunk)
            for state in self._lease(chunk):
                if self._crashes(state):
                    suspects.append(state.sha256)
                    self._leases.give_back([state.sha256])
                else:
                    self._admit(state)
        # Last, so that a video which crashes the process does so when the others are done.
        for sha256 in suspects:
            self._wait_until_active(0)
            for state in self._lease([sha256]) if not self.cancelled.is_set() else ():
                self._admit_suspect(state)
        self._wait_until_active(0)

    def _lease(self, ids: list[str]) -> list[VideoState]:
        documents = self._leases.take(ids, self._projection)
        for busy in set(ids) - {document["_id"] for document in documents}:
            self.report.skip("busy", busy)
            self._report_event(StageEvent(busy, self.plan.stages[0].name, "busy"))
        states = [VideoState(document, self.plan.graph, self._load_scenes) for document in documents]
        for state in states:
            state.done |= self._confirmed.pop(state.sha256, set())
        return states

    def _crashes(self, state: VideoState) -> int:
        return max(int(state.entries[stage.name].get("crashes", 0)) for stage in self.plan.stages)

    def _admit_suspect(self, state: VideoState) -> None:
        crashes = self._crashes(state)
        if crashes < _CRASHES_BEFORE_ISOLATION or not self._request.isolate_crashes:
            self._admit(state)
            return
        self._leases.give_back([state.sha256])
        # The child loads the model, which only one process may hold. Nothing else is in progress here; later work
        # loads the model again.
        self.plan.close()
        isolated = IsolatedRetry(self._selection, self.run_id, self.cancelled, run=_run_in_child)
        for event in isolated.retry(state, crashes):
            self._committed(event)

    def _admit(self, state: VideoState) -> None:
        self._wait_until_active(self._most_active - 1)
        with self._changed:
            self._active.add(state.sha256)
        self._advance(state)

    def _wait_until_active(self, most: int) -> None:
        """Wait until at most `most` videos are in progress. Raise the fault that ended the run meanwhile."""
        with self._changed:
            while len(self._active) > most and self._fault is None:
                self._changed.wait(timeout=0.5)
        if self._fault:
            raise self._fault

    def _load_scenes(self, sha256: str, generation: str) -> list[Document]:
        return self.library.retry(lambda: self.library.videos.scenes_of({sha256: generation})[sha256])

    # --- one video's way

    def _advance(self, state: VideoState) -> None:
        """Send a video to the next stage that has work for it; after the last one it is finished."""
        for stage in self.plan.stages:
            if self.cancelled.is_set():
                break
            if stage.name in state.done:
                continue
            if not self._selection.wants(state, stage) or state.is_of_later_run(
                stage, self.plan.specs[stage.name], self._stamp
            ):
                self._pass_over(state, stage)
            elif not (self._fetches(state, stage) or stage.name in self._request.force) and state.came_back(
                stage, self.plan.specs[stage.name]
            ):
                self._commit(state, stage, None, 0.0)
            else:
                self._workers.put(StageWork(state, stage))
                return
        self._committer.put(CommitEntry(state.sha256))

    def _fetches(self, state: VideoState, stage: Stage) -> bool:
        """Whether to fetch a file that was deleted on purpose; for the stage it is one that is missing."""
        if state.dropped and stage.name == RAW_VIDEO and self._selection.needs_original(state):
            size_bytes, retry = state.item(stage)["ingest.size_bytes"], self.library.retry
            if self._request.refetch or retry(lambda: reserve_refetch(self.library, size_bytes)):
                state.refetched = self.library.places.note(state.sha256, "media", LOCAL, DROPPED)
                state.dropped = not state.refetched
        return state.refetched and stage.name == RAW_VIDEO

    def _pass_over_all(self, state: VideoState) -> None:
        for stage in self.plan.stages:
            if stage.name not in state.done:
                self._pass_over(state, stage)

    def _pass_over(self, state: VideoState, stage: Stage) -> None:
        now = state.state(stage, self.plan.specs[stage.name])
        state.done.add(stage.name)
        if state.dropped and stage.reads_file and self._selection.is_due(state, stage):
            self._report_event(StageEvent(state.sha256, stage.name, "waiting", state.name))
        elif now == "current":
            self._report_event(StageEvent(state.sha256, stage.name, now, state.name))
        elif now == "blocked":  # reported after the failure that it waits for is stored
            self._committer.put(CommitEntry(state.sha256, event=StageEvent(state.sha256, stage.name, now, state.name)))
        elif now in {"failed", "quarantined"}:
            error = state.stored_error(stage)
            self._report_event(StageEvent(state.sha256, stage.name, "failed", state.name, error=error, earlier=True))

    def _commit(self, state: VideoState, stage: Stage, outcome: Outcome | None, seconds: float) -> None:
        """Queue a commit; `outcome` is None if a result marked as stale turned out to be current."""
        used = outcome.used if outcome else None
        try:
            prepared = state.prepare(stage, self.plan.specs[stage.name], self._stamp, outcome, seconds)
        except (TypeError, ValueError) as fault:  # a value without a canonical form: not a number, half a character
            error = StageError(f"Its result cannot be stored: {fault}.", "This is a bug in the stage's code.")
            outcome = with_names(Outcome(state.sha256, error=error, used=used), StageWork(state, stage))
            prepared = state.prepare(stage, self.plan.specs[stage.name], self._stamp, outcome, seconds)
        event = StageEvent(
            state.sha256,
            stage.name,
            "current" if outcome is None else "failed" if outcome.error else "computed",
            state.name,
            seconds=seconds,
            changed=bool(prepared.changed),
            result=outcome.result if outcome else None,
            error=prepared.commit.error,
            data_version=fingerprint(prepared.data),
            code_version=stage.code_version,
            used=used,
        )
        self._committer.put(CommitEntry(state.sha256, prepared, event))

    # --- called by the workers and the commit thread, from their threads

    def began(self, work: StageWork) -> None:
        """Report that a stage starts to work on a video."""
        self._leases.journal.begin(work.state.sha256, work.stage.name)
        self._report_event(StageEvent(work.state.sha256, work.stage.name, "started", work.state.name))

    def progressed(self, stage: str, sha256: str, fraction: float) -> None:
        """Pass progress on to the observer."""
        with self._observer_lock:
            self._observer.on_progress(sha256, stage, fraction)

    def done(self, work: StageWork, outcome: Outcome | None, seconds: float) -> None:
        """Commit the outcome of a stage, and send the video to the next one."""
        self._leases.journal.end(work.state.sha256, work.stage.name)
        if outcome is None:
            if work.stage.optional and not self.cancelled.is_set():  # what follows does not wait for it
                work.state.done.add(work.stage.name)
                self._advance(work.state)
            else:
                self._committer.put(CommitEntry(work.state.sha256))
            return
        if outcome.error and work.stage.name == RAW_VIDEO and work.state.refetched:
            self.library.places.note(work.state.sha256, "media", DROPPED, LOCAL)
        self._commit(work.state, work.stage, with_names(outcome, work), seconds)
        self._advance(work.state)

    def went_out_of_reach(self, stage: Stage, error: OutOfReach) -> None:
        """Note that a stage cannot run any more."""
        log.warning("stage %s: %s; the run continues without it", stage.name, error.message)
        with self._observer_lock:
            self.report.problems.setdefault(stage.name, error)

    def stop_with(self, fault: BaseException) -> None:
        """Stop the run, which raises `fault`."""
        with self._changed:
            self._fault = self._fault or fault
            self.cancelled.set()
            self._changed.notify_all()

    def _committed(self, event: StageEvent) -> None:
        if event.state not in {"current", "blocked"}:
            details = {"error": event.error.message} if event.error else {"changed": event.changed}
            audit("stage", run=self.run_id, video=event.sha256, name=event.name, stage=event.stage, state=event.state,
                  seconds=round(event.seconds, 3), **details)  # fmt: skip
        self._report_event(event)

    def _report_event(self, event: StageEvent) -> None:
        with self._observer_lock:
            self.report.count(event)
            self._observer.on_event(event)

    def _leave(self, sha256: str) -> None:
        with self._changed:
            self._active.discard(sha256)
            self._changed.notify_all()
