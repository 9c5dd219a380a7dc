"""Retries a video that crashed the process before, alone in a child process.

If the child dies too while this process lives, the video is to blame and is quarantined. If both die (they were
killed, or the machine went down), nothing is concluded.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vidpipe.library import server_clock
from vidpipe.runner.due import Selection
from vidpipe.runner.request import RunRequest
from vidpipe.runner.video_state import RunStamp, VideoState
from vidpipe.settings import Settings
from vidpipe.stages.contract import Outcome, Stage, StageError
from vidpipe.stages.events import StageEvent
from vidpipe.stages.graph import StageGraph

_POLL_S = 0.2

#: Runs a request in the child process. Must be a module-level function: the child imports it.
ChildRun = Callable[[Settings, StageGraph, RunRequest, str, threading.Event], None]


@dataclass(frozen=True)
class IsolatedRetry:
    """Retries single videos of a run, each in a child process.

    Attributes:
        selection: The library, the plan and the request of the run.
        run_id: The id of the run.
        cancelled: Stops the child gracefully; nothing is concluded from how it ended then.
        run: What the child runs.
    """

    selection: Selection
    run_id: str
    cancelled: threading.Event
    run: ChildRun

    def retry(self, state: VideoState, crashes: int) -> Iterator[StageEvent]:
        """Run the due stages of one video in a child process; yield what happened in each.

        Args:
            state: The video before the retry.
            crashes: How often it has crashed the process.
        """
        exitcode = self._run_child(state)
        for _, after in self.selection.states([state.sha256]):
            if after is None:
                continue
            yield from self._changes(state, after)
            crashed = [stage for stage in self.selection.plan.stages if self.selection.wants(after, stage)]
            if exitcode and crashed and not self.cancelled.is_set():
                yield from self._quarantine(after, crashed[0], crashes + 1, exitcode)

    def _run_child(self, state: VideoState) -> int | None:
        """Run the child to its end and return its exit code; negative for a signal."""
        plan = self.selection.plan
        request = self.selection.request.model_copy(
            update={
                "videos": (state.sha256,), "stages": tuple(stage.name for stage in plan.stages),
                "check_files": False, "isolate_crashes": False,
            }
        )  # fmt: skip
        arguments = (self.run, plan.settings, plan.graph, request, self.run_id)
        child = multiprocessing.get_context("spawn").Process(target=_child, args=arguments)
        child.start()
        while child.is_alive():
            child.join(_POLL_S)
            if self.cancelled.is_set():
                child.terminate()
                child.join()
        return child.exitcode

    def _changes(self, state: VideoState, after: VideoState) -> Iterator[StageEvent]:
        for stage in self.selection.plan.stages:
            entry: Mapping[str, Any] = after.entries[stage.name]
            if entry.get("commit") == state.entries[stage.name].get("commit"):
                continue
            seconds = entry.get("seconds", 0.0)
            event = StageEvent(state.sha256, stage.name, "computed", state.name, seconds, changed=True)
            error = after.stored_error(stage)
            yield replace(event, state="failed", error=error) if error else event

    def _quarantine(self, state: VideoState, stage: Stage, crashes: int, exitcode: int) -> Iterator[StageEvent]:
        how = f"signal {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit code {exitcode}"
        error = StageError(
            f"{state.name} ({state.sha256[:12]}), stage {stage.name}: it crashed the process {crashes} times, the last "
            f"time alone ({how}). It is quarantined.",
            f"`vidpipe run {state.sha256[:12]} --retry` tries it again, for instance after an update.",
        )
        with self.selection.library.leases() as leases:
            leases.free_dead()
            taken = leases.take([state.sha256], {"_id": 1})
            if not taken:
                return
            state.lease = taken[0]["lease"]["token"]
            outcome = Outcome(state.sha256, error=error)
            run = RunStamp(self.run_id, server_clock.now())
            prepared = state.prepare(stage, self.selection.plan.specs[stage.name], run, outcome, 0.0, quarantined=True)
            self.selection.library.commit([prepared], leases.owner, [state.sha256])
        yield StageEvent(state.sha256, stage.name, "failed", state.name, error=error)


def _child(run: ChildRun, settings: Settings, graph: StageGraph, request: RunRequest, run_id: str) -> None:
    cancelled = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    threading.Thread(target=_stop_after_parent, args=(cancelled,), daemon=True).start()
    run(settings, graph, request, run_id, cancelled)


def _stop_after_parent(cancelled: threading.Event) -> None:
    """Stop the work once the parent has died."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        cancelled.set()
