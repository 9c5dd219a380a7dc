"""Names of processes, `machine|pid|start`, by which others can tell whether a process of their machine has ended."""

import os
import socket
from pathlib import Path

import psutil

#: Machine, process id and start time.
_NAME_PARTS = 3


def this_process() -> str:
    """Return `machine|pid|start`, a name that no other process ever has."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """Return the name of a process of this machine."""
    return f"{machine_name()}|{pid}|{_start(pid)}"


def pid_of(name: str) -> int | None:
    """Return the id of the process called `name`; None if it has ended or belongs to another machine."""
    parts = name.split("|")
    is_here = len(parts) == _NAME_PARTS and parts[0] == machine_name()
    return int(parts[1]) if is_here and _start(int(parts[1])) == parts[2] else None


def is_dead(name: str) -> bool:
    """Return whether the process is known to have ended; False if only another machine could tell."""
    parts = name.split("|")
    return len(parts) == _NAME_PARTS and parts[0] == machine_name() and _start(int(parts[1])) != parts[2]


def machine_name() -> str:
    """Name the process table a pid belongs to: host, boot and pid namespace (containers share host names)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = os.readlink("/proc/self/ns/pid").removeprefix("pid:").strip("[]")
    except OSError:
        boot, namespace = str(int(psutil.boot_time())), "0"
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start(pid: int) -> str | None:
    """Return when a process started; None if it has ended (a zombie has ended, too).

    On Linux in ticks since boot: the time of day that psutil derives from them shifts with the clock.
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
