"""The runs that Dagster launched for a home, as processes: asked to stop, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

from vidpipe.settings import Settings

_POLL_S = 0.2


def stop_runs(settings: Settings, limit_s: float, say: Callable[[str], None]) -> int:
    """Asks every run that Dagster launched to stop, and waits until all have stored what is finished.

    Runs of commands in a terminal go on: they need no server but MongoDB. One that has not ended after `limit_s` is
    killed. Gives the number of runs.
    """
    from vidpipe.pipeline.instance import instance
    from vidpipe.pipeline.processes import end_dead_runs, is_alive, kill, launched_runs, stop_run

    with instance(settings) as opened:
        runs = launched_runs(opened)
        if not runs:
            return 0
        say(f"{len(runs)} runs store what is finished …" if len(runs) > 1 else "A run stores what is finished …")
        for run in runs:
            stop_run(opened, run)
        deadline = time.monotonic() + limit_s
        # a run that is marked as finished may still be closing its connections
        while (left := [run for run in runs if is_alive(run)]) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        for run in left:
            kill(run)
        end_dead_runs(opened)
        return len(runs)
