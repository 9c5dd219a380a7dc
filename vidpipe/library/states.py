"""How current each video is in each stage: one classification, in Python for one entry and as an indexed query for all.

current      the result was made with today's spec and inputs
due          it was not, or there is none yet, and every stage it reads has a usable result
blocked      likewise, but an earlier stage has failed or not run yet
failed       the last attempt failed and nothing has changed since
quarantined  the video crashed the process, the last time alone; nothing has changed since
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from pymongo.collection import Collection as MongoCollection

from vidpipe.library.schema import Document
from vidpipe.stages.graph import StageGraph

State = Literal["current", "due", "blocked", "failed", "quarantined"]
STATES: tuple[State, ...] = ("current", "due", "blocked", "failed", "quarantined")

#: Why a result has to be made: there is none yet; what it reads changed; files it names are lost; a transient failure
#: may be tried again; or its spec (settings, rules, prompts, model, code) is another today.
Reason = Literal["new", "inputs", "files", "next try", "spec"]
REASONS: tuple[Reason, ...] = get_args(Reason)
_TRIED = ("ok", "failed", "quarantined")


def due_because(entry: Mapping[str, Any], spec: str, now: datetime | None = None) -> Reason | None:
    """Why one `stages.<name>` entry needs work under today's `spec`, whether or not it can be done yet; None: it does
    not."""
    status = entry.get("status", "new")
    if status == "new":
        return "new"
    if entry.get("stale"):
        return "inputs"
    next_try_at = entry.get("next_try_at")
    if status == "failed" and next_try_at is not None and next_try_at <= (now or datetime.now(UTC)):
        return "next try"
    if not entry.get("spec"):
        return "files"
    return None if entry["spec"] == spec else "spec"


def classify(entry: Mapping[str, Any], spec: str, now: datetime | None = None) -> State:
    """The state of one `stages.<name>` entry under today's `spec`."""
    if due_because(entry, spec, now) is not None:
        return "due" if entry.get("ready") else "blocked"
    kept: dict[str, State] = {"failed": "failed", "quarantined": "quarantined"}
    return kept.get(entry.get("status", ""), "current")


def due_branches(
    stage: str, spec: str, *, retry: bool = False, reasons: Collection[Reason] = REASONS
) -> list[Document]:
    """The branches of an `$or` that finds the videos due in `stage`; each uses the stage's index.

    retry:   failed and quarantined videos count as due
    reasons: only what is due because of one of these
    """
    came = {"$lte": datetime.now(UTC)}

    def branch(**conditions: Any) -> Document:
        return {f"stages.{stage}.{field}": value for field, value in {"ready": True, **conditions}.items()}

    branches = [branch(status="new")] if "new" in reasons else []
    for status in _TRIED:
        not_tried = {"next_try_at": {"$not": came}} if status == "failed" else {}
        if "inputs" in reasons:
            branches.append(branch(status=status, stale=True))
        if "files" in reasons:
            branches.append(branch(status=status, stale=False, spec="", **not_tried))
        if "spec" in reasons:
            branches.append(branch(status=status, stale=False, spec={"$nin": ["", spec]}, **not_tried))
    if "next try" in reasons:
        branches.append(branch(status="failed", stale=False, next_try_at=came))
    if retry:
        branches += [branch(status=status) for status in ("failed", "quarantined")]
    return branches


class States:
    """Asks the library which videos are current, due, blocked, failed or quarantined."""

    def __init__(self, videos: MongoCollection[Document], graph: StageGraph) -> None:
        self._videos = videos
        self._graph = graph

    def counts(self, specs: Mapping[str, str]) -> dict[str, dict[State, int]]:
        """stage -> state -> number of videos, for the stages in `specs`. Answered from the indexes alone."""
        return {stage: self._counts(stage, spec) for stage, spec in specs.items()}

    def _counts(self, stage: str, spec: str) -> dict[State, int]:
        """By counts of equal entries: many times as quick as grouping the index's entries (100,000 videos: 30 ms)."""
        entry = f"stages.{stage}"
        count = self._videos.count_documents
        waits = {f"{entry}.next_try_at": {"$not": {"$lte": datetime.now(UTC)}}}
        due = due_branches(stage, spec)

        def kept(status: str, **more: Any) -> int:
            same: Document = {f"{entry}.status": status, f"{entry}.stale": False, f"{entry}.spec": spec, **more}
            return sum(count({f"{entry}.ready": ready, **same}) for ready in (True, False))

        return {
            "current": kept("ok"),
            "due": count({"$or": due}),
            "blocked": count({"$or": [{**branch, f"{entry}.ready": False} for branch in due]}),
            "failed": kept("failed", **waits),
            "quarantined": kept("quarantined"),
        }

    def due(self, specs: Mapping[str, str], *, retry: bool = False) -> VideoIds:
        """The videos that are due in at least one of the stages in `specs`."""
        branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, retry=retry)]
        if not branches:
            return VideoIds(())
        found = self._videos.find({"$or": branches}, {"_id": 1})
        return VideoIds(document["_id"] for document in found)

    def in_state(self, stage: str, spec: str, state: State, *, limit: int = 0) -> Iterator[Document]:
        """`{_id, stages.<stage>, ingest.names}` of the videos whose `stage` is in `state`."""
        query: Document = {}
        if state == "due":
            query = {"$or": due_branches(stage, spec)}
        elif state in ("failed", "quarantined"):
            query = {f"stages.{stage}.status": state}
        sent = 0
        now = datetime.now(UTC)
        for document in self._videos.find(query, {f"stages.{stage}": 1, "ingest.names": 1}):
            if classify(document["stages"][stage], spec, now) == state:
                yield document
                sent += 1
                if limit and sent >= limit:
                    return

    def mark_missing(self, stage: str, videos: Iterable[str]) -> None:
        """Files that the stage's result names are gone: the result has to be made again."""
        for chunk in chunked(videos):
            self._videos.update_many({"_id": {"$in": chunk}}, {"$set": {f"stages.{stage}.spec": ""}})


class VideoIds:
    """Many video ids (sha256 in hex) in 32 bytes each, so that a million fit in a list."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._bytes = array("B")
        self.extend(ids)

    def extend(self, ids: Iterable[str]) -> None:
        for sha256 in ids:
            digest = bytes.fromhex(sha256)
            if len(digest) != 32:  # one of another length would shift all that follow
                raise ValueError(f"{sha256!r} is not a sha256 in hex")
            self._bytes.frombytes(digest)

    def __len__(self) -> int:
        return len(self._bytes) // 32

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._bytes), 32):
            yield self._bytes[start : start + 32].tobytes().hex()


def chunked(ids: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    """Lists of at most `size`: a long `$in` is sent in parts."""
    chunk: list[str] = []
    for sha256 in ids:
        chunk.append(sha256)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
