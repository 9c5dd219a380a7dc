"""descriptions: everything that is asked of the describing model about a video, in one go over its frames.

The scenes come first; then the whole video, whose prompts see what was said of the scenes. Sentiment, tags, category,
summary and the questions of questions.json are asked together with the description, about the same frames. The model is
asked only for answers that are not there yet; each answer is a cell of its own, so that a changed prompt, a changed
scene or another model costs just the answers it concerns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vidpipe.media.facts import AudioStream, Scene, SubtitleStream
from vidpipe.stages import views
from vidpipe.stages.answering import Answered, answered, tokens_of
from vidpipe.stages.contract import AnswerCell, Cancelled, Item, Outcome, Stage, StageContext, StageError
from vidpipe.stages.model_results import ModelCategory, ModelSentiment, ModelTag, QuestionAnswer, WrongAnswer
from vidpipe.stages.results import Descriptions, SceneDescription
from vidpipe.vlm.model import DescribingModel, Facts, FrameSource, Request
from vidpipe.vlm.pack_frames import PackFrames
from vidpipe.vlm.prompts import Prompt, PromptSet
from vidpipe.vlm.views import VideoView

_QUESTION = "question:"


@dataclass
class _Work:
    """One video: its scenes' answers by index, and how many are still to come."""

    item: Item
    view: VideoView
    scenes: dict[float, int] = field(default_factory=dict)
    answers: dict[int, Answered] = field(default_factory=dict)
    error: StageError | None = None

    @property
    def waiting(self) -> int:
        return len(self.scenes) - len(self.answers)

    def said(self) -> dict[int, str]:
        """What the model said of each scene."""
        return {index: _text(answered.cells.get("describe_scene")) for index, answered in self.answers.items()}


def describe(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Asks the model about the scenes and the whole of each video; a fault of one request is that video's alone.

    Raises OutOfReach where the model is; what it said until then is kept.
    """
    model: DescribingModel = context.resources["model"]
    works = {item.sha256: _Work(item, views.video_view(item.fields)) for item in items}
    requests = [request for work in works.values() for request in _scene_requests(work, context)]
    left = set(works)
    for scene in answered(requests, context, model):
        work = works[scene.request.video]
        work.answers[work.scenes[scene.request.start_s]] = scene
        work.error = work.error or scene.error
        context.progress(work.item.sha256, len(work.answers) / (len(work.scenes) + 1))
    ready = [work for work in works.values() if not work.waiting]
    for work in ready:
        if work.error:
            left.discard(work.item.sha256)
            yield Outcome(work.item.sha256, error=work.error, used=tokens_of(work.answers.values()))
    whole = [whole_request(work.item, context, work.view, work.said()) for work in ready if not work.error]
    for video in answered(whole, context, model):
        work = works[video.request.video]
        left.discard(work.item.sha256)
        context.progress(work.item.sha256, 1.0)
        yield _outcome(work, video, model)
    if left:
        raise Cancelled


def scene_requests(item: Item, context: StageContext, view: VideoView) -> list[Request]:
    """What is asked about each scene of a video, in order."""
    prompts: PromptSet = context.resources["prompts"]
    scenes: Sequence[Scene] = item["scenes.scenes"]
    return [
        scene_request(item, context, scene, prompts.of_scene(view, seen))
        for scene, seen in zip(scenes, view.scenes, strict=True)
    ]


def scene_request(item: Item, context: StageContext, scene: Scene, prompts: tuple[Prompt, ...]) -> Request:
    """`prompts` about one scene."""
    facts = Facts(
        duration_s=round(scene.end_s - scene.start_s, 6),
        scenes=1,
        cuts_per_minute=0.0,
        stats=scene.stats,
        has_sound=_has_sound(item),
    )
    frames = _frames(item, context, scene.frames_version, scene.index)
    return Request(item.sha256, "scene", scene.start_s, scene.end_s, prompts, facts, frames)


def whole_request(item: Item, context: StageContext, view: VideoView, said: Mapping[int, str]) -> Request:
    """What is asked about the whole of a video. said: what the model said of its scenes, by their index."""
    prompts: PromptSet = context.resources["prompts"]
    return video_request(item, context, prompts.of_video(views.with_said(view, said)))


def video_request(item: Item, context: StageContext, prompts: tuple[Prompt, ...]) -> Request:
    """`prompts` about the whole of a video."""
    frames = _frames(item, context, item["scenes.frames_version"], None)
    return Request(item.sha256, "video", 0.0, item["scenes.duration_s"], prompts, _facts(item), frames)


def _scene_requests(work: _Work, context: StageContext) -> list[Request]:
    requests = scene_requests(work.item, context, work.view)
    work.scenes = {request.start_s: index for index, request in enumerate(requests)}
    return requests


def _outcome(work: _Work, video: Answered, model: DescribingModel) -> Outcome:
    used = tokens_of([*work.answers.values(), video])
    if video.error:
        return Outcome(work.item.sha256, error=video.error, used=used)
    scenes: Sequence[Scene] = work.item["scenes.scenes"]
    in_order = [work.answers[index] for index in range(len(scenes))]
    said = work.said()
    every = [*in_order, video]
    whole = {prompt: cell.value for prompt, cell in video.cells.items() if not cell.fault}
    summary: Mapping[str, Any] = whole.get("summary") or {}
    result = Descriptions(
        text=whole.get("describe_video") or "",
        model=model.name,
        measured=model.measured,
        scenes=tuple(
            SceneDescription(
                index=scene.index,
                description=said[index],
                described_by=model.name,
                answers=_questions(in_order[index].cells),
            )
            for index, scene in enumerate(scenes)
        ),
        summary=summary.get("summary", ""),
        keywords=tuple(summary.get("keywords", ())),
        sentiment=ModelSentiment.model_validate(whole["sentiment"]) if "sentiment" in whole else None,
        tags=tuple(ModelTag.model_validate(tag) for tag in whole.get("tags", ())),
        category=ModelCategory.model_validate(whole["category"]) if "category" in whole else None,
        questions=_questions(video.cells),
        wrong=tuple(_wrong(cell) for part in every for cell in part.cells.values() if cell.fault),
        answers=() if model.measured else tuple(cell.key for part in every for cell in part.cells.values()),
        **asdict(used),
    )
    return Outcome(work.item.sha256, result=result, used=used)


def _questions(cells: Mapping[str, AnswerCell]) -> tuple[QuestionAnswer, ...]:
    return tuple(
        QuestionAnswer(
            id=prompt.removeprefix(_QUESTION),
            value=cell.value,
            raw=cell.raw_text if cell.fault else "",
            fault=cell.fault,
        )
        for prompt, cell in sorted(cells.items())
        if prompt.startswith(_QUESTION)
    )


def _wrong(cell: AnswerCell) -> WrongAnswer:
    scene = cell.scope == "scene"
    return WrongAnswer(
        prompt=cell.prompt_id,
        fault=cell.fault,
        raw=cell.raw_text,
        start_s=cell.start_s if scene else None,
        end_s=cell.end_s if scene else None,
    )


def _text(cell: AnswerCell | None) -> str:
    return "" if cell is None or cell.fault else str(cell.value)


def _facts(item: Item) -> Facts:
    scenes: Sequence[Scene] = item["scenes.scenes"]
    subtitles: Sequence[SubtitleStream] = item["metadata.subtitles"]
    return Facts(
        duration_s=item["scenes.duration_s"],
        scenes=item["scenes.count"],
        cuts_per_minute=item["scenes.cuts_per_minute"],
        stats=item["scenes.stats"],
        orientation=item["metadata.orientation"],
        resolution=item["metadata.resolution"],
        has_sound=_has_sound(item),
        subtitle_languages=tuple(stream.language or "" for stream in subtitles),
        hdr=item["metadata.hdr"],
        scene_stats=tuple((scene.start_s, scene.stats) for scene in scenes),
    )


def _frames(item: Item, context: StageContext, version: str, scene: int | None) -> FrameSource | None:
    pack = item["scenes.pack"]
    return PackFrames(context.settings, pack, version, scene) if pack else None


def _has_sound(item: Item) -> bool:
    audio: Sequence[AudioStream] = item["metadata.audio"]
    return bool(audio)


STAGE = Stage(
    name="descriptions",
    job="describe",
    description="Each scene and the whole video in words, and what else is asked of the describing model.",
    result=Descriptions,
    function=describe,
    reads=(
        *views.READS,
        "metadata.hdr",
        "metadata.subtitles",
        "scenes.count",
        "scenes.cuts_per_minute",
        "scenes.stats",
        "scenes.pack",
        "scenes.frames_version",
    ),
    resources=("model", "prompts"),
    code_version="2",
    stored_as="description",
    pool="gpu",
    batch_size=16,
    kinds=("llm",),
)
