"""Starts a program of Dagster: `python -m vidpipe.pipeline.dagster_entrypoint dagster api …`.

Does what Dagster's console scripts do, with three additions. Garbage collection is off during imports, which create
half a million permanent objects: searching these repeatedly takes a fifth of the start of a run's process. The daemon
of a home reports when it is ready and restarts a dead supervisor. And the template of runs (run_template.py) is here.
"""

import contextlib
import gc
import importlib.metadata
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vidpipe.errors import VidpipeError
from vidpipe.pipeline.run_template import PROGRAM
from vidpipe.safe_files import open_private

#: What a code location imports besides the settings, and what Dagster's storage imports. Importing it here keeps the
#: collector off meanwhile, and spares the forks of the template the time.
_IMPORTED = ("vidpipe.pipeline.build", "vidpipe.stages.registry", "alembic.command", "sqlalchemy.dialects.sqlite")


def main() -> None:
    """Run the console script of Dagster that the first argument names with the other arguments."""
    started_at = time.time()
    program = sys.argv.pop(1)
    if program == PROGRAM:
        serve_runs()
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
        with contextlib.suppress(ImportError):  # Dagster reports it where it loads the definitions
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


def serve_runs() -> None:
    """Fork for each run that a `RunTemplate` asks for, until it has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal with `dagster dev`
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended runs leave no zombies
    script = console_script("dagster")
    for line in sys.stdin.buffer:
        arguments, output = json.loads(line)
        if pid := os.fork():
            os.write(sys.stdout.fileno(), str(pid).encode())
            continue
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        with open(os.devnull, "rb") as nothing, open_private(Path(output)) as file:
            for opened, number in ((nothing, 0), (file, 1), (file, 2)):
                os.dup2(opened.fileno(), number)
        os.environ["DAGSTER_EXECUTE_RUN_ARGS"] = arguments
        sys.argv = ["dagster", "api", "execute_run"]
        run_to_end(script)
        return


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
