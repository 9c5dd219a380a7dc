"""Exactly which answers are missing for a video, found without asking: scenes, frames, prompts and stored answers are
looked at as the stage that asks does."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.video_ids import chunked
from vidpipe.library.videos import projection
from vidpipe.media.facts import PackReference, Scene
from vidpipe.models.describing_model import ModelRequest
from vidpipe.models.prompt_context import SceneView, VideoView
from vidpipe.models.prompts import PromptSet
from vidpipe.planning.amounts import Amount, total
from vidpipe.planning.describing import Describing
from vidpipe.planning.model_rates import Bounds, ModelRates, measure_model
from vidpipe.planning.stage_rates import Typical
from vidpipe.runner.plan import Plan
from vidpipe.runner.video_state import VideoState
from vidpipe.stages import model_requests
from vidpipe.stages.contract import Item, Stage, StageContext
from vidpipe.stages.model_answers import RequestAnswers, stored_answers

#: Videos that are looked at together.
_TOGETHER = 20


@dataclass
class _Video:
    """scenes: requests and what is known of them; whole: the one about the whole video"""

    item: Item
    view: VideoView
    scenes: list[RequestAnswers]
    whole: RequestAnswers | None = None


@dataclass(frozen=True)
class Counting:
    """Counts what the describing stage of `plan` would ask."""

    library: Library
    plan: Plan
    describing: Describing
    rates: ModelRates

    @classmethod
    def of(cls, library: Library, plan: Plan, describing: Describing) -> Counting:
        """With the rates of today."""
        answers, runs = library.collections["answers"], library.collections["runs"]
        rates = measure_model(answers, runs, describing.model.version, Bounds.of(plan.settings))
        return cls(library, plan, describing, rates)

    def amounts(self, ids: Sequence[str], *, deadline: float = float("inf")) -> Iterator[tuple[str, Amount]]:
        """What each of `ids` takes; those that cannot be read are left out. Ends early at `deadline` (of
        `time.monotonic`), after some videos at least."""
        for stage in self.describing.stages:
            for chunk in chunked(ids, _TOGETHER):
                yield from self._amounts(stage, chunk)
                if time.monotonic() > deadline:
                    return

    def of_typical(self, typical: Typical) -> Amount | None:
        """What a video takes of which nothing is known but that it will be like the others; None where a template of
        the prompts fails."""
        prompts: PromptSet = self.plan.resources["prompts"]
        seen = SceneView(0, 0.0, 10.0)
        view = VideoView(duration_s=10.0, scenes=(seen,))
        try:
            of_scene, of_video = prompts.of_scene(view, seen), prompts.of_video(view)
        except VidpipeError:
            return None
        scene = self.rates.amount("scene", typical.frames / max(typical.scenes, 1), of_scene)
        whole = self.rates.amount("video", typical.frames, of_video)
        return replace(scene.scaled(typical.scenes) + whole, videos=1, scenes=typical.scenes)

    def _amounts(self, stage: Stage, ids: Sequence[str]) -> Iterator[tuple[str, Amount]]:
        context = StageContext(self.plan.settings, self.plan.resources_of(stage), self.library.cells())
        videos = self._videos(self._items(stage, ids), context)
        for sha256, video in videos.items():
            scenes: Sequence[Scene] = video.item["scenes.scenes"]
            shown = {scene.start_s: scene.frames for scene in scenes}
            parts = [self._amount(answered, shown[answered.request.start_s]) for answered in video.scenes]
            if video.whole is not None:
                pack: PackReference | None = video.item["scenes.pack"]
                parts.append(self._amount(video.whole, pack.frames if pack else 0))
            yield sha256, replace(total(parts), videos=1, scenes=len(video.scenes))

    def _amount(self, answered: RequestAnswers, frames: int) -> Amount:
        missing = self.rates.amount(answered.request.scope, frames, answered.missing)
        return replace(missing, reused=answered.reused)

    def _videos(self, items: Sequence[Item], context: StageContext) -> dict[str, _Video]:
        model = self.describing.model
        videos: dict[str, _Video] = {}
        requests: list[ModelRequest] = []
        for item in items:
            view = model_requests.video_view(item.fields)
            try:
                requests += model_requests.scene_requests(item, context, view)
            except VidpipeError:  # a template that fails: the run says so
                continue
            videos[item.sha256] = _Video(item, view, [])
        for answered in stored_answers(requests, context, model):
            videos[answered.request.video].scenes.append(answered)
        whole: list[ModelRequest] = []
        for sha256, video in list(videos.items()):
            try:
                whole.append(model_requests.whole_request(video.item, context, video.view, _said(video)))
            except VidpipeError:
                del videos[sha256]
        for answered in stored_answers(whole, context, model):
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
            except (KeyError, ValidationError):  # nothing of today's shape: the run makes it anew
                continue
        return items


def _said(video: _Video) -> dict[int, str]:
    """What is known of what the model said of the scenes. What it is still to say is another text than none, and the
    prompts about the whole video, which tell it, have other answers."""
    said = {}
    for scene, answered in zip(video.view.scenes, video.scenes, strict=True):
        cell = answered.cells.get("describe_scene")
        if cell is None and any(prompt.id == "describe_scene" for prompt in answered.missing):
            said[scene.index] = "\N{HORIZONTAL ELLIPSIS}"
        else:
            said[scene.index] = "" if cell is None or cell.fault else str(cell.value)
    return said
