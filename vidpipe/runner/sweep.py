"""What became due only because rules, settings or code changed, and comes out as before: found and stored in bulk.

A changed rule makes every video due, though few get another result. For stages that are `quick` the sweep computes the
results of many videos at once, without leases, and confirms those that equal the stored ones in one update. Whatever
else is due, and every result that differs, is left to the ordinary way, so that there is only one way to change a
result. A sweep may be cut off anywhere: what is not confirmed is still due.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Event

from vidpipe.library.bulk_revalidate import Revalidation, revalidate
from vidpipe.library.leases import UNLEASED
from vidpipe.library.library import Library
from vidpipe.library.video_ids import chunked
from vidpipe.library.videos import projection
from vidpipe.runner.plan import Plan
from vidpipe.runner.selection import Selection
from vidpipe.runner.video_state import Document, RunName, VideoState
from vidpipe.stages.contract import Cancelled, FieldRead, Outcome, Stage, StageContext, StageEvent

#: Videos looked at together.
_TOGETHER = 128
#: Groups in the work: while one waits for MongoDB, another computes. Their documents are in memory at once.
_AT_ONCE = 2
#: What the state of a stage, and the error to be told of it, follow from.
_STATE_FIELDS = ("status", "ready", "stale", "spec", "next_try_at", "error")


@dataclass
class Swept:
    """A video that the sweep has looked at.

    confirmed: stages whose result was found to be the same
    unsettled: stages with work left, or that may get some from a stage before them
    """

    state: VideoState
    confirmed: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)


@dataclass
class Sweep:
    """The sweep of one run.

    load_scenes: as `VideoState` wants it
    tell:        told `computed`, unchanged and without the result, for each one that is confirmed
    """

    library: Library
    plan: Plan
    selection: Selection
    run: RunName
    cancelled: Event
    load_scenes: Callable[[str, str], Sequence[Document]]
    tell: Callable[[StageEvent], None]

    def __post_init__(self) -> None:
        forced = self.selection.options.force
        self._stages = [
            stage for stage in self.plan.stages
            if stage.quick and stage.name not in forced and not stage.result.scene_fields
        ]  # fmt: skip
        self._videos = self.library.collections["videos"]
        self._projection = self._fields()

    def _fields(self) -> dict[str, int]:
        """What is fetched of a video's document: of the entries of other stages only what their state follows from."""
        graph = self.plan.graph
        reads = [read for stage in self._stages for read in stage.reads]
        fields = projection(graph, reads, (stage.name for stage in self._stages))
        del fields["stages"]
        quick = {stage.name for stage in self._stages}
        fields |= {f"stages.{name}": 1 for name in quick}
        for name in {FieldRead.parse(read).stage for read in reads} - quick:
            fields[f"stages.{name}.data"] = 1
        for stage in self.plan.stages:
            if stage.name not in quick:
                fields |= {f"stages.{stage.name}.{name}": 1 for name in _STATE_FIELDS}
        return fields

    def over(self, ids: Iterable[str]) -> Iterator[tuple[list[str], list[Swept]]]:
        """For groups of `ids`: the group itself, and those of it that the sweep has looked at."""
        if not self._stages:
            yield from ((group, []) for group in chunked(ids, _TOGETHER))
            return
        groups = iter(chunked(ids, _TOGETHER))
        with ThreadPoolExecutor(_AT_ONCE, "sweep") as pool:
            running = deque((group, pool.submit(self._sweep, group)) for group in islice(groups, _AT_ONCE + 1))
            while running:
                group, sweeping = running.popleft()
                swept = sweeping.result()
                running.extend((more, pool.submit(self._sweep, more)) for more in islice(groups, 1))
                yield group, swept

    def _fetch(self, ids: list[str]) -> list[Document]:
        """The documents of those of `ids` where a quick stage is due for its spec alone."""
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

    def _sweep(self, ids: list[str]) -> list[Swept]:
        """Those of `ids` that are due for their spec alone in a quick stage, after what was to be confirmed is."""
        if self.cancelled.is_set():
            return []
        videos = [Swept(VideoState(document, self.plan.graph, self.load_scenes)) for document in self._fetch(ids)]
        for stage in self.plan.stages:
            upstream = set(self.plan.graph.upstream(stage.name))
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

    def _confirm(self, stage: Stage, videos: list[Swept]) -> None:
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
            self.tell(StageEvent(video.state.sha256, stage.name, "computed", video.state.name, seconds))

    def _same(self, stage: Stage, videos: list[Swept]) -> list[Swept]:
        """Those of `videos` whose result is what is stored. What fails here fails in the ordinary way, too."""
        by_id = {video.state.sha256: video for video in videos}
        context = StageContext(
            settings=self.plan.settings, resources=self.plan.resources_of(stage), cells=self.library.cells(self.run.id),
            cancelled=self.cancelled,
        )  # fmt: skip
        try:
            outcomes = list(stage.function([video.state.item(stage) for video in videos], context))
        except Cancelled:
            return []
        except Exception:  # whose it is, and what it means, is found out in the ordinary way
            if len(videos) == 1:
                return []
            half = len(videos) // 2
            return [*self._same(stage, videos[:half]), *self._same(stage, videos[half:])]
        return [by_id[outcome.sha256] for outcome in outcomes if self._is_same(stage, by_id[outcome.sha256], outcome)]

    def _is_same(self, stage: Stage, video: Swept, outcome: Outcome) -> bool:
        if outcome.result is None or outcome.lineage:
            return False
        data = video.state.entries[stage.name]["data"]
        versioned = type(outcome.result).model_fields.keys() - type(outcome.result).unversioned
        if data.keys() != versioned:
            return False
        return video.state.result(stage) == outcome.result
