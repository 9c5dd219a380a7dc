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
from functools import partial
from itertools import islice
from threading import Event

from vidpipe.library.leases import UNLEASED
from vidpipe.library.states import Revalidation, revalidate
from vidpipe.library.videos import chunked, projection
from vidpipe.runner.due import Selection
from vidpipe.runner.video_state import Document, RunStamp, VideoState
from vidpipe.stages.contract import Cancelled, FieldRead, Outcome, Stage, StageEvent

#: Groups in progress: while one waits for MongoDB, another computes. Their documents are in memory together.
_PARALLEL_GROUPS = 2
#: The fields that decide the state of a stage, and its error.
_STATE_FIELDS = ("status", "ready", "stale", "spec", "next_try_at", "error")


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
        load_scenes: Fetches scenes (see `VideoState`).
        report: Called with `computed`, unchanged and without the result, for each confirmed result.
        group_size: Number of videos examined together.
    """

    selection: Selection
    run: RunStamp
    cancelled: Event
    load_scenes: Callable[[str, str], Sequence[Document]]
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
        reads = [read for stage in self._stages for read in stage.all_reads]
        quick = {stage.name for stage in self._stages}
        # of other stages only the fields that decide their state
        self._projection = fields = projection(self.plan.graph, reads, quick)
        del fields["stages"]
        fields.update({f"stages.{name}": 1 for name in quick})
        for name in {FieldRead.parse(read).stage for read in reads} - quick:
            fields[f"stages.{name}.data"] = 1
        for stage in self.plan.stages:
            if stage.name not in quick:
                fields.update({f"stages.{stage.name}.{name}": 1 for name in _STATE_FIELDS})

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
        videos = [SweptVideo(VideoState(document, self.plan.graph, self.load_scenes)) for document in self._fetch(ids)]
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
                self._confirm(stage, chosen)
        return videos

    def _only_spec_changed(self, state: VideoState, stage: Stage) -> bool:
        entry = state.entries[stage.name]
        return (
            entry["status"] == "ok"
            and not entry["stale"]
            and "crashes" not in entry
            and entry["inputs"] == state.inputs(stage)
            and not state.is_of_later_run(stage, self.plan.specs[stage.name], self.run)
        )

    def _confirm(self, stage: Stage, videos: list[SweptVideo]) -> None:
        began = time.perf_counter()
        same = self._same(stage, videos)
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

    def _same(self, stage: Stage, videos: list[SweptVideo]) -> list[SweptVideo]:
        """Return those of `videos` whose result equals the stored one; failures are left to the runner's loop."""
        by_id = {video.state.sha256: video for video in videos}
        context = self.plan.context_of(stage, self.library, self.run.id, self.cancelled)
        try:
            outcomes = list(stage.function([video.state.item(stage) for video in videos], context))
        except Cancelled:
            return []
        except Exception:  # the runner's loop finds out which video fails, and why
            if len(videos) == 1:
                return []
            half = len(videos) // 2
            return [*self._same(stage, videos[:half]), *self._same(stage, videos[half:])]
        return [by_id[outcome.sha256] for outcome in outcomes if self._is_same(stage, by_id[outcome.sha256], outcome)]

    def _is_same(self, stage: Stage, video: SweptVideo, outcome: Outcome) -> bool:
        if outcome.result is None or outcome.lineage:
            return False
        data = video.state.entries[stage.name]["data"]
        versioned = type(outcome.result).model_fields.keys() - type(outcome.result).unversioned
        if data.keys() != versioned:
            return False
        return video.state.result(stage) == outcome.result
