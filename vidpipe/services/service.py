"""One server of a home: how it is started, how its process is known again.

A server's process is known by its environment: the home and the name of the service that it was given at its start. So
no record can go stale, be lost, or name a process that is another by now; a server that was started a moment before
its starter was killed is found as well.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import psutil

from vidpipe.library.embedded.process import is_alive, wait_until_gone
from vidpipe.safe_files import open_private, private_directory

#: No name of a setting, which begin with VIDPIPE_.
SERVICE = "_VIDPIPE_SERVICE"
#: name of a server, MongoDB's included, in the order in which they are shown -> how it is called in messages
TITLES = {
    "mongod": "MongoDB", "code": "code server", "measures": "page of measures", "web": "Dagster's page",
    "daemon": "Dagster's daemon", "supervisor": "supervisor",
}  # fmt: skip
#: name of a service -> the Python module that is its program
MODULES = {
    "code": "dagster", "web": "dagster_webserver", "daemon": "vidpipe.services.daemon",
    "measures": "vidpipe.pipeline.metrics_server", "supervisor": "vidpipe.services.supervisor",
}  # fmt: skip
_PORT = "_VIDPIPE_PORT"
FINGERPRINT = "_VIDPIPE_SETTINGS"
#: What makes a process a server; programs that it starts do not inherit these (`without_marks`).
_MARKS = (SERVICE, _PORT, FINGERPRINT)


def without_marks(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a program that is no server of the home."""
    return {name: value for name, value in environment.items() if name not in _MARKS}


@dataclass(frozen=True)
class Running:
    """A server's process. settings: fingerprint of the settings it was started under."""

    process: psutil.Process
    port: int | None
    settings: str

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    @property
    def started(self) -> datetime:
        return datetime.fromtimestamp(self.process.create_time(), UTC)

    @property
    def memory_bytes(self) -> int:
        return int(self.process.memory_info().rss)


@dataclass(frozen=True)
class Service:
    """
    name:       as in its log file's name: web
    title:      as users read it: Dagster's page
    command:    without a secret: other users of the machine can read it
    answers:    whether the server started with this port does its work; called again and again while it starts
    port:       where it listens; None: on no port
    after:      the service that must answer before this one is started
    """

    name: str
    title: str
    command: Sequence[str]
    answers: Callable[[], bool]
    home: Path
    log: Path
    port: int | None = None
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    after: str = ""
    start_limit_s: float = 90.0

    def launch(self, fingerprint: str) -> subprocess.Popen[bytes]:
        """Starts it, detached from the terminal and from this process's group. Its output goes to its log."""
        private_directory(self.log.parent)
        with open_private(self.log) as log:
            return subprocess.Popen(
                list(self.command), env=self._marked(fingerprint), cwd=self.home, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def become(self, fingerprint: str, *arguments: str) -> NoReturn:
        """Replaces this process by the server, in the same terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], [*self.command, *arguments], self._marked(fingerprint))  # noqa: S606

    def _marked(self, fingerprint: str) -> dict[str, str]:
        return {
            **without_marks(os.environ), **self.environment, "VIDPIPE_HOME": str(self.home), SERVICE: self.name,
            _PORT: str(self.port or ""), FINGERPRINT: fingerprint,
        }  # fmt: skip


def find_running(home: Path) -> dict[str, Running]:
    """name -> the running server of `home`."""
    found: dict[str, Running] = {}
    for name, running in _servers(home):
        if name not in found or running.started < found[name].started:  # what it has forked is younger
            found[name] = running
    return found


def _servers(home: Path) -> Iterator[tuple[str, Running]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError):
            environment = process.environ()
            name = environment.get(SERVICE)
            if not name or environment.get("VIDPIPE_HOME") != str(home) or not is_alive(process):
                continue
            # What a server starts (mongod, ffmpeg) has its environment, too, but another command line.
            if MODULES.get(name) in process.cmdline():
                port = environment.get(_PORT)
                yield name, Running(process, int(port) if port else None, environment.get(FINGERPRINT, ""))


def resume(process: psutil.Process) -> bool:
    """Resumes a process that a signal has stopped (SIGSTOP). Returns whether it was stopped."""
    with contextlib.suppress(psutil.Error):
        if process.status() == psutil.STATUS_STOPPED:
            process.resume()
            return True
    return False


def stop(processes: Sequence[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Terminates all processes at once and kills those that still run after `limit_s`. Returns those that survive."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            resume(process)
    deadline = time.monotonic() + limit_s
    left = [process for process in processes if not wait_until_gone(process, deadline - time.monotonic())]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return [process for process in left if not wait_until_gone(process, 10.0)]
