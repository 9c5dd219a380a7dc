"""The servers that machines share, on this machine: Redis, PostgreSQL, a MongoDB replica set. Each can be killed.

All keep their data, port and address over `stop`, `kill` and `start`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library.mongod import find_mongod
from vidpipe_tests.datasets.sql_servers import program, run
from vidpipe_tests.library.replica_set import ReplicaSet as Members
from vidpipe_tests.library.replica_set import free_port

__all__ = ["Postgres", "Redis", "ReplicaSet", "Server", "end", "shared_servers"]

#: PostgreSQL refuses to run as root.
_POSTGRES_USER = "nobody" if os.geteuid() == 0 else None


def end(process: subprocess.Popen[Any], wait_s: float) -> None:
    """Ask a process to end, and kill it if it has not after `wait_s`."""
    process.terminate()
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Server:
    """A server process on a port of its own."""

    user: str | None = None

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> Sequence[str | Path]:
        """What starts it, in the foreground."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Its address, as it is set in config.ini."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in self.command], user=self.user, cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, f"{type(self).__name__} does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self, wait_s: float = 30) -> None:
        """Ask it to end, and wait until it has."""
        self._end(signal.SIGTERM, wait_s)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL, 30)

    def _end(self, number: signal.Signals, wait_s: float) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(wait_s)
            self._process = None


class Redis(Server):
    """Redis, which stores what it holds at `stop` and, after each write, for `kill`."""

    @property
    def command(self) -> Sequence[str | Path]:
        server = program("redis-server", "redis-server")
        return [server, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--appendonly", "yes"]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


class Postgres(Server):
    """PostgreSQL, with the database `dagster` of the user `vidpipe`."""

    user = _POSTGRES_USER

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        if self.user:
            shutil.chown(self.folder, self.user)
        if not (self.folder / "data").exists():
            options = ["-U", "vidpipe", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-A", "trust"]
            run(self.folder, program("initdb", "postgresql"), "-D", f"{self.folder}/data", *options)

    @property
    def command(self) -> Sequence[str | Path]:
        server = Path(program("initdb", "postgresql")).with_name("postgres")
        return [
            server, "-D", self.folder / "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "",
            "-c", "max_connections=200",
        ]  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql://vidpipe@127.0.0.1:{self.port}/dagster"

    def start(self) -> None:
        super().start()
        script = Path(program("psql", "postgresql-client"))
        asked = [str(script), "-h", "127.0.0.1", "-p", str(self.port), "-U", "vidpipe", "-d", "postgres", "-Atc"]
        deadline = time.monotonic() + 60
        while True:  # while it recovers, it accepts connections and refuses queries
            known = subprocess.run(
                [*asked, "SELECT datname FROM pg_database"], capture_output=True, text=True, check=False
            )
            if known.returncode == 0:
                break
            assert time.monotonic() < deadline, known.stderr
            time.sleep(0.1)
        if "dagster" not in known.stdout.split():
            subprocess.run([*asked, "CREATE DATABASE dagster"], check=True, stdout=subprocess.DEVNULL)

    def stop(self, wait_s: float = 30) -> None:
        """End it at once, without waiting for its clients."""
        self._end(signal.SIGINT, wait_s)

    def kill(self) -> None:
        """Crash it: all its processes end at once."""
        self._end(signal.SIGQUIT, 30)


class ReplicaSet:
    """MongoDB: `size` members that elect a primary anew within about two seconds."""

    def __init__(self, folder: Path, size: int = 1) -> None:
        self._folder, self._size = folder, size
        self._members: Members | None = None
        self._killed: list[int] = []

    @property
    def members(self) -> Members:
        """The running members."""
        assert self._members is not None, "start it first"
        return self._members

    @property
    def url(self) -> str:
        """Its address, as [MongoDB] URI wants it."""
        return self.members.uri

    def start(self) -> None:
        """Start the members, or those that were killed again, and wait for a primary."""
        if self._members is None:
            find_mongod()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._members = Members(self._folder, self._size)
        while self._killed:
            self.members.start_again(self._killed.pop())
        self.members.wait_for_primary()

    def kill(self) -> None:
        """Kill the primary. `start` starts it again."""
        self._killed.append(self.members.kill_primary())

    def stop(self) -> None:
        """End all members and delete their data."""
        if self._members is not None:
            self._members.close()
            self._members = None


@contextlib.contextmanager
def shared_servers(folder: Path, members: int = 1) -> Iterator[tuple[Redis, Postgres, ReplicaSet]]:
    """Give the block one of each, started."""
    if shutil.which("redis-server") is None:
        pytest.skip("install Debian's package redis-server")
    redis, postgres, mongo = (
        Redis(folder / "redis"),
        Postgres(folder / "postgres"),
        ReplicaSet(folder / "mongo", members),
    )
    with contextlib.ExitStack() as stop:
        for server in (redis, postgres, mongo):
            stop.callback(server.stop)
            server.start()
        yield redis, postgres, mongo
