"""Counts the answers that the describing model would be asked for, without asking it.

Scenes, frames, prompts and stored answers are examined as by the stage that asks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import chunked
from vidpipe.library.videos import projection
from vidpipe.media.facts import PackReference, Scene
from vidpipe.runner.budget import ModelWork, total
from vidpipe.runner.model_rates import ModelRates, TokenBounds, measure_model
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.stage_rates import TypicalVideo
from vidpipe.runner.video_state import VideoState
from vidpipe.stages import descriptions, views
from vidpipe.stages.answering import Answered, known
from vidpipe.stages.contract import Item, Stage, StageContext
from vidpipe.vlm.model import Request
from vidpipe.vlm.prompts import PromptSet
from vidpipe.vlm.views import SceneView, VideoView

#: Videos examined together.
_GROUP_SIZE = 20


@dataclass
class _Video:
    """The requests about a video's scenes (`scenes`) and about all of it (`whole`), with their stored answers."""

    item: Item
    view: VideoView
    scenes: list[Answered]
    whole: Answered | None = None


@dataclass(frozen=True)
class AnswerCounter:
    """Counts what the describing stages of `plan` would ask."""

    library: Library
    plan: Plan
    describing: DescribingStages
    rates: ModelRates

    @classmethod
    def of(cls, library: Library, plan: Plan, describing: DescribingStages) -> AnswerCounter:
        """Measure today's rates and count with them."""
        answers, runs = library.collections["answers"], library.collections["runs"]
        rates = measure_model(answers, runs, describing.model.version, TokenBounds.of(plan.settings))
        return cls(library, plan, describing, rates)

    def per_video(self, ids: Sequence[str], *, deadline: float = float("inf")) -> Iterator[tuple[str, ModelWork]]:
        """Yield what each of `ids` takes; videos that cannot be read are left out.

        Ends early at `deadline` (of `time.monotonic`), after some videos at least.
        """
        for stage in self.describing.stages:
            for chunk in chunked(ids, _GROUP_SIZE):
                yield from self._per_video(stage, chunk)
                if time.monotonic() > deadline:
                    return

    def typical_work(self, typical: TypicalVideo) -> ModelWork | None:
        """Return what a video like the others takes; None if a template of the prompts fails."""
        prompts: PromptSet = self.plan.resources["prompts"]
        seen = SceneView(0, 0.0, 10.0)
        view = VideoView(duration_s=10.0, scenes=(seen,))
        try:
            of_scene, of_video = prompts.of_scene(view, seen), prompts.of_video(view)
        except VidpipeError:
            return None
        scene = self.rates.work("scene", typical.frames / max(typical.scenes, 1), of_scene)
        whole = self.rates.work("video", typical.frames, of_video)
        return replace(scene.scaled(typical.scenes) + whole, videos=1, scenes=typical.scenes)

    def _per_video(self, stage: Stage, ids: Sequence[str]) -> Iterator[tuple[str, ModelWork]]:
        context = self.plan.context_of(stage, self.library.cells())
        videos = self._videos(self._items(stage, ids), context)
        for sha256, video in videos.items():
            scenes: Sequence[Scene] = video.item["scenes.scenes"]
            shown = {scene.start_s: scene.frames for scene in scenes}
            parts = [self._work(answered, shown[answered.request.start_s]) for answered in video.scenes]
            if video.whole is not None:
                pack: PackReference | None = video.item["scenes.pack"]
                parts.append(self._work(video.whole, pack.frames if pack else 0))
            yield sha256, replace(total(parts), videos=1, scenes=len(video.scenes))

    def _work(self, answered: Answered, frames: int) -> ModelWork:
        missing = self.rates.work(answered.request.scope, frames, answered.missing)
        return replace(missing, reused=answered.reused)

    def _videos(self, items: Sequence[Item], context: StageContext) -> dict[str, _Video]:
        model = self.describing.model
        videos: dict[str, _Video] = {}
        requests: list[Request] = []
        for item in items:
            view = views.video_view(item.fields)
            try:
                requests += descriptions.scene_requests(item, context, view)
            except VidpipeError:  # a template fails: the run reports it
                continue
            videos[item.sha256] = _Video(item, view, [])
        for answered in known(requests, context, model):
            videos[answered.request.video].scenes.append(answered)
        whole: list[Request] = []
        for sha256, video in list(videos.items()):
            try:
                whole.append(descriptions.whole_request(video.item, context, video.view, _known_texts(video)))
            except VidpipeError:
                del videos[sha256]
        for answered in known(whole, context, model):
            videos[answered.request.video].whole = answered
        return videos

    def _items(self, stage: Stage, ids: Sequence[str]) -> list[Item]:
        graph = self.library.graph
        wanted = projection(graph, stage.reads)
        documents = list(self.library.collections["videos"].find({"_id": {"$in": list(ids)}}, wanted))
        generations = {
            document["_id"]: document["scene_generation"] for document in documents if document.get("scene_generation")
        }
        scenes = self.library.videos.scenes_of(generations)
        rows = defaultdict(list, scenes)
        items = []
        for document in documents:
            state = VideoState(document, graph, lambda sha256, generation: rows[sha256])
            try:
                items.append(state.item(stage))
            except (KeyError, ValidationError):  # no result of today's shape: the run recomputes it
                continue
        return items


def _known_texts(video: _Video) -> dict[int, str]:
    """Return the known texts about the scenes.

    An answer still to come gets a placeholder: prompts about the whole video quote it, so their answers change too.
    """
    said = {}
    for scene, answered in zip(video.view.scenes, video.scenes, strict=True):
        cell = answered.cells.get("describe_scene")
        if cell is None and any(prompt.id == "describe_scene" for prompt in answered.missing):
            said[scene.index] = "\N{HORIZONTAL ELLIPSIS}"
        else:
            said[scene.index] = "" if cell is None or cell.fault else str(cell.value)
    return said
