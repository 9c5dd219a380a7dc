"""Which videos have work to do in which stages: decided for a run, and counted for a plan.

Counting changes nothing and reads no results: the server groups videos that are in the same state in every stage.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from vidpipe.library import server_clock
from vidpipe.library.library import Library
from vidpipe.library.media_places import PLACE
from vidpipe.library.schema import Document
from vidpipe.library.states import Reason, classify, due_because, due_branches
from vidpipe.library.videos import VideoIds, chunked, read_result
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.video_state import VideoState
from vidpipe.stages.contract import Stage, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.storage.object_store import DROPPED, LOCAL

#: Why a stage has work to do: what made it due, or an option of the request.
Why = Reason | Literal["retry", "force"]
PlannedState = Literal["due", "follows", "may follow", "blocked", "failed", "quarantined", "current", "waiting"]

#: The stage that checks a video's file and fetches it again.
RAW_VIDEO = "raw_video"
#: A condition: the video's file was not deleted on purpose.
NOT_DROPPED: Document = {f"{PLACE}.media": {"$ne": DROPPED}}
_WORK = ("due", "follows")
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Selection:
    """The videos of a run that have work to do."""

    library: Library
    plan: Plan
    request: RunRequest

    def wants(self, state: VideoState, stage: Stage) -> bool:
        """Whether the stage has work to do for this video in this run (at most once)."""
        if stage.name in state.done:
            return False
        if state.dropped and stage.name in file_readers([stage]):
            return False
        may = state.dropped and (self.request.refetch or self.plan.settings.storage.refetch_mb > 0)
        return self.is_due(state, stage) or (may and stage.name == RAW_VIDEO and self.needs_original(state))

    def needs_original(self, state: VideoState) -> bool:
        """Whether the file of a video, deleted on purpose, is needed by a stage with work to do, or was before."""
        readers = (self.plan.graph[name] for name in file_readers(self.plan.stages))
        return state.entries[RAW_VIDEO].get("status") != "ok" or any(self.is_due(state, stage) for stage in readers)

    def is_due(self, state: VideoState, stage: Stage) -> bool:
        """Whether the stage is due, or was asked for, whether or not the video's file is there."""
        now = state.state(stage, self.plan.specs[stage.name])
        asked_for = stage.name in self.request.force or (self.request.retry and now in ("failed", "quarantined"))
        return bool(state.entries[stage.name].get("ready")) if asked_for else now == "due"

    def wants_any(self, state: VideoState) -> bool:
        """Whether any stage of the plan has work to do for this video."""
        return any(self.wants(state, stage) for stage in self.plan.stages)

    def due(self) -> VideoIds:
        """Return every video with work to do."""
        if self.request.check_files:
            self._check_files(None)
        if self.request.force:
            find = self.library.collections["videos"].find
            return self.library.retry(lambda: VideoIds(row["_id"] for row in find({}, {"_id": 1})))
        return self.library.retry(lambda: self.library.states.due(self.plan.specs, retry=self.request.retry))

    def given(self, videos: Iterable[str]) -> VideoIds:
        """Return the given videos without duplicates."""
        ids = VideoIds(dict.fromkeys(videos))
        if self.request.check_files:
            self._check_files(ids)
        return ids

    def states(self, videos: Iterable[str]) -> Iterator[tuple[str, VideoState | None]]:
        """Yield (sha256, state) of each of `videos`, without values and without a lease; None for an unknown id."""
        for chunk in chunked(videos):
            found = self.library.retry(partial(self._documents, chunk))
            known = {row["_id"]: VideoState(row, self.plan.graph) for row in found}
            for sha256 in chunk:
                yield sha256, known.get(sha256)

    def _documents(self, ids: list[str]) -> list[Document]:
        fields = {"stages": 1, "ingest.names": 1, f"{PLACE}.media": 1}
        return list(self.library.collections["videos"].find({"_id": {"$in": ids}}, fields))

    def _check_files(self, videos: Iterable[str] | None) -> None:
        """Make results due again whose files are gone."""
        for stage in self.plan.stages:
            if stage.artifacts_exist is not None:
                self.library.retry(partial(self._mark_missing, stage, videos))

    def _mark_missing(self, stage: Stage, videos: Iterable[str] | None) -> None:
        self.library.states.mark_missing(stage.name, VideoIds(self._missing(stage, videos)))

    def _missing(self, stage: Stage, videos: Iterable[str] | None) -> Iterator[str]:
        settings, exist = self.plan.settings_of(stage), stage.artifacts_exist or (lambda result, settings: True)
        for document in self.library.current_results(stage.name, self.plan.specs[stage.name], videos):
            result = read_result(self.plan.graph, stage.name, document)
            if result is None or not (exist(result, settings) or self._is_remote(stage, document["_id"], result)):
                yield document["_id"]

    def _is_remote(self, stage: Stage, sha256: str, result: StageResult) -> bool:
        """Return whether no file on this disk is needed: another store holds it, or it was dropped."""
        pack = getattr(result, "pack", None)
        held = stage.name == "raw_video" or pack
        return bool(held) and self.library.files.store_of(sha256, pack.version if pack else "") != LOCAL


@dataclass
class StageDueCounts:
    """Numbers of videos in one stage.

    Attributes:
        due: Videos with work to do at once.
        follows: Videos with work to do as soon as earlier stages have finished them.
        may_follow: Videos that are current, but become due if an earlier stage produces another result.
        blocked: Videos without a usable result of an earlier stage.
        failed: Failed videos that are not retried.
        quarantined: Quarantined videos.
        waiting: Videos with work to do whose file was deleted after processing, and may not be fetched again.
        why: Reason -> number of videos, for `due` and `follows`.
        duration_s: Total length of those of `due` and `follows` whose length is known.
        timed: Number of videos whose length is known.
    """

    due: int = 0
    follows: int = 0
    may_follow: int = 0
    blocked: int = 0
    failed: int = 0
    quarantined: int = 0
    waiting: int = 0
    why: Counter[Why] = field(default_factory=Counter)
    duration_s: float = 0.0
    timed: int = 0

    @property
    def computed(self) -> int:
        """Number of videos that will be computed."""
        return self.due + self.follows


@dataclass
class DueCounts:
    """What a run would compute.

    Attributes:
        videos: Videos with work to do in at least one stage.
        stages: Stage -> its numbers.
    """

    videos: int = 0
    stages: dict[str, StageDueCounts] = field(default_factory=dict)


def count_due(library: Library, plan: Plan, request: RunRequest) -> DueCounts:
    """Count what a run of `plan` would compute for `request`."""
    found = DueCounts(stages={stage.name: StageDueCounts() for stage in plan.stages})
    now = server_clock.now()
    for group in _groups(library, plan, request, now):
        waits = group["_id"]["dropped"] and not (request.refetch or plan.settings.storage.refetch_mb)
        walked = _walk(plan, _entries(library.graph, group["_id"]["stages"], now), request, now, waits=waits)
        found.videos += group["videos"] if any(step in _WORK for step, _ in walked.values()) else 0
        for name, (step, why) in walked.items():
            stage, state = found.stages[name], step.replace(" ", "_")
            if state != "current":
                setattr(stage, state, getattr(stage, state) + group["videos"])
            if step in _WORK and why is not None:
                stage.why[why] += group["videos"]
                stage.duration_s += group["duration_s"]
                stage.timed += group["timed"]
    return found


def _walk(
    plan: Plan, entries: Mapping[str, Document], request: RunRequest, now: datetime, *, waits: bool
) -> dict[str, tuple[PlannedState, Why | None]]:
    """Predict what happens to one video in each stage of the plan, provided that nothing fails."""
    graph = plan.graph
    found: dict[str, tuple[PlannedState, Why | None]] = {}
    for stage in plan.stages:
        entry, spec = entries[stage.name], plan.specs[stage.name]
        state = classify(entry, spec, now)
        before = [found[name][0] for name in graph.sources(stage.name) if name in found]
        because: Why | None = due_because(entry, spec, now)
        if because is None and request.retry and state in ("failed", "quarantined"):
            because = "retry"
        elif because is None and stage.name in request.force:
            because = "force"
        step: PlannedState = state
        if because is not None and entry.get("ready"):
            step = "waiting" if waits and stage.name in file_readers([stage]) else "due"
        elif because is not None:
            comes = all(
                entries[name].get("status") == "ok" or (name in found and found[name][0] in _WORK)
                for name in graph.upstream(stage.name)
            )
            step = "follows" if comes else "blocked"
        elif state == "current" and _may_change(graph, stage, found):
            step = "may follow"
        if step == "due" and any(earlier in _WORK for earlier in before):
            step = "follows"  # earlier stages of this run come first
        found[stage.name] = (step, because)
    return found


def _may_change(graph: StageGraph, stage: Stage, found: Mapping[str, tuple[PlannedState, Why | None]]) -> bool:
    """Whether an earlier stage may produce another result in this run."""
    return any(
        found[name][0] in (*_WORK, "may follow")
        and stage.name in graph.readers(name, graph[name].result.model_fields.keys() - graph[name].result.unversioned)
        for name in graph.sources(stage.name)
        if name in found
    )


def _groups(library: Library, plan: Plan, request: RunRequest, now: datetime) -> Iterator[Mapping[str, Any]]:
    """Yield `_id` (the state in each stage), `videos`, `duration_s` and `timed` of each group of videos."""
    fields: list[Document] = [_group_key(stage.name, now) for stage in library.graph]
    length = "$metadata.duration_s"
    group: Document = {
        "_id": {"stages": fields, "dropped": {"$eq": [f"${PLACE}.media", DROPPED]}},
        "videos": {"$sum": 1},
        "duration_s": {"$sum": length},
        "timed": {"$sum": {"$cond": [{"$gt": [length, 0]}, 1, 0]}},
    }
    videos = library.collections["videos"]
    if request.videos is not None:
        for chunk in chunked(dict.fromkeys(request.videos)):
            yield from videos.aggregate([{"$match": {"_id": {"$in": chunk}}}, {"$group": group}])
        return
    stages: list[Document] = [] if request.force else [{"$match": _with_work(plan, request)}]
    if plan.stages:
        yield from videos.aggregate([*stages, {"$group": group}])


def _with_work(plan: Plan, request: RunRequest) -> Document:
    """Match the videos that are not current in every stage, using the stages' indexes."""
    branches: list[Document] = []
    for name, spec in plan.specs.items():
        due = due_branches(name, spec, retry=request.retry)
        branches += [*due, *({**branch, f"stages.{name}.ready": False} for branch in due)]
        branches.append({f"stages.{name}.status": {"$in": ["failed", "quarantined"]}})
    return {"$or": branches}


def _group_key(stage: str, now: datetime) -> Document:
    """Build the expression for the parts of `stages.<stage>` that decide what is due."""
    entry = f"$stages.{stage}"
    return {
        **{name: f"{entry}.{name}" for name in ("status", "ready", "stale", "spec")},
        "again": {"$lte": [{"$ifNull": [f"{entry}.next_try_at", _NEVER]}, now]},
    }


def _entries(graph: StageGraph, states: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Document]:
    """Rebuild the group's `stages.<name>` entries with the fields that `classify` reads."""
    return {
        name: {
            "status": found.get("status", "new"),
            "ready": bool(found.get("ready")),
            "stale": bool(found.get("stale")),
            "spec": found.get("spec", ""),
            **({"next_try_at": now} if found["again"] else {}),
        }
        for name, found in zip(graph.names, states, strict=True)
    }


def file_readers(stages: Iterable[Stage]) -> list[str]:
    """Return those of `stages` that wait where the video's file was deleted after processing."""
    return [stage.name for stage in stages if stage.reads_file and stage.name != RAW_VIDEO]


def count_waiting(library: Library, plan: Plan) -> int:
    """Return how many videos wait for their file, which was deleted after processing."""
    branches = [branch for name in file_readers(plan.stages) for branch in due_branches(name, plan.specs[name])]
    dropped = {f"{PLACE}.media": DROPPED}
    return library.collections["videos"].count_documents({**dropped, "$or": branches}) if branches else 0


def due_ids(library: Library, plan: Plan, stage: str, request: RunRequest) -> list[str]:
    """Return the videos with work to do in `stage` at once, sorted by id, which is a random order."""
    videos = library.collections["videos"]
    if stage in request.force:
        query: Document = {f"stages.{stage}.ready": True}
    else:
        query = {"$or": due_branches(stage, plan.specs[stage], retry=request.retry)}
    if request.videos is None:
        return sorted(row["_id"] for row in videos.find(query, {"_id": 1}))
    found: list[str] = []
    for chunk in chunked(dict.fromkeys(request.videos)):
        found += (row["_id"] for row in videos.find({"_id": {"$in": chunk}, **query}, {"_id": 1}))
    return sorted(found)
