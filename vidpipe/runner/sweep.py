"""Confirms in bulk the results that stay the same after a change of rules, settings or code.

A changed rule makes every video due, though few get another result. For `quick` stages the sweep computes the results
of many videos at once, without leases, and confirms those equal to the stored ones in one update. Everything else, and
every result that differs, is left to the runner's loop, so there is only one way to change a result. A sweep may be
interrupted anywhere: what is not confirmed is still due.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from threading import Event

from vidpipe.library.schema import UNLEASED, Document
from vidpipe.library.states import Revalidation, revalidate
from vidpipe.library.videos import chunked
from vidpipe.runner.due import Selection
from vidpipe.runner.rule_delta import RuleDelta, is_of_todays_inputs, state_projection, with_scenes
from vidpipe.runner.video_state import RunStamp, VideoState
from vidpipe.stages.contract import Cancelled, Stage
from vidpipe.stages.events import StageEvent

#: Groups in progress: while one waits for MongoDB, another computes. Their documents are in memory together.
_PARALLEL_GROUPS = 2


@dataclass
class SweptVideo:
    """A video that the sweep has examined.

    Attributes:
        state: The video.
        confirmed: Stages whose result stays the same.
        unsettled: Stages with work left, or that may get some from an earlier stage.
    """

    state: VideoState
    confirmed: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)


@dataclass
class Sweep:
    """The sweep of one run.

    Attributes:
        selection: Decides what has work to do, in the library and the stages of the run.
        run: The run, as its commits name it.
        cancelled: Stops the sweep.
        report: Called with `computed`, unchanged and without the result, for each confirmed result.
        group_size: Number of videos examined together.
    """

    selection: Selection
    run: RunStamp
    cancelled: Event
    report: Callable[[StageEvent], None]
    group_size: int = 128

    def __post_init__(self) -> None:
        self.library, self.plan = self.selection.library, self.selection.plan
        forced = self.selection.request.force
        self._stages = [
            stage for stage in self.plan.stages
            if stage.quick and stage.name not in forced and not stage.result.scene_fields
        ]  # fmt: skip
        self._videos = self.library.collections["videos"]
        self._projection = state_projection(self.plan, self._stages)

    @cached_property
    def _delta(self) -> RuleDelta | None:
        return RuleDelta.of(self.library, self.plan)

    def over(self, ids: Iterable[str]) -> Iterator[tuple[list[str], list[SweptVideo]]]:
        """Yield groups of `ids`, each with those of its videos that the sweep has examined."""
        if not self._stages:
            yield from ((group, []) for group in chunked(ids, self.group_size))
            return
        groups = iter(chunked(ids, self.group_size))
        with ThreadPoolExecutor(_PARALLEL_GROUPS, "sweep") as pool:
            running = deque((group, pool.submit(self._sweep, group)) for group in islice(groups, _PARALLEL_GROUPS + 1))
            while running:
                group, sweeping = running.popleft()
                swept = sweeping.result()
                running.extend((more, pool.submit(self._sweep, more)) for more in islice(groups, 1))
                yield group, swept

    def _fetch(self, ids: list[str]) -> list[Document]:
        """Fetch the documents of those of `ids` in which a quick stage is due for its spec alone."""
        branches = [
            {
                f"stages.{stage.name}.status": "ok",
                f"stages.{stage.name}.ready": True,
                f"stages.{stage.name}.stale": False,
                f"stages.{stage.name}.spec": {"$nin": ["", self.plan.specs[stage.name]]},
            }
            for stage in self._stages
        ]
        query = {"_id": {"$in": ids}, "$and": [UNLEASED, {"$or": branches}]}
        return self.library.retry(lambda: list(self._videos.find(query, self._projection, hint="_id_")))

    def _sweep(self, ids: list[str]) -> list[SweptVideo]:
        """Confirm what stays the same; return those of `ids` in which a quick stage was due for its spec alone."""
        if self.cancelled.is_set():
            return []
        documents = self._delta.fetch(ids) if self._delta else []
        examined = self._examined(documents, self._delta)
        known = {document["_id"] for document in documents}
        rest = [sha256 for sha256 in ids if sha256 not in known]
        return examined + self._examined(self._fetch(rest) if rest else [], None)

    def _examined(self, documents: Sequence[Document], delta: RuleDelta | None) -> list[SweptVideo]:
        videos = [SweptVideo(state) for state in with_scenes(self.library, self.plan, documents)]
        for stage in self.plan.stages:
            upstream = set(self.plan.graph.sources(stage.name))
            chosen = []
            for video in videos:
                if video.unsettled & upstream:
                    video.unsettled.add(stage.name)
                elif self.selection.wants(video.state, stage):
                    video.unsettled.add(stage.name)
                    if stage in self._stages and self._only_spec_changed(video.state, stage):
                        chosen.append(video)
            if chosen and not self.cancelled.is_set():
                self._confirm(stage, chosen, delta)
        return videos

    def _only_spec_changed(self, state: VideoState, stage: Stage) -> bool:
        entry = state.entries[stage.name]
        return (
            entry["status"] == "ok"
            and not entry["stale"]
            and "crashes" not in entry
            and is_of_todays_inputs(state, stage)
            and not state.is_of_later_run(stage, self.plan.specs[stage.name], self.run)
        )

    def _confirm(self, stage: Stage, videos: list[SweptVideo], delta: RuleDelta | None) -> None:
        began = time.perf_counter()
        same = self._same(stage, videos, delta)
        if not same:
            return
        seconds = (time.perf_counter() - began) / len(videos)
        entries = [video.state.entries[stage.name] for video in same]
        made = Revalidation(
            stage.name,
            self.plan.specs[stage.name],
            self.run.id,
            self.run.began,
            seen={video.state.sha256: entry["commit"] for video, entry in zip(same, entries, strict=True)},
            specs=sorted({entry["spec"] for entry in entries}),
            seconds=seconds,
        )
        stored = self.library.retry(partial(revalidate, self._videos, made))
        for video, entry in zip(same, entries, strict=True):
            if video.state.sha256 not in stored:
                continue
            video.state.entries[stage.name] = {**entry, "spec": made.spec}
            video.confirmed.add(stage.name)
            video.unsettled.discard(stage.name)
            self.report(StageEvent(video.state.sha256, stage.name, "computed", video.state.name, seconds))

    def _same(self, stage: Stage, videos: list[SweptVideo], delta: RuleDelta | None) -> list[SweptVideo]:
        """Return those of `videos` whose result equals the stored one; failures are left to the runner's loop."""
        try:
            same = delta.same([video.state for video in videos]) if delta else self._equal(stage, videos)
        except Cancelled:
            return []
        except Exception:  # the runner's loop finds out which video fails, and why
            if len(videos) == 1:
                return []
            half = len(videos) // 2
            return [*self._same(stage, videos[:half], delta), *self._same(stage, videos[half:], delta)]
        return [video for video in videos if video.state.sha256 in same]

    def _equal(self, stage: Stage, videos: list[SweptVideo]) -> set[str]:
        states = {video.state.sha256: video.state for video in videos}
        context = self.plan.context_of(stage, self.library, self.run.id, self.cancelled)
        outcomes = stage.function([self.plan.item(stage, state) for state in states.values()], context)
        return {
            outcome.sha256
            for outcome in outcomes
            if outcome.result is not None and not outcome.lineage
            and states[outcome.sha256].result(stage) == outcome.result
        }  # fmt: skip
