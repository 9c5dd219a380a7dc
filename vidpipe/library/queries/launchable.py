"""What may be started automatically, step by step; and what waits for a person, and why.

Started automatically is what is new, has changed inputs, has lost files, or failed for a transient reason and may be
retried. What a changed spec made due (settings, prompts, model, code) is not: it is due in the whole library at once,
and may cost days.

A launch is recorded in the video's document (`launched.<step>`). If a run ended without storing anything for a video,
each further launch waits longer than the one before, so that nothing is launched in a loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pymongo.collection import Collection as MongoCollection

from vidpipe.library.leases import UNLEASED
from vidpipe.library.queries.states import REASONS, Reason, due_because, due_branches
from vidpipe.library.schema import Document
from vidpipe.library.video_ids import chunked

BY_ITSELF: tuple[Reason, ...] = tuple(reason for reason in REASONS if reason != "spec")

#: Seconds after the first, second, … launch that achieved nothing, before the next one.
_WAITS_S = (0, 30, 120, 600, 3600, 6 * 3600)

#: More than these (a backfill over the whole library) do not fit into a query.
_MOST_EXCLUDED = 20_000


@dataclass(frozen=True)
class LaunchableVideo:
    """A video that a step may be started for.

    Attributes:
        sha256: The video.
        priority: The highest of its sources.
        stages: Those of the step that may run; what waits for a person is left out.
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
) -> list[LaunchableVideo]:
    """Return the videos that `step` may be started for: highest priority first, then in order of addition.

    Args:
        videos: The collection `videos`.
        step: The step.
        specs: Today's spec of each of its stages that can run.
        reasons: A video counts if one of its stages is due for one of these.
        held: Videos of unfinished runs, which do not count.
        above: Only videos of a higher priority.
        limit: Most videos to return.
    """
    branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, reasons=reasons)]
    if not branches:
        return []
    conditions: list[Document] = [UNLEASED, _not_waiting(step, specs)]
    if above is not None:
        conditions.append({"priority": {"$gt": above}} if above >= 0 else {"priority": {"$not": {"$lte": above}}})
    matching: Document = {"$or": branches, "$and": conditions}
    excluded = list(held) if len(held) <= _MOST_EXCLUDED else []
    if excluded:
        matching["_id"] = {"$nin": excluded}
    fields = {f"stages.{stage}.{name}": 1 for stage in specs for name in ("status", "stale", "spec", "next_try_at")}
    found = videos.aggregate(
        [
            {"$match": matching},
            {"$project": {"priority": {"$ifNull": ["$priority", 0]}, "added_at": 1, **fields}},
            {"$sort": {"priority": -1, "added_at": 1, "_id": 1}},
            {"$limit": limit + len(held) - len(excluded)},
        ]
    )
    now = datetime.now(UTC)
    skipped = set() if excluded else set(held)
    chosen = []
    for row in found:
        if row["_id"] not in skipped:
            due = {stage: due_because(row["stages"][stage], spec, now) for stage, spec in specs.items()}
            stages = tuple(stage for stage, reason in due.items() if reason is None or reason in reasons)
            chosen.append(LaunchableVideo(row["_id"], int(row["priority"]), stages))
    return chosen[:limit]


def note_launch(videos: MongoCollection[Document], step: str, specs: Mapping[str, str], ids: Sequence[str]) -> None:
    """Record that `step` is being started for the videos `ids`."""
    place = f"launched.{step}"
    times = {"$cond": [_has_moved(step, specs), 1, {"$add": [{"$ifNull": [f"${place}.times", 0]}, 1]}]}
    now = datetime.now(UTC)
    waits_ms = [wait_s * 1000 for wait_s in _WAITS_S]
    wait_ms = {"$arrayElemAt": [waits_ms, {"$subtract": [{"$min": [f"${place}.times", len(waits_ms)]}, 1]}]}
    steps: list[Document] = [
        {"$set": {f"{place}.times": times}},
        {"$set": {f"{place}.at": now, f"{place}.next_at": {"$add": [now, wait_ms]}}},
    ]
    for chunk in chunked(ids):
        videos.update_many({"_id": {"$in": chunk}}, steps)


@dataclass(frozen=True)
class WaitingForSpec:
    """What only a changed spec made due in a stage.

    Attributes:
        videos: How many videos.
        former: The spec of one of them.
    """

    videos: int
    former: str


def waiting_for_spec(videos: MongoCollection[Document], stage: str, spec: str) -> WaitingForSpec | None:
    """Return what only a changed spec made due in `stage`; None: nothing. Answered from the stage's index."""
    branches = due_branches(stage, spec, reasons=["spec"])
    numbers = [videos.count_documents(branch, hint=f"stage_{stage}") for branch in branches]
    one = videos.find_one({"$or": branches}, {f"stages.{stage}.spec": 1}) if any(numbers) else None
    return WaitingForSpec(sum(numbers), one["stages"][stage]["spec"]) if one else None


def is_waiting_for_spec(videos: MongoCollection[Document], specs: Mapping[str, str]) -> bool:
    """Return whether a changed spec made any video due in one of the stages in `specs`."""
    branches = [branch for stage, spec in specs.items() for branch in due_branches(stage, spec, reasons=["spec"])]
    return bool(branches) and videos.find_one({"$or": branches}, {"_id": 1}) is not None


def _not_waiting(step: str, specs: Mapping[str, str]) -> Document:
    """Return a condition: no recent launch achieved nothing."""
    return {
        "$or": [
            {f"launched.{step}": {"$exists": False}},
            {f"launched.{step}.next_at": {"$lte": datetime.now(UTC)}},
            {"$expr": _has_moved(step, specs)},
        ]
    }


def _has_moved(step: str, specs: Mapping[str, str]) -> Document:
    """Return an expression: has anything been stored for the video since `step` was last started for it?"""
    stored = [f"$stages.{stage}.at" for stage in specs]
    return {"$gt": [{"$max": stored}, {"$ifNull": [f"$launched.{step}.at", datetime(9999, 1, 1, tzinfo=UTC)]}]}
