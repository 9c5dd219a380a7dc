"""Who works on a video: a lease in the video's document, renewed while its owner lives.

An owner is named after machine and process, so that the leases of a process that died on this machine are released at
once; those of another machine expire. What a dead process was working on is read from its journal, a small local file,
or from its copy in the collection `owners`, and counted against the video: a video that crashes the process twice is
tried alone.

Each lease has a new token, which commits carry: whoever lost a lease, for however short a time, can commit nothing with
it. All times are the server's.
"""

import logging
import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from vidpipe.library import server_clock
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.library.retry import Retry, repeating
from vidpipe.library.schema import UNLEASED, Collections, Document
from vidpipe.library.videos import chunked

log = logging.getLogger(__name__)

LEASE_S = 45.0
#: What a machine that was cut off had sent may arrive so long after its reconnection: TCP repeats it every two minutes.
LATEST_ARRIVAL = timedelta(minutes=3)
#: What begins is copied to the collection `owners` at once, but no more often than this.
_COPY_EVERY_S, _LONGEST_WAIT_S = 0.1, 0.05


class Leases:
    """The leases of one run. Obtain it from `holding_leases`, which renews them.

    Attributes:
        owner: The name of this run in its leases.
        journal: What the run is working on.
    """

    def __init__(self, collections: Collections, run_directory: Path, retry: Retry) -> None:
        self.owner = f"{this_process()}|{uuid.uuid4().hex[:8]}"
        self._collections = collections
        self._videos = collections["videos"]
        self._owners = collections["owners"]
        self._directory = run_directory
        self._retry = retry
        self.journal = Journal(run_directory, self.owner)

    def renew(self) -> None:
        """Extend the leases. If they expire nevertheless, the run can commit nothing any more."""
        server_clock.synchronize(self._videos.database.client)
        self._videos.update_many({"lease.owner": self.owner}, [{"$set": {"lease.until": _lease_end()}}])
        self._copy_journal()

    def copy_begun(self) -> None:
        """Wait for work to begin and tell the other machines: a container that dies takes its journal with it."""
        if self.journal.has_begun.wait(_LONGEST_WAIT_S):
            self._copy_journal()

    def _copy_journal(self) -> None:
        self.journal.has_begun.clear()
        begun = {"begun": [list(one) for one in self.journal.begun()]}
        self._owners.update_one({"_id": self.owner}, {"$set": begun, "$currentDate": {"renewed_at": True}}, upsert=True)

    def close(self) -> None:
        """Release all leases and remove the journal."""
        self.journal.close()
        try:
            self._videos.update_many({"lease.owner": self.owner}, {"$unset": {"lease": ""}})
            self._owners.delete_one({"_id": self.owner})
        except PyMongoError:
            log.warning("MongoDB is unavailable; the next run releases the leases of this one")

    def free_dead(self) -> int:
        """Release the leases of dead processes of this machine, count their crashes and remove their leftovers.

        Also removes what refused commits of any machine left.

        Returns:
            How many videos they were working on.
        """
        dead: dict[str, set[tuple[str, str]]] = {owner: set() for owner in _dead_owners(self._collections)}
        dead |= take_dead(self._directory)
        crashed = 0
        for owner, begun in dead.items():
            lease = {"owner": {"$literal": self.owner}, "token": uuid.uuid4().hex, "until": _lease_end()}
            for sha256, stage in begun:
                counted = self._videos.update_one(
                    {"_id": sha256, "lease.owner": owner}, {"$inc": {f"stages.{stage}.crashes": 1}}
                )
                crashed += counted.modified_count
            self._retry(partial(self._videos.update_many, {"lease.owner": owner}, [{"$set": {"lease": lease}}]))
        late = self._retry(lambda: [row["_id"] for row in self._videos.find(_arrived(), {"_id": 1})])
        if late:  # `take` removes what they left
            self.give_back(row["_id"] for row in self.take(late, {"_id": 1}))
        if dead:
            query = {"lease.owner": self.owner}
            held = self._retry(lambda: [row["_id"] for row in self._videos.find(query, {"_id": 1})])
            self._retry(partial(remove_orphans, self._collections, held))
            self.give_back(held)
        return crashed

    def take(self, ids: list[str], projection: dict[str, Any]) -> list[Document]:
        """Lease those of `ids` that no other run holds; return the fields of their documents in `projection`.

        If an owner's lease expired (it hangs, or its machine or container died), what it left unfinished is removed,
        and what it was working on counts as crashed.
        """
        token = uuid.uuid4().hex
        lease = {"owner": {"$literal": self.owner}, "token": token, "until": _lease_end(), "from": "$lease.owner"}

        def operation() -> list[Document]:
            self._videos.update_many({"_id": {"$in": ids}, **UNLEASED}, [{"$set": {"lease": lease}}])
            held = {"_id": {"$in": ids}, "lease.owner": self.owner}
            documents = list(self._videos.find(held, {**projection, "lease": 1, "late_commit": 1}))
            new = [row for row in documents if row["lease"]["token"] == token]  # commits to others may be under way
            expired = [row for row in new if "from" in row["lease"]]
            left_over = [row["_id"] for row in new if "from" in row["lease"] or row.get("late_commit")]
            if left_over:
                remove_orphans(self._collections, left_over)
                if expired and self._count_crashes(expired):
                    documents = list(self._videos.find(held, {**projection, "lease": 1}))
            return documents

        taken: list[Document] = self._retry(operation)
        return taken

    def _count_crashes(self, expired: list[Document]) -> int:
        """Count each crash once, also when repeated: the former owner's name is removed with it."""
        counted = 0
        former_owners = self._owners.find({"_id": {"$in": sorted({row["lease"]["from"] for row in expired})}})
        begun = {owner["_id"]: owner["begun"] for owner in former_owners}
        for row in expired:
            former = row["lease"]["from"]
            for sha256, stage in begun.get(former, ()):
                if sha256 == row["_id"] and former != self.owner:
                    condition = {"_id": sha256, "lease.owner": self.owner, "lease.from": former}
                    change = {"$inc": {f"stages.{stage}.crashes": 1}, "$unset": {"lease.from": ""}}
                    counted += self._videos.update_one(condition, change).modified_count
        return counted

    def give_back(self, ids: Iterable[str]) -> None:
        """Release the leases of these videos."""
        for chunk in chunked(ids):
            held = {"_id": {"$in": chunk}, "lease.owner": self.owner}
            self._retry(partial(self._videos.update_many, held, {"$unset": {"lease": ""}}))


@contextmanager
def holding_leases(collections: Collections, run_directory: Path, retry: Retry) -> Iterator[Leases]:
    """Give the block new leases, renewed while it runs and released at its end.

    Args:
        collections: The library's collections.
        run_directory: The folder of the home for journals.
        retry: Runs an operation that may be repeated, as `Library.retry` does.
    """
    leases = Leases(collections, run_directory, retry)
    try:
        copying = repeating(leases.copy_begun, _COPY_EVERY_S, "journal-copier")
        with repeating(leases.renew, LEASE_S / 4, "lease-renewer"), copying:
            yield leases
    finally:
        leases.close()


def free_dead(collections: Collections, run_directory: Path, retry: Retry) -> int:
    """Do what `Leases.free_dead` does. Takes milliseconds if no process has died.

    Args:
        collections: The library's collections.
        run_directory: The folder of the home for journals.
        retry: Runs an operation that may be repeated, as `Library.retry` does.

    Returns:
        How many videos dead processes held.
    """
    owners, videos = _dead_owners(collections), collections["videos"]
    if not owners and not any(_dead_journals(run_directory)) and videos.find_one(_arrived(), {"_id": 1}) is None:
        return 0
    held = videos.count_documents({"lease.owner": {"$in": owners}})
    with holding_leases(collections, run_directory, retry) as leases:
        leases.free_dead()
    return held


def _dead_owners(collections: Collections) -> list[str]:
    """Return the holders of leases whose process on this machine has ended."""
    return [owner for owner in collections["videos"].distinct("lease.owner") if is_dead(owner.rpartition("|")[0])]


def _arrived() -> Document:
    """Match the videos for which nothing of a refused commit can arrive any more."""
    return {"late_commit.at": {"$lt": server_clock.now() - LATEST_ARRIVAL}}


def _lease_end() -> Document:
    return {"$add": ["$$NOW", int(LEASE_S * 1000)]}


def remove_orphans(collections: Collections, ids: Sequence[str]) -> None:
    """Remove scenes and lineage that no video's document names: what an interrupted commit left.

    Args:
        collections: The library's collections.
        ids: Videos whose lease the caller holds, so that no other process is writing what looks like an orphan.
    """
    videos, lineage = collections["videos"], collections["lineage"]
    fields = {"scene_generation": 1, "stages": 1, "late_commit": 1, "lease.token": 1}
    for chunk in chunked(ids, 100):
        arrived = _arrived()
        leases: dict[str, str] = {}
        unnamed: list[Document] = []
        for document in list(videos.find({"_id": {"$in": chunk}}, fields)):
            sha256 = document["_id"]
            leases[sha256] = document.get("lease", {}).get("token", "")
            unnamed.append({"video": sha256, "generation": {"$ne": document.get("scene_generation")}})
            for token in document.get("late_commit", {}).get("tokens", ()):
                lineage.delete_many({"_id": {"$regex": f"^{token}:"}})
            for stage, entry in document["stages"].items():
                newer = {"at": {"$gt": entry["at"]}} if "at" in entry else {}
                lineage.delete_many({"video": sha256, "stage": stage, **newer})
        held = remove_scenes(collections, unnamed, leases)
        videos.update_many({"_id": {"$in": sorted(held)}, **arrived}, {"$unset": {"late_commit": ""}})


def remove_scenes(collections: Collections, unwanted: Sequence[Document], leases: Mapping[str, str]) -> set[str]:
    """Remove scenes of videos whose lease is still held, and return these videos.

    Each scene names the lease under which it was written. Removed is what was there before the leases were found to be
    held: whoever takes a video over may write the same scenes again, under another lease.

    Args:
        collections: The library's collections.
        unwanted: Conditions on scenes, each with its `video`.
        leases: Video -> token of the lease under which its scenes became unwanted.
    """
    if not unwanted:
        return set()
    written_under: defaultdict[str, list[str | None]] = defaultdict(list)
    group = {"_id": {"video": "$video", "lease": "$lease"}}
    for row in collections["scenes"].aggregate([{"$match": {"$or": list(unwanted)}}, {"$group": group}]):
        written_under[row["_id"]["video"]].append(row["_id"].get("lease"))  # None: by an older version of vidpipe
    tokens = collections["videos"].find({"_id": {"$in": list(leases)}}, {"lease.token": 1})
    held = {row["_id"] for row in tokens if row.get("lease", {}).get("token", "") == leases[row["_id"]]}
    removable = [
        {**scenes, "lease": {"$in": written_under[scenes["video"]]}}
        for scenes in unwanted
        if scenes["video"] in held & written_under.keys()
    ]
    if removable:
        collections["scenes"].delete_many({"$or": removable})
    return held


class Journal:
    """What a process is working on, in a small local file that survives a kill. Used from several threads.

    The first line names the owner, `process|random` as in its leases; each other line is `+ sha256 stage`. Each change
    overwrites the file by one write of constant size, so that a kill leaves the old or the new content.

    Attributes:
        has_begun: Set when work begins; for somebody to wait for.
    """

    def __init__(self, directory: Path, owner: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{owner.rpartition('|')[2]}.journal"
        self._owner = owner
        self._lock = threading.Lock()
        self._open: set[tuple[str, str]] = set()
        self._size = 0
        self.has_begun = threading.Event()
        self._file: int | None = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._write()

    def begin(self, sha256: str, stage: str) -> None:
        """Record that work on a stage of a video begins."""
        with self._lock:
            self._open.add((sha256, stage))
            self._write()
            self.has_begun.set()

    def end(self, sha256: str, stage: str) -> None:
        """Record that it has ended."""
        with self._lock:
            self._open.discard((sha256, stage))
            self._write()

    def begun(self) -> list[tuple[str, str]]:
        """Return (sha256, stage) of what has begun and not ended."""
        with self._lock:
            return sorted(self._open)

    def close(self) -> None:
        """Remove the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
            self._file = None
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._file is not None:  # else by a thread that continues after the run was aborted
            lines = [self._owner, *(f"+ {sha256} {stage}" for sha256, stage in self._open)]
            content = "".join(f"{line}\n" for line in lines).encode()
            self._size = max(self._size, len(content))
            os.pwrite(self._file, content.ljust(self._size), 0)


def take_dead(directory: Path) -> dict[str, set[tuple[str, str]]]:
    """Return dead owner -> the (sha256, stage) that it had begun and not ended, and delete their journals."""
    dead: dict[str, set[tuple[str, str]]] = {}
    for path, owner, lines in _dead_journals(directory):
        with suppress(FileNotFoundError):  # taken by another process
            path.unlink()
            dead[owner] = _begun(lines)
    return dead


def _dead_journals(directory: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield each journal of a dead process: path, owner, lines."""
    for path in directory.glob("*.journal"):
        with suppress(FileNotFoundError):  # its process has ended, or another one has taken it
            owner, *lines = path.read_text().splitlines() or [""]
            if is_dead(owner.rpartition("|")[0]):
                yield path, owner, lines


def _begun(lines: Iterable[str]) -> set[tuple[str, str]]:
    begun: set[tuple[str, str]] = set()
    for line in lines:
        match line.split():
            case ["+", sha256, stage]:
                begun.add((sha256, stage))
            case ["-", sha256, stage]:  # in journals of older versions, which only append
                begun.discard((sha256, stage))
    return begun
