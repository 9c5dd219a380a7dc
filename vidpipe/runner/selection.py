"""Which videos of a run have work to do in which stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from vidpipe.library.library import Library
from vidpipe.library.video_ids import VideoIds, chunked
from vidpipe.library.videos import read_result
from vidpipe.runner.plan import Plan
from vidpipe.runner.video_state import Document, VideoState
from vidpipe.settings import Settings
from vidpipe.stages.contract import Stage, StageResult


@dataclass(frozen=True)
class RunOptions:
    """
    retry:       failed and quarantined videos are tried again
    force:       these stages are computed again even where current
    check_files: look whether the files that current results name are still there
    trials:      try videos that crashed the process alone, in a child process
    """

    retry: bool = False
    force: frozenset[str] = frozenset()
    check_files: bool = True
    trials: bool = True


@dataclass(frozen=True)
class Selection:
    library: Library
    plan: Plan
    options: RunOptions

    def wants(self, state: VideoState, stage: Stage) -> bool:
        """Whether the stage has work to do for this video in this run (at most once)."""
        if stage.name in state.done:
            return False
        now = state.state(stage, self.plan.specs[stage.name])
        asked_for = stage.name in self.options.force or (self.options.retry and now in ("failed", "quarantined"))
        return bool(state.entries[stage.name].get("ready")) if asked_for else now == "due"

    def wants_any(self, state: VideoState) -> bool:
        return any(self.wants(state, stage) for stage in self.plan.stages)

    def due(self) -> VideoIds:
        """Every video with work to do."""
        if self.options.check_files:
            self._check_files(None)
        if self.options.force:
            find = self.library.collections["videos"].find
            return self.library.retry(lambda: VideoIds(row["_id"] for row in find({}, {"_id": 1})))
        return self.library.retry(lambda: self.library.states.due(self.plan.specs, retry=self.options.retry))

    def given(self, videos: Iterable[str]) -> VideoIds:
        """The given videos, each once."""
        ids = VideoIds(dict.fromkeys(videos))
        if self.options.check_files:
            self._check_files(ids)
        return ids

    def states(self, videos: Iterable[str]) -> Iterator[tuple[str, VideoState | None]]:
        """(sha256, state) of each of `videos`, without values and without a lease; None where no video has that id."""
        for chunk in chunked(videos):
            known = {row["_id"]: VideoState(row, self.plan.graph) for row in self._documents(chunk)}
            for sha256 in chunk:
                yield sha256, known.get(sha256)

    def _documents(self, ids: list[str]) -> list[Document]:
        fields = {"stages": 1, "ingest.names": 1}
        find = self.library.collections["videos"].find
        return self.library.retry(lambda: list(find({"_id": {"$in": ids}}, fields)))

    def _check_files(self, videos: Iterable[str] | None) -> None:
        """Results whose files are gone are due again."""
        for stage in self.plan.stages:
            if stage.still_there is None:
                continue
            find = partial(self._missing, stage, stage.still_there, videos)
            self.library.retry(partial(self._mark_missing, stage.name, find))

    def _mark_missing(self, stage: str, find: Callable[[], Iterator[str]]) -> None:
        self.library.states.mark_missing(stage, VideoIds(find()))

    def _missing(
        self, stage: Stage, still_there: Callable[[StageResult, Settings], bool], videos: Iterable[str] | None
    ) -> Iterator[str]:
        for document in self.library.current_results(stage.name, self.plan.specs[stage.name], videos):
            result = read_result(self.plan.graph, stage.name, document)
            if result is None or not still_there(result, self.plan.settings):
                yield document["_id"]
