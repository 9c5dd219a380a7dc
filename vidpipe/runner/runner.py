"""The one loop over videos and stages.

The runner asks the library which videos are due, takes a lease on them, moves each through the stages of the run, and
has every result committed. Each stage has its own threads and queue, so that decoding, the model and writing overlap;
the number of videos on the way is bounded, so memory does not grow with the number of videos.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from vidpipe.library.library import Library
from vidpipe.library.video_ids import chunked
from vidpipe.library.videos import projection
from vidpipe.runner.committing import CommitThread, Write
from vidpipe.runner.plan import Plan
from vidpipe.runner.report import RunReport
from vidpipe.runner.selection import RunOptions, Selection
from vidpipe.runner.sweep import Sweep
from vidpipe.runner.trial import try_alone
from vidpipe.runner.video_state import Document, RunName, VideoState
from vidpipe.runner.workers import StageWorkers, Work, named
from vidpipe.settings import audit
from vidpipe.stages.contract import Observer, Outcome, OutOfReach, Stage, StageError, StageEvent
from vidpipe.stages.versions import fingerprint

log = logging.getLogger(__name__)

#: Videos leased together.
_WINDOW = 32
#: A video that was being worked on this often when its process died is tried alone, in a process of its own.
_CRASHES_BEFORE_TRIAL = 2
#: Objects more than were let go until garbage is looked for, as in a new Python process.
_PYTHONS_THRESHOLD = (700, 10, 10)


class Silent:
    """The observer of a run that nobody watches."""

    def on_event(self, event: StageEvent) -> None: ...

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None: ...


@dataclass
class Runner:
    """Runs the stages of `plan` over videos of `library`.

    observer:  told about each video and stage, from one thread at a time
    cancelled: set it (from any thread) to stop: no new work is begun, finished work is stored, leases are given back
    """

    library: Library
    plan: Plan
    observer: Observer = field(default_factory=Silent)
    options: RunOptions = field(default_factory=RunOptions)
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def run(self, videos: Iterable[str] | None = None) -> RunReport:
        """Brings `videos` (sha256; None: all that are due) up to date in the plan's stages.

        Returns what happened; one video's failure never stops the others. Raises UnavailableError when the library
        is out of reach for too long; KeyboardInterrupt passes on after everything finished is stored.
        """
        with self.library.connection.errors_explained(), _loaded_once():
            return _Run(self).execute(videos)


@contextmanager
def _loaded_once() -> Iterator[None]:
    """Garbage is looked for among a run's own objects only, not among those of every loaded package again and again.

    Measured in a sweep: a quarter of its time. As often as Python does by itself: a command starts with fewer looks.
    """
    given = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_PYTHONS_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*given)
        gc.unfreeze()


class _Run:
    def __init__(self, runner: Runner) -> None:
        self.library = runner.library
        self.plan = runner.plan
        self.run_id = runner.run_id
        self._name = RunName(runner.run_id, datetime.now(UTC))
        self.cancelled = runner.cancelled
        self.report = RunReport(problems=dict(runner.plan.unavailable))
        self._options = runner.options
        self._selection = Selection(runner.library, runner.plan, runner.options)
        self._observer = runner.observer
        self._tell_lock = threading.Lock()
        self._fault: BaseException | None = None
        self._active: set[str] = set()
        self._swept: Counter[str] = Counter()
        self._confirmed: dict[str, set[str]] = {}  # of videos that wait: what the sweep has told of them
        self._changed = threading.Condition()
        widest = max((stage.batch_size for stage in self.plan.stages), default=1)
        self._most_active = max(widest, 4 * self.plan.settings.concurrency.workers)
        self._projection = projection(
            self.plan.graph,
            (read for stage in self.plan.stages for read in stage.reads),
            (stage.name for stage in self.plan.stages if stage.reads_previous),
        )

    def execute(self, videos: Iterable[str] | None) -> RunReport:
        began = time.monotonic()
        if not self.plan.stages:
            return self.report
        self.library.store_texts(self.plan.texts())
        with self.library.leases() as self._leases:
            if crashed := self._leases.free_dead():
                log.warning("%d videos were being worked on by a process that died; they are due again", crashed)
            self._committer = CommitThread(
                self.library, self._leases.owner, self._committed, self._leave, self.stop_with
            )
            self._workers = StageWorkers(self.plan, self.library.cells(self.run_id), self.cancelled, self)
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
        """Those of `videos` that the sweep has not settled; what it has is reported."""
        sweep = Sweep(
            self.library, self.plan, self._selection, self._name, self.cancelled, self._load_scenes, self._tell
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
        """Of the given videos those with work to do; the others are reported at once, without a lease."""
        for sha256, state in self._selection.states(videos):
            if state is None:
                self.report.note_unknown(sha256)
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
            self.report.note_busy(busy)
            self._tell(StageEvent(busy, self.plan.stages[0].name, "busy"))
        states = [VideoState(document, self.plan.graph, self._load_scenes) for document in documents]
        for state in states:
            state.done |= self._confirmed.pop(state.sha256, set())
        return states

    def _crashes(self, state: VideoState) -> int:
        return max(int(state.entries[stage.name].get("crashes", 0)) for stage in self.plan.stages)

    def _admit_suspect(self, state: VideoState) -> None:
        crashes = self._crashes(state)
        if crashes < _CRASHES_BEFORE_TRIAL or not self._options.trials:
            self._admit(state)
            return
        self._leases.give_back([state.sha256])
        # The trial's process loads the model, which one process at a time holds. Nothing else is at work here, and what
        # comes after loads it again.
        self.plan.close()
        for event in try_alone(
            self.library, self.plan, state, self._options,
            crashes=crashes, run_id=self.run_id, cancelled=self.cancelled,
        ):  # fmt: skip
            self._committed(event)

    def _admit(self, state: VideoState) -> None:
        self._wait_until_active(self._most_active - 1)
        with self._changed:
            self._active.add(state.sha256)
        self._advance(state)

    def _wait_until_active(self, most: int) -> None:
        """Waits until at most `most` videos are on their way. Raises the fault that ended the run meanwhile."""
        with self._changed:
            while len(self._active) > most and self._fault is None:
                self._changed.wait(timeout=0.5)
        if self._fault:
            raise self._fault

    def _load_scenes(self, sha256: str, generation: str) -> list[Document]:
        return self.library.retry(lambda: self.library.videos.scenes_of({sha256: generation})[sha256])

    # --- one video's way

    def _advance(self, state: VideoState) -> None:
        """Sends a video to the next stage that has work for it; past the last one it is finished."""
        for stage in self.plan.stages:
            if self.cancelled.is_set():
                break
            if stage.name in state.done:
                continue
            if not self._selection.wants(state, stage) or state.is_of_later_run(
                stage, self.plan.specs[stage.name], self._name
            ):
                self._pass_over(state, stage)
            elif stage.name not in self._options.force and state.came_back(stage, self.plan.specs[stage.name]):
                self._commit(state, stage, None, 0.0)
            else:
                self._workers.put(Work(state, stage))
                return
        self._committer.put(Write(state.sha256))

    def _pass_over_all(self, state: VideoState) -> None:
        for stage in self.plan.stages:
            if stage.name not in state.done:
                self._pass_over(state, stage)

    def _pass_over(self, state: VideoState, stage: Stage) -> None:
        now = state.state(stage, self.plan.specs[stage.name])
        state.done.add(stage.name)
        if now == "current":
            self._tell(StageEvent(state.sha256, stage.name, now, state.name))
        elif now == "blocked":  # told after the failure that it waits for is stored
            self._committer.put(Write(state.sha256, event=StageEvent(state.sha256, stage.name, now, state.name)))
        elif now in {"failed", "quarantined"}:
            error = state.stored_error(stage)
            self._tell(StageEvent(state.sha256, stage.name, "failed", state.name, error=error, earlier=True))

    def _commit(self, state: VideoState, stage: Stage, outcome: Outcome | None, seconds: float) -> None:
        """outcome: None when a result marked as stale turned out to be current after all."""
        used = outcome.used if outcome else None
        try:
            prepared = state.prepare(stage, self.plan.specs[stage.name], self._name, outcome, seconds)
        except (TypeError, ValueError) as fault:  # a value without a canonical form: not a number, half a character
            error = StageError(f"Its result cannot be stored: {fault}.", "This is a fault of the stage's code.")
            outcome = named(Outcome(state.sha256, error=error, used=used), Work(state, stage))
            prepared = state.prepare(stage, self.plan.specs[stage.name], self._name, outcome, seconds)
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
        self._committer.put(Write(state.sha256, prepared, event))

    # --- told by the workers and the committer, from their threads

    def began(self, work: Work) -> None:
        self._leases.journal.begin(work.state.sha256, work.stage.name)
        self._tell(StageEvent(work.state.sha256, work.stage.name, "started", work.state.name))

    def progressed(self, sha256: str, stage: str, fraction: float) -> None:
        with self._tell_lock:
            self._observer.on_progress(sha256, stage, fraction)

    def done(self, work: Work, outcome: Outcome | None, seconds: float) -> None:
        self._leases.journal.end(work.state.sha256, work.stage.name)
        if outcome is None:
            self._committer.put(Write(work.state.sha256))
            return
        self._commit(work.state, work.stage, named(outcome, work), seconds)
        self._advance(work.state)

    def went_out_of_reach(self, stage: Stage, error: OutOfReach) -> None:
        log.warning("stage %s: %s; the run goes on without it", stage.name, error.message)
        with self._tell_lock:
            self.report.problems.setdefault(stage.name, error)

    def stop_with(self, fault: BaseException) -> None:
        with self._changed:
            self._fault = self._fault or fault
            self.cancelled.set()
            self._changed.notify_all()

    def _committed(self, event: StageEvent) -> None:
        if event.state not in {"current", "blocked"}:
            said = {"error": event.error.message} if event.error else {"changed": event.changed}
            audit("stage", run=self.run_id, video=event.sha256, name=event.name, stage=event.stage, state=event.state,
                  seconds=round(event.seconds, 3), **said)  # fmt: skip
        self._tell(event)

    def _tell(self, event: StageEvent) -> None:
        with self._tell_lock:
            self.report.count(event)
            self._observer.on_event(event)

    def _leave(self, sha256: str) -> None:
        with self._changed:
            self._active.discard(sha256)
            self._changed.notify_all()
