"""Names of processes by which others can tell whether the one that held something is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

_PARTS = 3


def this_process() -> str:
    """`machine|pid|start`: no process before or after it has the same name."""
    return name_of(os.getpid())


def name_of(pid: int) -> str:
    """The name of a process of this machine."""
    return f"{_machine()}|{pid}|{_start(pid)}"


def pid_of(name: str) -> int | None:
    """The id of the process called `name`; None where it has ended or is another machine's."""
    parts = name.split("|")
    if len(parts) != _PARTS or parts[0] != _machine() or is_dead(name):
        return None
    return int(parts[1])


def is_dead(name: str) -> bool:
    """Whether the process is known to have ended. False where another machine would have to be asked."""
    parts = name.split("|")
    if len(parts) != _PARTS or parts[0] != _machine():
        return False
    return _start(int(parts[1])) != parts[2]


def _machine() -> str:
    """Names the process table a pid belongs to: host, boot and pid namespace (containers share host names)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = os.readlink("/proc/self/ns/pid").removeprefix("pid:").strip("[]")
    except OSError:
        boot, namespace = str(int(psutil.boot_time())), "0"
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start(pid: int) -> str | None:
    """When a process began; None when it has ended (one that nobody has waited for yet has ended too).

    On Linux in ticks since the machine started: the time of day that psutil makes of them shifts with the clock.
    """
    if Path("/proc/self/stat").exists():
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else fields[18]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return None
