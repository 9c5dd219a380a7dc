"""Who works on a video: a lease in the video's document, renewed while its owner lives.

An owner is named by machine and process, so that the leases of a process that died on this machine are freed at once;
those of another machine run out. What a dead process was working on is read from its journal (a small local file) and
counted against the video: a video that crashes the process twice is tried alone.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from vidpipe.library.orphans import remove_orphans
from vidpipe.library.schema import Document
from vidpipe.library.states import chunked

log = logging.getLogger(__name__)

LEASE_S = 60.0
_OWNER_PARTS = 4


def _machine() -> str:
    """Names the process table a pid belongs to: host, boot and pid namespace (containers share host names)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        namespace = os.readlink("/proc/self/ns/pid").removeprefix("pid:").strip("[]")
    except OSError:
        boot, namespace = str(int(psutil.boot_time())), "0"
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start_time(pid: int) -> str:
    return f"{psutil.Process(pid).create_time():.2f}"


def owner_name() -> str:
    """A new owner in this process: `machine|pid|start time|random`."""
    return f"{_machine()}|{os.getpid()}|{_start_time(os.getpid())}|{uuid.uuid4().hex[:8]}"


def is_dead(owner: str) -> bool:
    """Whether an owner's process is known to have ended. False where another machine would have to be asked."""
    machine, pid, started, _ = owner.split("|")
    if machine != _machine():
        return False
    try:
        return _start_time(int(pid)) != started
    except psutil.NoSuchProcess:
        return True


class Journal:
    """What this process is working on, written before and after, so that it survives a kill."""

    def __init__(self, directory: Path, owner: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{owner.rsplit('|', 1)[1]}.journal"
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.write(self._file, f"{owner}\n".encode())

    def begin(self, sha256: str, stage: str) -> None:
        os.write(self._file, f"+ {sha256} {stage}\n".encode())

    def end(self, sha256: str, stage: str) -> None:
        os.write(self._file, f"- {sha256} {stage}\n".encode())

    def close(self) -> None:
        os.close(self._file)
        self._path.unlink(missing_ok=True)

    @staticmethod
    def take_dead(directory: Path) -> dict[str, set[tuple[str, str]]]:
        """dead owner -> the (sha256, stage) that it had begun and not ended. Their journals are gone afterwards."""
        dead: dict[str, set[tuple[str, str]]] = {}
        for path in directory.glob("*.journal"):
            try:
                owner, *lines = path.read_text().splitlines() or [""]
                if owner.count("|") != _OWNER_PARTS - 1 or not is_dead(owner):
                    continue
                path.unlink()
            except FileNotFoundError:  # taken by another process
                continue
            open_entries = dead.setdefault(owner, set())
            for line in lines:
                match line.split():
                    case ["+", sha256, stage]:
                        open_entries.add((sha256, stage))
                    case ["-", sha256, stage]:
                        open_entries.discard((sha256, stage))
        return dead


class Leases:
    """The leases of one run. Used as a context manager it renews them until the end and frees what is left."""

    def __init__(
        self,
        collections: Mapping[str, Collection[Document]],
        run_directory: Path,
        ride_out: Callable[[Callable[[], list[Document]]], list[Document]],
    ) -> None:
        self.owner = owner_name()
        self._collections = collections
        self._videos = collections["videos"]
        self._directory = run_directory
        self._ride_out = ride_out
        self._stop = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lease-renewer", daemon=True)
        self.journal = Journal(run_directory, self.owner)

    def __enter__(self) -> Leases:
        self._renewer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._renewer.join(timeout=5)
        self.journal.close()
        try:
            self._videos.update_many({"lease.owner": self.owner}, {"$unset": {"lease": ""}})
        except PyMongoError:
            log.warning("MongoDB is away; the leases of this run are freed by the next one")

    def _renew(self) -> None:
        while not self._stop.wait(LEASE_S / 4):
            try:
                self._videos.update_many({"lease.owner": self.owner}, [{"$set": {"lease.until": _in_seconds(LEASE_S)}}])
            except PyMongoError:
                continue  # the committer reports a server that stays away; a lease that ran out refuses the commit

    def free_dead(self) -> int:
        """Frees the leases of dead processes of this machine, counts their crashes and removes what they left.

        Returns how many videos they were working on.
        """
        dead: dict[str, set[tuple[str, str]]] = {
            owner: set() for owner in self._videos.distinct("lease.owner") if is_dead(owner)
        }
        dead |= Journal.take_dead(self._directory)
        crashed = 0
        for owner, begun in dead.items():
            mine = [{"$set": {"lease": {"owner": {"$literal": self.owner}, "until": _in_seconds(LEASE_S)}}}]
            for sha256, stage in begun:
                counted = self._videos.update_one(
                    {"_id": sha256, "lease.owner": owner}, {"$inc": {f"stages.{stage}.crashes": 1}}
                )
                crashed += counted.modified_count
            self._videos.update_many({"lease.owner": owner}, mine)
        if dead:
            held = [row["_id"] for row in self._videos.find({"lease.owner": self.owner}, {"_id": 1})]
            remove_orphans(self._collections, held)
            self.give_back(held)
        return crashed

    def take(self, ids: list[str], projection: dict[str, Any]) -> list[Document]:
        """Takes the lease of those of `ids` that nobody holds; returns their documents as `projection` asks."""
        free = {"$or": [{"lease": {"$exists": False}}, {"$expr": {"$lt": ["$lease.until", "$$NOW"]}}]}
        lease = {"owner": {"$literal": self.owner}, "until": _in_seconds(LEASE_S)}

        def operation() -> list[Document]:
            self._videos.update_many({"_id": {"$in": ids}, **free}, [{"$set": {"lease": lease}}])
            return list(self._videos.find({"_id": {"$in": ids}, "lease.owner": self.owner}, projection))

        return self._ride_out(operation)

    def give_back(self, ids: Iterable[str]) -> None:
        for chunk in chunked(ids):
            self._videos.update_many({"_id": {"$in": chunk}, "lease.owner": self.owner}, {"$unset": {"lease": ""}})


def _in_seconds(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
