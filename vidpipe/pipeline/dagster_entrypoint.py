"""Starts a program of Dagster: `python -m vidpipe.pipeline.dagster_entrypoint dagster api …`.

Does what Dagster's console scripts do, with two additions. Garbage collection is off during imports, which create half
a million permanent objects: searching these repeatedly takes a fifth of the start of a run's process. And the daemon of
a home reports when it is ready and restarts a dead supervisor.
"""

import contextlib
import gc
import importlib.metadata
import os
import sys
import threading
import time

from vidpipe.errors import VidpipeError

#: What a code location imports besides the settings. Importing it here keeps the collector off meanwhile.
_DEFINITIONS = ("vidpipe.pipeline.build", "vidpipe.stages.registry")


def main() -> None:
    """Run the console script of Dagster that the first argument names with the other arguments."""
    started_at = time.time()
    program = sys.argv.pop(1)
    gc.disable()
    (script,) = importlib.metadata.distribution("dagster").entry_points.select(group="console_scripts", name=program)
    run = script.load()
    if program == "dagster":
        with contextlib.suppress(ImportError):  # Dagster reports it where it loads the definitions
            for module in _DEFINITIONS:
                importlib.import_module(module)
    gc.freeze()
    gc.enable()
    if program == "dagster-daemon":
        threading.Thread(target=_watch_home, args=(started_at,), daemon=True).start()
    try:
        run()
    finally:
        if "torch" not in sys.modules:  # its bindings would report objects that are not collected as leaks
            gc.freeze()  # the process ends: a last collection would be wasted


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
