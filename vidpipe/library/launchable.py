"""What may be started without being asked for, step by step; and what waits for a person, and why.

By itself starts what is new, what reads something that changed, what lost files, and what failed for a passing reason
once its next try has come. What a changed spec made due (settings, prompts, model, code) does not: it is due in the
whole library at once, and may cost days.

A launch is noted in the video's document (`launched.<step>`). Where a run ended without having stored anything for a
video, each further launch waits longer than the one before, so that nothing is launched in a loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pymongo.collection import Collection as MongoCollection

from vidpipe.library.schema import Document
from vidpipe.library.states import REASONS, Reason, chunked, due_because, due_branches

BY_ITSELF: tuple[Reason, ...] = tuple(reason for reason in REASONS if reason != "spec")

#: After the first, second, ... launch that came to nothing, before the next one.
_WAITS = (timedelta(0), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1),
          timedelta(hours=6))  # fmt: skip

#: More than these (a backfill over the whole library) do not fit into a query.
_MOST_EXCLUDED = 20_000


@dataclass(frozen=True)
class Launchable:
    """A video that a step may be started for.

    priority: the highest of its sources
    stages:   of the step, those that may run; what waits for a person is left out
    """

    sha256: str
    priority: int
    stages: tuple[str, ...]


def launchable(
    videos: MongoCollection[Document],
    step: str,
    specs: Mapping[str, str],
    *,
    reasons: Collection[Reason] = BY_ITSELF,
    held: Collection[str] = (),
    above: int | None = None,
    limit: int = 1000,
) -> list[Launchable]:
    """The videos that `step` may be started for: highest priority first, then in the order in which they came.

    specs:   today's spec of the step's stages that can run
    reasons: a video counts if one of its stages is due because of one of these
    held:    not these, since unfinished runs have them
    above:   only videos of a higher priority
    """
    branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, reasons=reasons)]
    if not branches:
        return []
    conditions: list[Document] = [_not_leased(), _not_waiting(step, specs)]
    if above is not None:
        conditions.append({"priority": {"$gt": above}} if above >= 0 else {"priority": {"$not": {"$lte": above}}})
    matching: Document = {"$or": branches, "$and": conditions}
    few = len(held) <= _MOST_EXCLUDED
    if held and few:
        matching["_id"] = {"$nin": list(held)}
    fields = {f"stages.{stage}.{name}": 1 for stage in specs for name in ("status", "stale", "spec", "next_try_at")}
    found = videos.aggregate(
        [
            {"$match": matching},
            {"$project": {"priority": {"$ifNull": ["$priority", 0]}, "added_at": 1, **fields}},
            {"$sort": {"priority": -1, "added_at": 1, "_id": 1}},
            {"$limit": limit if few else limit + len(held)},
        ]
    )
    now = datetime.now(UTC)
    taken = set(() if few else held)
    chosen = [
        Launchable(
            row["_id"],
            int(row["priority"]),
            tuple(
                stage
                for stage, spec in specs.items()
                if due_because(row["stages"][stage], spec, now) in (None, *reasons)
            ),
        )
        for row in found
        if row["_id"] not in taken
    ]
    return chosen[:limit]


def note_launch(videos: MongoCollection[Document], step: str, specs: Mapping[str, str], ids: Sequence[str]) -> None:
    """Notes that `step` is being started for the videos `ids`."""
    place = f"launched.{step}"
    times = {
        "$cond": [_has_moved(step, specs), 1, {"$add": [{"$ifNull": [f"${place}.times", 0]}, 1]}],
    }
    now = datetime.now(UTC)
    waits = [int(wait.total_seconds() * 1000) for wait in _WAITS]
    wait = {"$arrayElemAt": [waits, {"$subtract": [{"$min": [f"${place}.times", len(waits)]}, 1]}]}
    steps: list[Document] = [
        {"$set": {f"{place}.times": times}},
        {"$set": {f"{place}.at": now, f"{place}.next_at": {"$add": [now, wait]}}},
    ]
    for chunk in chunked(ids):
        videos.update_many({"_id": {"$in": chunk}}, steps)


@dataclass(frozen=True)
class Waiting:
    """What only a changed spec made due in a stage. former: the spec of one of these videos"""

    videos: int
    former: str


def waiting_for_spec(videos: MongoCollection[Document], stage: str, spec: str) -> Waiting | None:
    """What only a changed spec made due in `stage`; None: nothing. Answered from the stage's index."""
    branches = due_branches(stage, spec, reasons=["spec"])
    numbers = [videos.count_documents(branch, hint=f"stage_{stage}") for branch in branches]
    one = videos.find_one({"$or": branches}, {f"stages.{stage}.spec": 1}) if any(numbers) else None
    return Waiting(sum(numbers), one["stages"][stage]["spec"]) if one else None


def is_waiting_for_spec(videos: MongoCollection[Document], specs: Mapping[str, str]) -> bool:
    """Whether a changed spec made any video due in one of the stages in `specs`."""
    branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, reasons=["spec"])]
    return bool(branches) and videos.find_one({"$or": branches}, {"_id": 1}) is not None


def _not_leased() -> Document:
    return {"$or": [{"lease": {"$exists": False}}, {"$expr": {"$lt": ["$lease.until", "$$NOW"]}}]}


def _not_waiting(step: str, specs: Mapping[str, str]) -> Document:
    """Not launched in vain a short while ago."""
    return {
        "$or": [
            {f"launched.{step}": {"$exists": False}},
            {f"launched.{step}.next_at": {"$lte": datetime.now(UTC)}},
            {"$expr": _has_moved(step, specs)},
        ]
    }


def _has_moved(step: str, specs: Mapping[str, str]) -> Document:
    """An expression: has anything been stored for the video since `step` was last started for it?"""
    stored = [f"$stages.{stage}.at" for stage in specs]
    return {"$gt": [{"$max": stored}, {"$ifNull": [f"$launched.{step}.at", datetime(9999, 1, 1, tzinfo=UTC)]}]}
