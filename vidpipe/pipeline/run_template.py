"""A process that has imported what runs need and forks for each: imports are three quarters of a run's start.

It gets one line of JSON for each run through a socket, and answers with the pid. It ends when the process that started
it has ended; runs continue. A run reads the definitions and settings itself, as it does in a process of its own.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from vidpipe.errors import UnavailableError
from vidpipe.operations.services.service_definitions import ENTRYPOINT, without_marks

#: First argument of the entry point that makes its process a template (see `dagster_entrypoint.serve_runs`).
PROGRAM = "run-template"
#: Imports included, on a busy machine.
_PATIENCE_S = 60.0


class RunTemplate:
    """The template that this process has started, if any. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def run(self, arguments: str, output: Path) -> int:
        """Start `dagster api execute_run` in a fork.

        Args:
            arguments: The value of DAGSTER_EXECUTE_RUN_ARGS.
            output: The file to append its output to.

        Returns:
            The pid.

        Raises:
            UnavailableError: No template answers.
        """
        with self._lock:
            for _ in range(2):  # the first one may just have been killed
                process, connection = self._started()
                with contextlib.suppress(OSError, ValueError):
                    connection.sendall(json.dumps([arguments, str(output)]).encode() + b"\n")
                    return int(connection.recv(32))
                process.kill()
                process.wait()
        raise UnavailableError("The process that starts runs does not answer.", "The daemon's log says why.")

    def _started(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._running is None or self._running[0].poll() is not None:
            here, there = socket.socketpair()
            here.settimeout(_PATIENCE_S)
            with there:
                command, number = [sys.executable, "-m", ENTRYPOINT, PROGRAM], there.fileno()
                process = subprocess.Popen(command, env=without_marks(os.environ), stdin=number, stdout=number)
            self._running = process, here
        return self._running


#: The one of this process.
TEMPLATE = RunTemplate()
