"""A process that has imported what a run needs and waits for one: imports are three quarters of a run's start.

It waits on its standard input, and ends if the process that started it does. A run reads the definitions and settings
itself, and starts anew if code has changed since the imports (see `dagster_entrypoint.wait_for_run`).
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, cast

from vidpipe.operations.services.service_definitions import ENTRYPOINT, without_marks

#: First argument of the entry point that makes its process a spare one.
PROGRAM = "next-run"


class SpareProcess:
    """The process for the next run, from the first run on. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None

    def run(self, arguments: str, output: Path) -> int:
        """Run `dagster api execute_run` in the spare process, or in a new one if it has died.

        Args:
            arguments: The value of DAGSTER_EXECUTE_RUN_ARGS.
            output: The file to append its output to.

        Returns:
            The pid.
        """
        with self._lock:
            process = self._spare
            if process is None or process.poll() is not None:
                process = _start()
            self._spare = _start()  # this also reaps runs that have ended, which until then count as dead
        with cast("IO[bytes]", process.stdin) as pipe:
            pipe.write(json.dumps([arguments, str(output)]).encode())
        return process.pid


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", ENTRYPOINT, PROGRAM]
    return subprocess.Popen(command, env=without_marks(os.environ), stdin=subprocess.PIPE, start_new_session=True)


#: The one of this process.
SPARE_PROCESS = SpareProcess()
