"""Estimates a run: what each stage would do, what the describing model would be asked, and how long it takes.

Missing answers are counted without asking: scenes, frames, prompts and stored answers are examined as by the stage
that asks.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.videos import chunked, projection, read_fields
from vidpipe.media.facts import PackReference, Scene
from vidpipe.models.describing_model import ModelRequest
from vidpipe.models.prompts import PromptSet, SceneView, VideoView
from vidpipe.runner.budget import ModelWork, Prices, total
from vidpipe.runner.due import StageDueCounts, count_due, due_ids
from vidpipe.runner.model_rates import ModelRates, TokenBounds, measure_model
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.stage_rates import StageRate, StageRates, TypicalVideo, measure_stages
from vidpipe.runner.threads import pool_sizes
from vidpipe.stages import model_requests
from vidpipe.stages.contract import Item, Stage, StageContext
from vidpipe.stages.descriptions import SHARED
from vidpipe.stages.model_answers import RequestAnswers, stored_answers

#: Videos examined together.
_GROUP_SIZE = 20
#: Up to this many videos are counted one by one; of more, a sample that represents the others.
MOST_COUNTED = 300
SAMPLED = 200
#: Time limit for counting.
_COUNTING_S = 1.0


@dataclass(frozen=True)
class StageEstimate:
    """The estimate of one stage.

    Attributes:
        name: The stage.
        due: Numbers of videos.
        rate: None if not measured yet.
        seconds: Seconds of work; None if unknown.
    """

    name: str
    due: StageDueCounts
    rate: StageRate | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ModelEstimate:
    """What the describing model would be asked.

    Attributes:
        name: The model.
        version: Its version.
        stages: The stages that ask it.
        rates: Its measured rates.
        amount: The work for all videos that will be described.
        counted: Videos whose missing answers were counted one by one.
        like_them: Videos assumed to be like these.
        typical: Videos not cut into scenes yet, assumed to be like those that are.
        unknown: Videos without an estimate, because no video has been cut into scenes yet.
        cost: None without prices, or if the time is unknown.
    """

    name: str
    version: str
    stages: tuple[str, ...]
    rates: ModelRates
    amount: ModelWork
    counted: int = 0
    like_them: int = 0
    typical: int = 0
    unknown: int = 0
    cost: float | None = None


@dataclass(frozen=True)
class Estimate:
    """The estimate of a run.

    Attributes:
        videos: Videos with work to do.
        stages: The estimate of each stage.
        model: The estimate for the describing model; None if none is asked.
        prices: The prices in force.
        seconds: Work of all stages whose speed is known.
        wall_s: Time from start to end, with pools working in parallel.
        unmeasured: Stages with work whose speed is unknown.
    """

    videos: int
    stages: tuple[StageEstimate, ...]
    model: ModelEstimate | None
    prices: Prices
    seconds: float
    wall_s: float
    unmeasured: tuple[str, ...] = ()


def estimate(library: Library, plan: Plan, request: RunRequest) -> Estimate:
    """Estimate a run of `plan`. Nothing is loaded or changed, and files are not checked."""
    due = count_due(library, plan, request)
    describing = DescribingStages.of(plan)
    rates = measure_stages(library, plan, without=describing.names if describing else ())
    prices = Prices.of(plan.settings)
    model = None
    if describing is not None:
        ids = sorted({sha256 for name in describing.names for sha256 in due_ids(library, plan, name, request)})
        later = max(sum(due.stages[name].computed for name in describing.names) - len(ids), 0)
        model = _model(AnswerCounter.of(library, plan, describing), ids, later, rates.typical)
    stages = tuple(_stage(name, found, rates, model) for name, found in due.stages.items())
    return Estimate(
        videos=due.videos,
        stages=stages,
        model=model,
        prices=prices,
        seconds=sum(stage.seconds or 0.0 for stage in stages),
        wall_s=_wall_s(plan, stages),
        unmeasured=tuple(stage.name for stage in stages if stage.seconds is None),
    )


def _wall_s(plan: Plan, stages: Sequence[StageEstimate]) -> float:
    """Wall time with pools working in parallel, each with its number of calls at once."""
    return max(
        sum(stage.seconds or 0.0 for stage in stages if plan.graph[stage.name].pool == pool) / size
        for pool, size in pool_sizes(plan.settings).items()
    )


def _stage(name: str, due: StageDueCounts, rates: StageRates, model: ModelEstimate | None) -> StageEstimate:
    if model is not None and name in model.stages:
        return StageEstimate(name, due, None, None if model.unknown else model.amount.seconds)
    rate = rates.stages.get(name)
    if not due.computed:
        return StageEstimate(name, due, rate, 0.0)
    untimed = due.computed - due.timed
    if rate is None or (rate.per_second_s and untimed and rates.duration_s is None):
        return StageEstimate(name, due, rate)
    duration_s = due.duration_s + untimed * (rates.duration_s or 0.0)
    return StageEstimate(name, due, rate, rate.seconds(due.computed, duration_s))


def _model(counting: "AnswerCounter", ids: Sequence[str], later: int, typical: TypicalVideo | None) -> ModelEstimate:
    """Estimate describing `ids` at once, and `later` more videos that are cut into scenes first."""
    amounts = sampled_work(counting, ids)
    seen = total(amounts)
    like_them = len(ids) - len(amounts) if amounts else 0
    later += 0 if amounts else len(ids)
    amount = seen + seen.scaled(like_them / len(amounts)) if like_them else seen
    one = counting.typical_work(typical) if typical else seen.scaled(1 / len(amounts)) if amounts else None
    if later and one is not None:
        amount += one.scaled(later)
    if amount.asked:
        amount += counting.rates.start
    unknown = later if one is None else 0
    describing, settings = counting.describing, counting.plan.settings
    return ModelEstimate(
        name=describing.model.name,
        version=describing.model.version,
        stages=describing.names,
        rates=counting.rates,
        amount=amount,
        counted=len(amounts),
        like_them=like_them,
        typical=later - unknown,
        unknown=unknown,
        cost=None if unknown else Prices.of(settings).cost_of(amount),
    )


@dataclass
class _Video:
    """The requests about a video's scenes (`scenes`) and about all of it (`whole`), with their stored answers."""

    item: Item
    view: VideoView
    scenes: list[RequestAnswers]
    whole: RequestAnswers | None = None


@dataclass(frozen=True)
class AnswerCounter:
    """Counts what the describing stages of `plan` would ask."""

    library: Library
    plan: Plan
    describing: DescribingStages
    rates: ModelRates

    @classmethod
    def of(cls, library: Library, plan: Plan, describing: DescribingStages) -> "AnswerCounter":
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
        context = self.plan.context_of(stage, self.library)
        items = self._items(stage, ids)
        shared = [item.sha256 for item in items if item.fields.get(SHARED)]
        yield from ((sha256, ModelWork(videos=1)) for sha256 in shared)
        videos = self._videos([item for item in items if item.sha256 not in shared], context)
        for sha256, video in videos.items():
            scenes: Sequence[Scene] = video.item["scenes.scenes"]
            shown = {scene.start_s: scene.frames for scene in scenes}
            parts = [self._work(answered, shown[answered.request.start_s]) for answered in video.scenes]
            if video.whole is not None:
                pack: PackReference | None = video.item["scenes.pack"]
                parts.append(self._work(video.whole, pack.frames if pack else 0))
            yield sha256, replace(total(parts), videos=1, scenes=len(video.scenes))

    def _work(self, answered: RequestAnswers, frames: int) -> ModelWork:
        missing = self.rates.work(answered.request.scope, frames, answered.missing)
        return replace(missing, reused=answered.used.reused)

    def _videos(self, items: Sequence[Item], context: StageContext) -> dict[str, _Video]:
        model = self.describing.model
        videos: dict[str, _Video] = {}
        requests: list[ModelRequest] = []
        for item in items:
            view = model_requests.video_view(item.fields, context.resources)
            try:
                requests += model_requests.scene_requests(item, context, view)
            except VidpipeError:  # a template fails: the run reports it
                continue
            videos[item.sha256] = _Video(item, view, [])
        for answered in stored_answers(requests, context, model):
            videos[answered.request.video].scenes.append(answered)
        whole: list[ModelRequest] = []
        for sha256, video in list(videos.items()):
            try:
                whole.append(model_requests.whole_request(video.item, context, video.view, _known_texts(video)))
            except VidpipeError:
                del videos[sha256]
        for answered in stored_answers(whole, context, model):
            videos[answered.request.video].whole = answered
        return videos

    def _items(self, stage: Stage, ids: Sequence[str]) -> list[Item]:
        graph = self.library.graph
        scenes = self.library.videos.scenes(list(ids))
        items = []
        wanted = projection(graph, stage.all_reads)
        for document in self.library.collections["videos"].find({"_id": {"$in": list(ids)}}, wanted):
            rows = scenes.get(document["_id"], ())
            try:
                fields = read_fields(graph, stage.all_reads, document, rows, stage.optional_reads)
                items.append(Item(document["_id"], fields))
            except (KeyError, ValidationError):  # no result of today's shape: the run recomputes it
                continue
        return items


def _known_texts(video: _Video) -> dict[int, str]:
    """Return the known texts about the scenes.

    An answer still to come gets a placeholder: prompts about the whole video quote it, so their answers change too.
    """
    texts = {}
    for scene, answered in zip(video.view.scenes, video.scenes, strict=True):
        cell = answered.cells.get("describe_scene")
        if cell is None and any(prompt.id == "describe_scene" for prompt in answered.missing):
            texts[scene.index] = "\N{HORIZONTAL ELLIPSIS}"
        else:
            texts[scene.index] = "" if cell is None or cell.fault else str(cell.value)
    return texts


def sampled_work(counting: AnswerCounter, ids: Sequence[str], most: int | None = None) -> list[ModelWork]:
    """Return what single videos take: of all if they are few, else of a sample, as far as time allows.

    Args:
        counting: Counts the answers of a video.
        ids: The videos, in random order.
        most: Most videos that are counted (default `MOST_COUNTED`).
    """
    most = most or MOST_COUNTED
    chosen = ids if len(ids) <= most else ids[: min(most, SAMPLED)]
    return [work for _, work in counting.per_video(chosen, deadline=time.monotonic() + _COUNTING_S)]


def estimate_as_json(estimate: Estimate) -> dict[str, Any]:
    """Return the estimate as plain values, as `vidpipe plan --json` shows it; None for what was not measured."""
    return {
        "videos": estimate.videos,
        "stages": {stage.name: _stage_as_json(stage) for stage in estimate.stages},
        "model": _model_as_json(estimate.model, estimate.prices.currency) if estimate.model else None,
        "seconds": round(estimate.seconds, 3),
        "wall_seconds": round(estimate.wall_s, 3),
        "unmeasured": list(estimate.unmeasured),
    }


def _stage_as_json(stage: StageEstimate) -> dict[str, Any]:
    names = ("due", "follows", "may_follow", "why", "blocked", "failed", "quarantined", "waiting")
    return {
        **{name: getattr(stage.due, name) for name in names},
        "seconds": _rounded(stage.seconds),
        "measured_results": stage.rate.results if stage.rate else 0,
    }


def _model_as_json(model: ModelEstimate, currency: str) -> dict[str, Any]:
    speed = model.rates.speed
    return {
        "name": model.name,
        "version": model.version,
        "stages": list(model.stages),
        **model.amount.as_json(),
        "gpu_hours": None if model.amount.seconds is None else round(model.amount.seconds / 3600, 5),
        "cost": _rounded(model.cost, 6),
        "currency": currency,
        "counted_videos": model.counted,
        "estimated_videos": model.like_them + model.typical,
        "unknown_videos": model.unknown,
        "measured_answers": model.rates.answers,
        "seconds_per_prompt_token": speed.per_prompt_token_s if speed else None,
        "seconds_per_output_token": speed.per_output_token_s if speed else None,
        "seconds_to_start": speed.start_s if speed else None,
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
