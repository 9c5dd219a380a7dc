"""The files, the process and the port of one home's embedded server."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

Value = TypeVar("Value")

POLL_S = 0.05
#: A killed server can hold its port a moment longer than its process id.
_PORT_RELEASE_S = 1.0
#: Below the range that systems use for outgoing connections, which could occupy our port while the server is down.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class ServerFiles:
    """Where the embedded server of one home keeps its files.

    Attributes:
        data: mongod's dbpath; only its owner may open it.
        log: mongod's log file.
    """

    data: Path
    log: Path

    @property
    def key(self) -> Path:
        """The key file, the secret that clients authenticate with."""
        return self.data / "vidpipe.key"

    @property
    def lock(self) -> Path:
        """The file locked by the vidpipe process that starts or stops the server."""
        return self.data / "vidpipe.lock"

    @property
    def port(self) -> Path:
        """The port last used, so that connected clients find a restarted server again."""
        return self.data / "vidpipe.port"

    @property
    def pid(self) -> Path:
        """The lock file of mongod itself: its process id while it runs, empty after a clean shutdown."""
        return self.data / "mongod.lock"


def find_process(files: ServerFiles) -> tuple[psutil.Process, int] | None:
    """Return the mongod that serves this data folder, and its port."""
    try:
        process = psutil.Process(int(files.pid.read_text()))
        command = process.cmdline()
        if not is_alive(process) or command[command.index("--dbpath") + 1] != str(files.data):
            return None
        return process, int(command[command.index("--port") + 1])
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def accepts_connections(port: int) -> bool:
    """Return whether something listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def poll(condition: Callable[[], Value], limit_s: float) -> Value:
    """Evaluate `condition` until it is true or `limit_s` seconds have passed; return its last value."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()) and time.monotonic() <= deadline:
        time.sleep(POLL_S)
    return value


def wait_until_gone(process: psutil.Process, limit_s: float) -> bool:
    """Wait for a process to exit; return whether it did within `limit_s` seconds."""
    return poll(lambda: not is_alive(process), limit_s)


def choose_port(files: ServerFiles, refused: set[int]) -> int:
    """Return the port last used if it is free, else any free port that is not in `refused`."""
    with contextlib.suppress(OSError, ValueError):
        last = int(files.port.read_text())
        if 1024 <= last <= 65535 and last not in refused and poll(lambda: _bindable(last), _PORT_RELEASE_S):
            return last
    candidates = (*random.sample(_PORTS, 100), 0)  # 0: any that the system finds free
    return next(port for candidate in candidates if candidate not in refused and (port := _bindable(candidate)))


def _bindable(port: int) -> int | None:
    """Return the port that a socket could be bound to; None if `port` is in use."""
    with socket.socket() as probe:
        # Like mongod: connections of a killed server that linger in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        bound: int = probe.getsockname()[1]
        return bound
