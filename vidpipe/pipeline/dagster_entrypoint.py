"""Starts a program of Dagster: `python -m vidpipe.pipeline.dagster_entrypoint dagster api …`.

Does what Dagster's console scripts do, with three additions. Garbage collection is off during imports, which create
half a million permanent objects: searching these repeatedly takes a fifth of the start of a run's process. The daemon
of a home reports when it is ready and restarts a dead supervisor. And a spare process waits for the next run.
"""

import contextlib
import gc
import importlib.metadata
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vidpipe.errors import VidpipeError
from vidpipe.operations.services.service_definitions import ENTRYPOINT
from vidpipe.pipeline.spare_process import PROGRAM
from vidpipe.safe_files import open_private

#: What a code location imports besides the settings, and what Dagster's storage imports. Importing it here keeps the
#: collector off meanwhile, and a spare process does it before its run is launched.
_IMPORTED = ("vidpipe.pipeline.build", "vidpipe.stages.registry", "alembic.command", "sqlalchemy.dialects.sqlite")
#: A spare process is started when a run is launched, and leaves the cores to that run's start.
_HEAD_START_S = 2.0


def main() -> None:
    """Run the console script of Dagster that the first argument names with the other arguments."""
    started_at = time.time()
    program = sys.argv.pop(1)
    if program == PROGRAM:
        wait_for_run(started_at)
        return
    script = console_script(program)
    if program == "dagster-daemon":
        threading.Thread(target=_watch_home, args=(started_at,), daemon=True).start()
    run_to_end(script)


def console_script(program: str) -> Callable[[], object]:
    """Import a console script of Dagster and, for `dagster`, what the code location needs."""
    gc.disable()
    (script,) = importlib.metadata.distribution("dagster").entry_points.select(group="console_scripts", name=program)
    run: Callable[[], object] = script.load()
    if program == "dagster":
        with contextlib.suppress(Exception):  # Dagster reports it where it loads the definitions
            for module in _IMPORTED:
                importlib.import_module(module)
    gc.freeze()
    gc.enable()
    return run


def run_to_end(script: Callable[[], object]) -> None:
    """Run `script`, after which the process ends."""
    try:
        script()
    finally:
        if "torch" not in sys.modules:  # its bindings would report objects that are not collected as leaks
            gc.freeze()  # the process ends: a last collection would be wasted


def wait_for_run(started_at: float) -> None:
    """Import what a run needs, wait for a run, and execute it (see spare_process.py)."""
    select.select([sys.stdin], [], [], _HEAD_START_S)
    script = console_script("dagster")
    request = sys.stdin.buffer.read()
    if not request:  # the process that started this one has ended
        return
    os.environ["DAGSTER_EXECUTE_RUN_ARGS"], output = json.loads(request)
    with open(os.devnull, "rb") as nothing, open_private(Path(output)) as file:
        for opened, number in ((nothing, 0), (file, 1), (file, 2)):
            os.dup2(opened.fileno(), number)
    sys.argv = ["dagster", "api", "execute_run"]
    if _code_changed(started_at):
        os.execv(sys.executable, [sys.executable, "-m", ENTRYPOINT, *sys.argv])  # noqa: S606
    run_to_end(script)


def _code_changed(since: float) -> bool:
    """Return whether a file of an imported module was written, replaced or removed."""
    paths = {path for module in [*sys.modules.values()] if (path := getattr(module, "__file__", None))}
    try:
        return any(os.stat(path).st_ctime >= since for path in paths)
    except FileNotFoundError:
        return True


def _watch_home(started_at: float) -> None:
    """Report that the daemon is ready and watch the supervisor. Does nothing in a daemon that was started by hand."""
    import dagster as dg

    from vidpipe.operations.services.service_definitions import FINGERPRINT
    from vidpipe.operations.services.state import report_ready
    from vidpipe.operations.services.supervisor import watch_supervisor
    from vidpipe.settings import find_home, load

    fingerprint = os.environ.get(FINGERPRINT)
    if not fingerprint:
        return
    settings = load(find_home()).settings
    with dg.DagsterInstance.get() as instance:
        while not any(beat.timestamp >= started_at for beat in instance.get_daemon_heartbeats().values()):
            time.sleep(0.2)
    with contextlib.suppress(VidpipeError, OSError):
        report_ready(settings, "daemon")
    watch_supervisor(settings, fingerprint)


if __name__ == "__main__":
    main()
