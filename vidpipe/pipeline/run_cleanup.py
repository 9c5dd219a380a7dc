"""What starting and stopping the servers of a home requires of Dagster: `python -m vidpipe.pipeline.run_cleanup …`.

`dead` ends the runs whose process was killed, and sets the limits of [Cluster] Pools. `stop SECONDS` ends them, too,
asks the runs that Dagster launched to exit, and waits for them. Standard output has one JSON object a line:
`{"progress": text}`, `{"runs": number}`, or `{"error": class, "message": text, "hint": text}`.
"""

import json
import signal
import sys
import time
from typing import Any

import dagster as dg

from vidpipe.errors import VidpipeError
from vidpipe.pipeline.dagster_internals import set_pool_limits
from vidpipe.pipeline.instance import instance
from vidpipe.pipeline.run_launcher import end_dead_runs, is_alive, launched_runs, signal_run, stop_run
from vidpipe.settings import configure_logging, find_home, load

_POLL_S = 0.2


def stop_runs(dagster: dg.DagsterInstance, limit_s: float) -> int:
    """Ask every run that Dagster launched to stop, and wait until all have stored what is finished.

    Runs of commands in a terminal continue: the only server they need is MongoDB.

    Args:
        dagster: The instance of the home.
        limit_s: Seconds after which the processes that are left are killed.

    Returns:
        The number of runs.
    """
    runs = launched_runs(dagster)
    if runs:
        number = f"{len(runs)} runs are" if len(runs) > 1 else "A run is"
        _report(progress=f"{number} saving finished results …")
    for run in runs:
        stop_run(dagster, run)
    deadline = time.monotonic() + limit_s
    # a run that is marked as finished may still be closing its connections
    while (left := [run for run in runs if is_alive(run)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    for run in left:
        signal_run(run, signal.SIGKILL)
    if runs:
        end_dead_runs(dagster)
    return len(runs)


def _report(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the action that the first argument names; the second is the limit of `stop` in seconds."""
    action, *limit_s = sys.argv[1:]
    try:
        settings = load(find_home()).settings
        configure_logging(settings)
        with instance(settings) as opened:  # which has ended dead runs
            if action == "stop":
                _report(runs=stop_runs(opened, float(limit_s[0])))
            else:
                set_pool_limits(opened, settings.cluster.pool_limits)
    except VidpipeError as error:
        _report(error=type(error).__name__, message=error.message, hint=error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
