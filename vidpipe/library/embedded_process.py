"""What lies in the embedded server's data folder, and the process and port that belong to it."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

#: How often something awaited is looked at again.
POLL_S = 0.05
_PORT_FREED_S = 1.0
#: Below the range from which systems take ports for outgoing connections, which could sit on ours while it is down.
_PORTS = range(20_000, 32_000)


@dataclass(frozen=True)
class Files:
    """Where the embedded server of one home keeps what; `data` is mongod's dbpath and belongs to the user alone."""

    data: Path
    log: Path

    @property
    def key(self) -> Path:
        """The secret that clients prove to know."""
        return self.data / "vidpipe.key"

    @property
    def lock(self) -> Path:
        """Held by the vidpipe process that starts or stops the server."""
        return self.data / "vidpipe.lock"

    @property
    def port(self) -> Path:
        """The port last used, so that a restarted server is found again by clients that are already connected."""
        return self.data / "vidpipe.port"

    @property
    def pid(self) -> Path:
        """mongod's own lock file: its process id while it runs, empty after a clean end."""
        return self.data / "mongod.lock"


def find_process(files: Files) -> tuple[psutil.Process, int] | None:
    """The mongod on this data folder and its port."""
    try:
        process = psutil.Process(int(files.pid.read_text()))
        command = process.cmdline()
        if not is_alive(process) or command[command.index("--dbpath") + 1] != str(files.data):
            return None
        return process, int(command[command.index("--port") + 1])
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def wait_until_gone(process: psutil.Process, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def choose_port(files: Files, refused: set[int]) -> int:
    """The port last used if it is free, else any free one that is not in `refused`."""
    with contextlib.suppress(OSError, ValueError):
        last = int(files.port.read_text())
        if 1024 <= last <= 65535 and last not in refused and _soon_bindable(last):
            return last
    for port in random.sample(_PORTS, 100):
        if port not in refused and _bindable(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        any_free: int = probe.getsockname()[1]
        return any_free


def _soon_bindable(port: int) -> bool:
    """A killed server can hold its port a moment longer than its name among the processes."""
    deadline = time.monotonic() + _PORT_FREED_S
    while not (free := _bindable(port)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return free


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        # As mongod does: connections of a killed server that linger in TIME_WAIT do not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
