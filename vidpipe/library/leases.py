"""Who works on a video: a lease in the video's document, renewed while its owner lives.

An owner is named by machine and process, so that the leases of a process that died on this machine are freed at once;
those of another machine run out. What a dead process was working on is read from its journal (a small local file) and
counted against the video: a video that crashes the process twice is tried alone.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from vidpipe.library.journal import Journal, left_open, take_dead
from vidpipe.library.orphans import remove_orphans
from vidpipe.library.processes import is_dead, this_process
from vidpipe.library.schema import Document
from vidpipe.library.states import chunked

log = logging.getLogger(__name__)

LEASE_S = 60.0


class Leases:
    """The leases of one run. Used as a context manager it renews them until the end and frees what is left."""

    def __init__(
        self,
        collections: Mapping[str, Collection[Document]],
        run_directory: Path,
        ride_out: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self.owner = f"{this_process()}|{uuid.uuid4().hex[:8]}"
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
            owner: set() for owner in self._videos.distinct("lease.owner") if is_dead(owner.rpartition("|")[0])
        }
        dead |= take_dead(self._directory)
        crashed = 0
        for owner, begun in dead.items():
            mine = [{"$set": {"lease": {"owner": {"$literal": self.owner}, "until": _in_seconds(LEASE_S)}}}]
            for sha256, stage in begun:
                counted = self._videos.update_one(
                    {"_id": sha256, "lease.owner": owner}, {"$inc": {f"stages.{stage}.crashes": 1}}
                )
                crashed += counted.modified_count
            self._ride_out(partial(self._videos.update_many, {"lease.owner": owner}, mine))
        if dead:
            wanted = {"lease.owner": self.owner}
            held = self._ride_out(lambda: [row["_id"] for row in self._videos.find(wanted, {"_id": 1})])
            self._ride_out(partial(remove_orphans, self._collections, held))
            self.give_back(held)
        return crashed

    def take(self, ids: list[str], projection: dict[str, Any]) -> list[Document]:
        """Takes the lease of those of `ids` that nobody holds; returns their documents as `projection` asks.

        Where an owner's lease ran out (it hangs, or its machine or container died), what it left unfinished is removed
        and, where it shared this home, the crash is counted.
        """
        free = {"$or": [{"lease": {"$exists": False}}, {"$expr": {"$lt": ["$lease.until", "$$NOW"]}}]}
        lease = {"owner": {"$literal": self.owner}, "until": _in_seconds(LEASE_S), "from": "$lease.owner"}

        def operation() -> list[Document]:
            self._videos.update_many({"_id": {"$in": ids}, **free}, [{"$set": {"lease": lease}}])
            held = {"_id": {"$in": ids}, "lease.owner": self.owner}
            documents = list(self._videos.find(held, {**projection, "lease": 1}))
            left = [row for row in documents if "from" in row["lease"]]
            if left:
                remove_orphans(self._collections, [row["_id"] for row in left])
                if self._count_crashes(left):
                    documents = list(self._videos.find(held, {**projection, "lease": 1}))
            return documents

        taken: list[Document] = self._ride_out(operation)
        return taken

    def _count_crashes(self, left: list[Document]) -> int:
        """Counts each only once, also when repeated: with it, the former owner's name goes."""
        counted = 0
        for row in left:
            former = row["lease"]["from"]
            for sha256, stage in left_open(self._directory, former):
                if sha256 == row["_id"]:
                    condition = {"_id": sha256, "lease.owner": self.owner, "lease.from": former}
                    change = {"$inc": {f"stages.{stage}.crashes": 1}, "$unset": {"lease.from": ""}}
                    counted += self._videos.update_one(condition, change).modified_count
        return counted

    def give_back(self, ids: Iterable[str]) -> None:
        for chunk in chunked(ids):
            held = {"_id": {"$in": chunk}, "lease.owner": self.owner}
            self._ride_out(partial(self._videos.update_many, held, {"$unset": {"lease": ""}}))


def _in_seconds(seconds: float) -> Document:
    return {"$add": ["$$NOW", int(seconds * 1000)]}
