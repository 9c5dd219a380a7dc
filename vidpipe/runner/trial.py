"""A video that was being worked on twice when its process died is tried alone, in a process of its own.

If that process dies too while this one lives, the video is to blame and is quarantined. If both die (somebody killed
them, the machine went down), nothing is concluded.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.runner.selection import RunOptions, Selection
from vidpipe.runner.video_state import RunName, VideoState
from vidpipe.settings import Settings
from vidpipe.stages.contract import Outcome, Stage, StageError, StageEvent
from vidpipe.stages.graph import StageGraph

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2


def try_alone(
    library: Library,
    plan: Plan,
    state: VideoState,
    options: RunOptions,
    *,
    crashes: int,
    run_id: str,
    cancelled: threading.Event,
) -> Iterator[StageEvent]:
    """Runs the plan's due stages of one video in a child process; yields what became of each.

    cancelled: stops the child in good order; nothing is concluded from how it ended then.
    """
    names = tuple(stage.name for stage in plan.stages)
    options = replace(options, check_files=False, trials=False)
    context = multiprocessing.get_context("spawn")
    work = {"names": names, "options": options, "sha256": state.sha256, "run_id": run_id}
    child = context.Process(target=_run_in_child, args=(plan.settings, plan.graph), kwargs=work)
    child.start()
    while child.is_alive():
        child.join(_LOOK_EVERY_S)
        if cancelled.is_set():
            child.terminate()
            child.join()
    selection = Selection(library, plan, RunOptions(check_files=False))
    for _, after in selection.states([state.sha256]):
        if after is None:
            continue
        for stage in plan.stages:
            entry, before = after.entries[stage.name], state.entries[stage.name]
            if entry.get("commit") != before.get("commit"):
                event = StageEvent(
                    state.sha256, stage.name, "computed", state.name, entry.get("seconds", 0.0), changed=True
                )
                error = after.stored_error(stage)
                yield replace(event, state="failed", error=error) if error else event
        crashed = [stage for stage in plan.stages if Selection(library, plan, options).wants(after, stage)]
        if child.exitcode and crashed and not cancelled.is_set():
            yield from _quarantine(
                library, plan, after, crashed[0], run_id=run_id, crashes=crashes + 1, exitcode=child.exitcode
            )


def _run_in_child(
    settings: Settings, graph: StageGraph, *, names: tuple[str, ...], options: RunOptions, sha256: str, run_id: str
) -> None:
    from vidpipe.runner.runner import Runner  # the runner starts trials: each needs the other

    cancelled = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    threading.Thread(target=_stop_after_parent, args=(cancelled,), daemon=True).start()
    try:
        with Library.open(settings, graph) as library:
            plan = Plan.make(graph, settings, names)
            Runner(library, plan, options=options, run_id=run_id, cancelled=cancelled).run([sha256])
    except VidpipeError as error:
        log.warning("the trial of video %s could not be made: %s", sha256[:12], error)  # no crash: it stays due


def _stop_after_parent(cancelled: threading.Event) -> None:
    """A killed run must not leave a process behind that works on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        cancelled.set()


def _quarantine(
    library: Library, plan: Plan, state: VideoState, stage: Stage, *, run_id: str, crashes: int, exitcode: int
) -> Iterator[StageEvent]:
    how = f"signal {signal.Signals(-exitcode).name}" if exitcode < 0 else f"exit code {exitcode}"
    error = StageError(
        f"{state.name} ({state.sha256[:12]}), stage {stage.name}: it crashed the process {crashes} times, the last "
        f"time alone ({how}). It is quarantined.",
        f"`vidpipe run {state.sha256[:12]} --retry` tries it again, for instance after an update.",
    )
    with library.leases() as leases:
        leases.free_dead()
        if not leases.take([state.sha256], {"_id": 1}):
            return
        outcome = Outcome(state.sha256, error=error)
        run = RunName(run_id, datetime.now(UTC))
        prepared = state.prepare(stage, plan.specs[stage.name], run, outcome, 0.0, quarantined=True)
        library.commit([prepared], leases.owner, [state.sha256])
    yield StageEvent(state.sha256, stage.name, "failed", state.name, error=error)
