"""A process that has imported what runs need and forks for each: imports are three quarters of a run's start.

It gets one line of JSON for each run through a socket, and answers with the pid. It ends when the process that started
it has ended; runs continue. A run reads the definitions and settings itself, as it does in a process of its own.
"""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from vidpipe.operations.services.service_definitions import ENTRYPOINT

#: First argument of the entry point that makes its process a template (see `dagster_entrypoint.serve_runs`).
PROGRAM = "run-template"
#: Imports included, on a busy machine.
_PATIENCE_S = 60.0


class RunTemplate:
    """The template that this process has started, if any. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start the process with `environment`, unless it runs. Returns before it has imported anything."""
        with self._lock:
            self._started(environment)

    def run(self, arguments: str, output: Path, environment: Mapping[str, str]) -> int | None:
        """Start `dagster api execute_run` in a fork.

        Args:
            arguments: The value of DAGSTER_EXECUTE_RUN_ARGS.
            output: The file to append its output to.
            environment: Of the template, if it has to be started.

        Returns:
            The pid; None if the template does not answer.
        """
        with self._lock:
            process, connection = self._started(environment)
            with contextlib.suppress(OSError, ValueError):
                connection.sendall(json.dumps([arguments, str(output)]).encode() + b"\n")
                return int(connection.recv(32))
            process.kill()
            process.wait()
            return None

    def _started(self, environment: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
        if self._running is None or self._running[0].poll() is not None:
            here, there = socket.socketpair()
            here.settimeout(_PATIENCE_S)
            with there:
                command = [sys.executable, "-m", ENTRYPOINT, PROGRAM]
                process = subprocess.Popen(command, env=dict(environment), stdin=there.fileno(), stdout=there.fileno())
            self._running = process, here
        return self._running


#: The one of this process.
TEMPLATE = RunTemplate()
