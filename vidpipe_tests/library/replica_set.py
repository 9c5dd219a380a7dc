"""A replica set of real mongods on this machine, whose primary can be killed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from vidpipe.library.mongod import find_mongod

NAME = "members"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_mongod(data: Path, port: int, *args: str | Path) -> subprocess.Popen[bytes]:
    """A mongod by hand, when it answers. Its log is beside its data."""
    data.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [find_mongod(), "--dbpath", data, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket",
         "--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false",
         "--logpath", data.with_suffix(".log"), *args],
        stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return process
        assert process.poll() is None, data.with_suffix(".log").read_text()[-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


class ReplicaSet:
    """Members that elect a primary anew within about two seconds."""

    def __init__(self, folder: Path, size: int = 3) -> None:
        self._folder = folder
        self.ports = [free_port() for _ in range(size)]
        self._running = {port: self._start(port) for port in self.ports}
        members = [{"_id": n, "host": f"127.0.0.1:{port}"} for n, port in enumerate(self.ports)]
        config = {
            "_id": NAME, "members": members,
            "settings": {"electionTimeoutMillis": 1000, "heartbeatIntervalMillis": 200},
        }  # fmt: skip
        with self._client(self.ports[0]) as client:
            client.admin.command("replSetInitiate", config)
        self.wait_for_primary()

    @property
    def uri(self) -> str:
        return f"mongodb://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/?replicaSet={NAME}"

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return start_mongod(self._folder / str(port), port, "--replSet", NAME, "--oplogSize", "32")

    @staticmethod
    def _client(port: int) -> MongoClient[dict[str, Any]]:
        return MongoClient(port=port, directConnection=True, serverSelectionTimeoutMS=2000)

    def primary(self) -> int | None:
        """The port of the one that takes writes."""
        for port in self._running:
            with contextlib.suppress(PyMongoError), self._client(port) as client:
                if client.admin.command("hello")["isWritablePrimary"]:
                    return port
        return None

    def wait_for_primary(self) -> int:
        deadline = time.monotonic() + 30
        while (port := self.primary()) is None:
            assert time.monotonic() < deadline, "no primary was elected"
            time.sleep(0.05)
        return port

    def kill_primary(self) -> int:
        """kill -9. Gives its port."""
        port = self.wait_for_primary()
        process = self._running.pop(port)
        process.kill()
        process.wait()
        return port

    def start_again(self, port: int) -> None:
        self._running[port] = self._start(port)

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def replica_set(folder: Path, size: int = 3) -> Iterator[ReplicaSet]:
    folder.mkdir(parents=True, exist_ok=True)
    members = ReplicaSet(folder, size)
    try:
        yield members
    finally:
        members.close()
