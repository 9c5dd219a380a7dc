"""What a run would compute in each stage, counted: videos of the same standing are counted together by the server.

Nothing is changed, and no video's result is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from vidpipe.library.library import Library
from vidpipe.library.queries.states import Reason, classify, due_because, due_branches
from vidpipe.library.schema import Document
from vidpipe.library.video_ids import chunked
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph

#: Why a stage has work to do; besides what makes it due, because somebody asks for it.
Why = Reason | Literal["retry", "force"]

_TODAYS, _OTHER, _NONE = "t", "o", ""
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass
class StageDue:
    """Videos of one stage.

    due:        with work to do at once; why: reason -> videos, those of `follows` too
    follows:    with work to do as soon as the stages before it are through with them
    may_follow: current now; due again where a stage before it comes to another result
    duration_s: together, of those among `due` and `follows` whose length is known; timed: their number
    """

    due: int = 0
    follows: int = 0
    may_follow: int = 0
    blocked: int = 0
    failed: int = 0
    quarantined: int = 0
    why: Counter[Why] = field(default_factory=Counter)
    duration_s: float = 0.0
    timed: int = 0

    @property
    def computed(self) -> int:
        """Videos that will be computed."""
        return self.due + self.follows


@dataclass(frozen=True)
class Wish:
    """What is to be planned: as for `vidpipe run`.

    videos: sha256 of the only videos that count; None: all
    force:  stages that are computed again even where current
    """

    videos: Sequence[str] | None = None
    retry: bool = False
    force: frozenset[str] = frozenset()


@dataclass
class Due:
    """videos: with work to do in at least one stage"""

    videos: int = 0
    stages: dict[str, StageDue] = field(default_factory=dict)


def count_due(library: Library, plan: Plan, wish: Wish) -> Due:
    """What a run of `plan` would compute under `wish`."""
    found = Due(stages={stage.name: StageDue() for stage in plan.stages})
    now = datetime.now(UTC)
    for group in _groups(library, plan, wish, now):
        walked = _walk(plan, _entries(library.graph, plan, group["_id"], now), wish, now)
        found.videos += group["videos"] if any(step in _WORK for step, _ in walked.values()) else 0
        for name, (step, why) in walked.items():
            _add(found.stages[name], step, why, group)
    return found


Step = Literal["due", "follows", "may follow", "blocked", "failed", "quarantined", "current"]
_WORK = ("due", "follows")


def _add(stage: StageDue, step: Step, why: Why | None, group: Mapping[str, Any]) -> None:
    if step == "current":
        return
    videos = group["videos"]
    name = step.replace(" ", "_")
    setattr(stage, name, getattr(stage, name) + videos)
    if step in _WORK and why is not None:
        stage.why[why] += videos
        stage.duration_s += group["duration_s"]
        stage.timed += group["timed"]


def _walk(plan: Plan, entries: Mapping[str, Document], wish: Wish, now: datetime) -> dict[str, tuple[Step, Why | None]]:
    """What becomes of one video in each stage of the plan, if all goes well."""
    graph = plan.graph
    found: dict[str, tuple[Step, Why | None]] = {}
    for stage in plan.stages:
        entry, spec = entries[stage.name], plan.specs[stage.name]
        state = classify(entry, spec, now)
        before = [found[name][0] for name in graph.upstream(stage.name) if name in found]
        because: Why | None = due_because(entry, spec, now)
        if because is None and wish.retry and state in ("failed", "quarantined"):
            because = "retry"
        elif because is None and stage.name in wish.force:
            because = "force"
        step: Step = state
        if because is not None and entry.get("ready"):
            step = "due"
        elif because is not None:
            step = "follows" if _comes(graph, stage, entries, found) else "blocked"
        elif state == "current" and _may_change(graph, stage, found):
            step = "may follow"
        if step == "due" and any(earlier in _WORK for earlier in before):
            step = "follows"  # it waits for them in this run
        found[stage.name] = (step, because)
    return found


def _comes(
    graph: StageGraph,
    stage: Stage,
    entries: Mapping[str, Document],
    found: Mapping[str, tuple[Step, Why | None]],
) -> bool:
    """Whether every stage that `stage` reads has a result, or has one after this run."""
    return all(
        entries[name].get("status") == "ok" or (name in found and found[name][0] in _WORK)
        for name in graph.upstream(stage.name)
    )


def _may_change(graph: StageGraph, stage: Stage, found: Mapping[str, tuple[Step, Why | None]]) -> bool:
    """Whether a stage before it may come to another result in this run."""
    for name in graph.upstream(stage.name):
        model = graph.result_model(name)
        versioned = set(model.model_fields) - model.unversioned
        if name in found and found[name][0] in (*_WORK, "may follow") and stage.name in graph.readers(name, versioned):
            return True
    return False


def _groups(library: Library, plan: Plan, wish: Wish, now: datetime) -> Iterator[Mapping[str, Any]]:
    """`_id` (the standing in each stage), `videos`, `duration_s` and `timed` of each group of videos."""
    fields: list[Document] = [_standing(stage.name, plan.specs.get(stage.name), now) for stage in library.graph]
    length = "$metadata.duration_s"
    group: Document = {
        "_id": fields,
        "videos": {"$sum": 1},
        "duration_s": {"$sum": length},
        "timed": {"$sum": {"$cond": [{"$gt": [length, 0]}, 1, 0]}},
    }
    videos = library.collections["videos"]
    if wish.videos is not None:
        for chunk in chunked(dict.fromkeys(wish.videos)):
            yield from videos.aggregate([{"$match": {"_id": {"$in": chunk}}}, {"$group": group}])
        return
    stages: list[Document] = [] if wish.force else [{"$match": _with_work(plan, wish)}]
    if plan.stages:
        yield from videos.aggregate([*stages, {"$group": group}])


def _with_work(plan: Plan, wish: Wish) -> Document:
    """Videos that are not current in every stage; found by the stages' indexes."""
    branches: list[Document] = []
    for name, spec in plan.specs.items():
        due = due_branches(name, spec, retry=wish.retry)
        branches += [*due, *({**branch, f"stages.{name}.ready": False} for branch in due)]
        branches.append({f"stages.{name}.status": {"$in": ["failed", "quarantined"]}})
    return {"$or": branches}


def _standing(stage: str, spec: str | None, now: datetime) -> Document:
    """An expression: what `stages.<stage>` says that matters for what is due."""
    entry = f"$stages.{stage}"
    made_with = {"$ifNull": [f"{entry}.spec", ""]}
    return {
        "status": f"{entry}.status",
        "ready": f"{entry}.ready",
        "stale": f"{entry}.stale",
        "spec": {"$switch": {
            "branches": [{"case": {"$eq": [made_with, ""]}, "then": _NONE},
                         {"case": {"$eq": [made_with, {"$literal": spec or ""}]}, "then": _TODAYS}],
            "default": _OTHER,
        }},
        "again": {"$lte": [{"$ifNull": [f"{entry}.next_try_at", _NEVER]}, now]},
    }  # fmt: skip


def _entries(
    graph: StageGraph, plan: Plan, standing: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, Document]:
    """The group's `stages.<name>` entries, as far as `classify` looks at them."""
    specs = {_TODAYS: plan.specs, _OTHER: {}, _NONE: dict.fromkeys(graph.names, "")}
    return {
        name: {
            "status": found.get("status", "new"),
            "ready": bool(found.get("ready")),
            "stale": bool(found.get("stale")),
            "spec": specs[found["spec"]].get(name, "another"),
            **({"next_try_at": now} if found["again"] else {}),
        }
        for name, found in zip(graph.names, standing, strict=True)
    }


def due_ids(library: Library, plan: Plan, stage: str, wish: Wish) -> list[str]:
    """The videos with work to do in `stage` at once, in the order of their ids, which is a random one."""
    videos = library.collections["videos"]
    if stage in wish.force:
        query: Document = {f"stages.{stage}.ready": True}
    else:
        query = {"$or": due_branches(stage, plan.specs[stage], retry=wish.retry)}
    if wish.videos is None:
        return sorted(row["_id"] for row in videos.find(query, {"_id": 1}))
    found: list[str] = []
    for chunk in chunked(dict.fromkeys(wish.videos)):
        found += (row["_id"] for row in videos.find({"_id": {"$in": chunk}, **query}, {"_id": 1}))
    return sorted(found)
