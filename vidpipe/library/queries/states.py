"""How current each video is in each stage: one classification, in Python for one entry and as indexed query for all.

current      the result was made with today's spec and inputs
due          it was not, or there is none yet, and every stage it reads has a usable result
blocked      likewise, but an earlier stage has failed or not run yet
failed       the last attempt failed and nothing has changed since
quarantined  the video crashed the process, the last time alone; nothing has changed since
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal, get_args

from pymongo.collection import Collection as MongoCollection

from vidpipe.library.schema import Document
from vidpipe.library.video_ids import VideoIds, chunked

State = Literal["current", "due", "blocked", "failed", "quarantined"]
STATES: tuple[State, ...] = get_args(State)

#: Why a result must be made: there is none yet; its inputs changed; files it names are lost; a transient failure may be
#: retried; or its spec (settings, rules, prompts, model, code) differs today.
Reason = Literal["new", "inputs", "files", "next try", "spec"]
REASONS: tuple[Reason, ...] = get_args(Reason)
_TRIED = ("ok", "failed", "quarantined")


def due_because(entry: Mapping[str, Any], spec: str, now: datetime | None = None) -> Reason | None:
    """Return why one `stages.<name>` entry needs work, whether or not it can be done yet; None: it does not.

    Args:
        entry: The entry.
        spec: Today's spec of the stage.
        now: The time to which the next attempt is compared.
    """
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
    """Return the state of one `stages.<name>` entry under today's `spec`."""
    if due_because(entry, spec, now) is not None:
        return "due" if entry.get("ready") else "blocked"
    final: dict[str, State] = {"failed": "failed", "quarantined": "quarantined"}
    return final.get(entry.get("status", ""), "current")


def due_branches(
    stage: str, spec: str, *, retry: bool = False, reasons: Collection[Reason] = REASONS
) -> list[Document]:
    """Return the branches of an `$or` that finds the videos due in `stage`; each uses the stage's index.

    Args:
        stage: The stage.
        spec: Its spec today.
        retry: Failed and quarantined videos are due, too.
        reasons: Only what is due for one of these reasons.
    """
    past = {"$lte": datetime.now(UTC)}

    def branch(**conditions: Any) -> Document:
        return {f"stages.{stage}.{field}": value for field, value in {"ready": True, **conditions}.items()}

    branches = [branch(status="new")] if "new" in reasons else []
    for status in _TRIED:
        not_due = {"next_try_at": {"$not": past}} if status == "failed" else {}
        if "inputs" in reasons:
            branches.append(branch(status=status, stale=True))
        if "files" in reasons:
            branches.append(branch(status=status, stale=False, spec="", **not_due))
        if "spec" in reasons:
            branches.append(branch(status=status, stale=False, spec={"$nin": ["", spec]}, **not_due))
    if "next try" in reasons:
        branches.append(branch(status="failed", stale=False, next_try_at=past))
    if retry:
        branches += [branch(status=status) for status in ("failed", "quarantined")]
    return branches


class States:
    """Queries for videos that are current, due, blocked, failed or quarantined."""

    def __init__(self, videos: MongoCollection[Document]) -> None:
        self._videos = videos

    def counts(self, specs: Mapping[str, str]) -> dict[str, dict[State, int]]:
        """Return stage -> state -> number of videos, for the stages in `specs`. Answered from the indexes alone."""
        return {stage: self._counts(stage, spec) for stage, spec in specs.items()}

    def _counts(self, stage: str, spec: str) -> dict[State, int]:
        """Count equal entries: many times as fast as grouping the index's entries (100,000 videos: 30 ms)."""
        entry = f"stages.{stage}"
        count = self._videos.count_documents
        due = due_branches(stage, spec)

        def unchanged(status: str, **more: Any) -> int:
            same: Document = {f"{entry}.status": status, f"{entry}.stale": False, f"{entry}.spec": spec, **more}
            return sum(count({f"{entry}.ready": ready, **same}) for ready in (True, False))

        return {
            "current": unchanged("ok"),
            "due": count({"$or": due}),
            "blocked": count({"$or": [{**branch, f"{entry}.ready": False} for branch in due]}),
            "failed": unchanged("failed", **{f"{entry}.next_try_at": {"$not": {"$lte": datetime.now(UTC)}}}),
            "quarantined": unchanged("quarantined"),
        }

    def due(self, specs: Mapping[str, str], *, retry: bool = False) -> VideoIds:
        """Return the videos that are due in at least one of the stages in `specs`."""
        branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, retry=retry)]
        if not branches:
            return VideoIds(())
        return VideoIds(document["_id"] for document in self._videos.find({"$or": branches}, {"_id": 1}))

    def in_state(self, stage: str, spec: str, state: State, *, limit: int = 0) -> Iterator[Document]:
        """Yield `{_id, stages.<stage>, ingest.names}` of the videos whose `stage` is in `state`; limit 0: all."""
        query: Document = {}
        if state == "due":
            query = {"$or": due_branches(stage, spec)}
        elif state in ("failed", "quarantined"):
            query = {f"stages.{stage}.status": state}
        now = datetime.now(UTC)
        rows = self._videos.find(query, {f"stages.{stage}": 1, "ingest.names": 1})
        found = (row for row in rows if classify(row["stages"][stage], spec, now) == state)
        return islice(found, limit or None)

    def mark_missing(self, stage: str, videos: Iterable[str]) -> None:
        """Make the stage due for videos that have lost files its result names."""
        for chunk in chunked(videos):
            self._videos.update_many({"_id": {"$in": chunk}}, {"$set": {f"stages.{stage}.spec": ""}})
