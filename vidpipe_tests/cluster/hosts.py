"""Hosts on one machine: each has its own address, host name, processes, /tmp and /home, and a cable to one switch.

Made of Linux namespaces and a bridge, so root is needed. What runs on a host dies with its first process; nothing
outside is touched.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

NETWORK = "10.77.0"
_BRIDGE = "vp77"
_TOOLS = ("ip", "unshare", "nsenter", "mount")
#: The first process of a host. bash reaps the orphans of its process table.
_BOOT = """set -e
hostname {name}
mount --bind {home} /home
mount --bind {tmp} /tmp
touch /tmp/.booted
while :; do sleep 1000 & wait $!; done
"""


def why_impossible() -> str:
    """Why no hosts can be made here; "" if they can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"needs {', '.join(missing)}"
    tried = subprocess.run(["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "true"], check=False)
    return "" if tried.returncode == 0 else "may not make namespaces"


def _table(pid: int) -> str:
    """The process table that a process is in."""
    return os.readlink(f"/proc/{pid}/ns/pid")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def switch() -> Iterator[None]:
    """The bridge that all cables lead to. This machine has the address 254 on it."""
    for left in (path.name for path in Path("/sys/class/net").glob(f"{_BRIDGE}*")):  # of a test that was killed
        _ip("link", "del", left)
    _ip("link", "add", _BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{NETWORK}.254/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        yield
    finally:
        _ip("link", "del", _BRIDGE)


class Host:
    """A host. name: its host name; address: its IPv4 address; environment: of what runs on it."""

    def __init__(self, name: str, number: int, folder: Path, environment: Mapping[str, str]) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        self.environment = environment
        self.boots = 0
        self._cable = f"{_BRIDGE}{name}"
        self._folder = folder / name
        self._first: psutil.Process | None = None

    @property
    def home(self) -> Path:
        """Where this machine sees the /home of the host."""
        return self._folder / "home"

    @property
    def logs(self) -> Path:
        return self._folder

    def boot(self) -> None:
        """Starts the host with empty disks, as a new one at the old address."""
        assert self._first is None
        for part in ("home", "tmp"):
            shutil.rmtree(self._folder / part, ignore_errors=True)
            (self._folder / part).mkdir(parents=True)
        (self._folder / "tmp").chmod(0o1777)
        script = _BOOT.format(name=self.name, home=self.home, tmp=self._folder / "tmp")
        spaces = ["--net", "--uts", "--mount", "--pid", "--ipc", "--mount-proc", "--fork"]
        started = subprocess.Popen(["unshare", *spaces, "bash", "-c", script], start_new_session=True)
        while not (self._folder / "tmp/.booted").exists():
            assert started.poll() is None, f"{self.name} does not boot"
            time.sleep(0.02)
        (self._first,) = psutil.Process(started.pid).children()
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._first.pid))
        _ip("link", "set", self._cable, "up")
        self.join()
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.boots += 1

    @property
    def prefix(self) -> list[str]:
        """What a command is called through to run on the host."""
        assert self._first is not None, f"{self.name} is down"
        return ["nsenter", "-t", str(self._first.pid), "-m", "-u", "-i", "-n", "-p", "--wd=/home"]

    def run(self, *command: str | Path, limit_s: float = 180.0) -> str:
        """What a command says; it must succeed."""
        done = subprocess.run(
            [*self.prefix, *map(str, command)], env=self._all(), capture_output=True, text=True, timeout=limit_s,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{self.name}: {shlex.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, log: str, *command: str | Path, as_user: Sequence[str] = (), **environment: str) -> psutil.Popen:
        """A command in the background. Its output is added to the file `log`.log in `logs`."""
        with (self.logs / f"{log}.log").open("ab") as output:
            return psutil.Popen(
                [*self.prefix, *as_user, *map(str, command)], env={**self._all(), **environment}, stdout=output,
                stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def cut(self) -> None:
        """Pulls the cable out of the switch: what the host sends is lost, and nothing tells it so."""
        _ip("link", "set", self._cable, "nomaster")

    def join(self) -> None:
        """Plugs the cable in."""
        _ip("link", "set", self._cable, "master", _BRIDGE)

    def kill(self) -> None:
        """kill -9 of everything that runs on the host."""
        if self._first is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = self._first.parent()
                self._first.send_signal(signal.SIGKILL)  # the kernel ends its whole process table
                if parent is not None:
                    parent.wait(30)
            self._first = None
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("link", "del", self._cable)  # the kernel does so, too, but later

    def processes(self) -> list[psutil.Process]:
        """What runs on the host."""
        found = []
        for process in psutil.process_iter() if self._first is not None else ():
            with contextlib.suppress(OSError):
                if self._first is not None and _table(process.pid) == _table(self._first.pid):
                    found.append(process)
        return found

    def _all(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        return {**kept, "HOME": "/home", "OMP_NUM_THREADS": "1", **self.environment}
