"""descriptions: everything that is asked of the describing model about a video, in one pass over its frames.

The scenes come first, then the whole video, whose prompts contain the descriptions of the scenes. Sentiment, tags,
category, summary and the questions of questions.json are asked together with the description, about the same frames.
Only missing answers are asked; each answer is stored by itself, so that a changed prompt, scene or model costs just the
answers that it affects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vidpipe.media.facts import Scene
from vidpipe.models.template_files import named_fields
from vidpipe.settings import Settings
from vidpipe.stages.contract import AnswerCell, Cancelled, Item, ModelTokens, Outcome, Stage, StageContext, StageError
from vidpipe.stages.findings import STATED, extracts
from vidpipe.stages.results import (
    Descriptions,
    ModelCategory,
    ModelSentiment,
    ModelTag,
    QuestionAnswer,
    SceneDescription,
    WrongAnswer,
)

if TYPE_CHECKING:
    from vidpipe.models.describing_model import DescribingModel
    from vidpipe.models.prompts import VideoView
    from vidpipe.stages.analyses.declaration import EvidenceText
    from vidpipe.stages.model_answers import RequestAnswers

#: The fields of other stages from which requests are made. Their order is part of stored specs.
READS: tuple[str, ...] = (
    "metadata.audio",
    "metadata.cues",
    "metadata.height",
    "metadata.orientation",
    "metadata.resolution",
    "metadata.title",
    "metadata.width",
    "scenes.duration_s",
    "scenes.scenes",
    "metadata.hdr",
    "metadata.subtitles",
    "scenes.count",
    "scenes.cuts_per_minute",
    "scenes.stats",
    "scenes.pack",
    "scenes.frames_version",
)
#: What is read if copies share descriptions.
SHARED = "ingest.shared_description"
_QUESTION = "question:"


def evidence_read(settings: Settings, evidence: Iterable[EvidenceText]) -> set[str]:
    """Return the fields of analyses that descriptions depend on.

    Without a vision model all of them are stated; a vision model depends on those that its templates name.
    """
    reads = {text.name: text.reads for text in evidence}
    if settings.qwen_vl.measured:
        return {*reads.values(), *STATED}
    return {reads[name] for name in named_fields(settings, reads)} if reads else set()


@dataclass
class _DescribedVideo:
    """The progress of one video.

    Attributes:
        item: The video.
        view: What prompts see of it.
        scenes: Index of each scene by its start in seconds.
        answers: The scenes' answers by index.
        error: The first error.
    """

    item: Item
    view: VideoView
    scenes: dict[float, int] = field(default_factory=dict)
    answers: dict[int, RequestAnswers] = field(default_factory=dict)
    error: StageError | None = None

    @property
    def complete(self) -> bool:
        """Whether all scenes are answered."""
        return len(self.scenes) == len(self.answers)

    def scene_descriptions(self) -> dict[int, str]:
        """Return the descriptions of the scenes by index."""
        cells = {index: answers.cells.get("describe_scene") for index, answers in self.answers.items()}
        return {index: str(cell.value) if cell and not cell.fault else "" for index, cell in cells.items()}


def describe(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Ask the model about the scenes and the whole of each video; an error of one request is that video's alone.

    Raises:
        OutOfReach: The model is unavailable. Its answers so far are stored.
    """
    from vidpipe.stages.model_answers import answer_requests
    from vidpipe.stages.model_requests import scene_requests, video_view, whole_request

    for shared in (item for item in items if item.fields.get(SHARED)):
        yield Outcome(shared.sha256, _shared(shared))
    items = [item for item in items if not item.fields.get(SHARED)]
    model: DescribingModel = context.resources["model"]
    videos = {item.sha256: _DescribedVideo(item, video_view(item.fields, context.resources)) for item in items}
    requests = []
    for video in videos.values():
        of_video = scene_requests(video.item, context, video.view)
        video.scenes = {request.start_s: index for index, request in enumerate(of_video)}
        requests += of_video
    left = set(videos)
    for answers in answer_requests(requests, context, model):
        video = videos[answers.request.video]
        video.answers[video.scenes[answers.request.start_s]] = answers
        video.error = video.error or answers.error
        context.progress(video.item.sha256, len(video.answers) / (len(video.scenes) + 1))
    whole = []
    for video in videos.values():
        if video.complete and video.error:
            left.discard(video.item.sha256)
            yield Outcome(video.item.sha256, error=video.error, used=_used(video.answers.values()))
        elif video.complete:
            whole.append(whole_request(video.item, context, video.view, video.scene_descriptions()))
    for answers in answer_requests(whole, context, model):
        video = videos[answers.request.video]
        left.discard(video.item.sha256)
        context.progress(video.item.sha256, 1.0)
        yield _outcome(video, answers, context)
    if left:
        raise Cancelled


def _shared(item: Item) -> Descriptions:
    """Return the description of a copy. Scenes have none: those of the copy may be others."""
    shared: Descriptions = item[SHARED]
    blank = (SceneDescription(index=scene.index, description="", described_by="") for scene in item["scenes.scenes"])
    return shared.model_copy(update={"scenes": tuple(blank)})


def _outcome(video: _DescribedVideo, whole: RequestAnswers, context: StageContext) -> Outcome:
    model: DescribingModel = context.resources["model"]
    used = _used([*video.answers.values(), whole])
    if whole.error:
        return Outcome(video.item.sha256, error=whole.error, used=used)
    scenes: Sequence[Scene] = video.item["scenes.scenes"]
    by_scene = [video.answers[index] for index in range(len(scenes))]
    descriptions = video.scene_descriptions()
    cells = [cell for answers in [*by_scene, whole] for cell in answers.cells.values()]
    values = {prompt: cell.value for prompt, cell in whole.cells.items() if not cell.fault}
    summary: Mapping[str, Any] = extracts(video.item) if model.measured else values.get("summary") or {}
    result = Descriptions(
        text=values.get("describe_video") or "",
        model=model.name,
        measured=model.measured,
        found=" ".join(whole.request.facts.findings) if model.measured else "",
        scenes=tuple(
            SceneDescription(
                index=scene.index,
                description=descriptions[index],
                described_by=model.name,
                answers=_question_answers(by_scene[index].cells),
            )
            for index, scene in enumerate(scenes)
        ),
        summary=summary.get("summary", ""),
        keywords=tuple(summary.get("keywords", ())),
        sentiment=ModelSentiment.model_validate(values["sentiment"]) if "sentiment" in values else None,
        tags=tuple(ModelTag.model_validate(tag) for tag in values.get("tags", ())),
        category=ModelCategory.model_validate(values["category"]) if "category" in values else None,
        questions=_question_answers(whole.cells),
        wrong=tuple(
            WrongAnswer(
                prompt=cell.prompt_id,
                fault=cell.fault,
                raw=cell.raw_text,
                start_s=cell.start_s if cell.scope == "scene" else None,
                end_s=cell.end_s if cell.scope == "scene" else None,
            )
            for cell in cells
            if cell.fault
        ),
        answers=() if model.measured else tuple(cell.key for cell in cells),
        **asdict(used),
    )
    return Outcome(video.item.sha256, result=result, used=used)


def _used(parts: Iterable[RequestAnswers]) -> ModelTokens:
    return sum((answers.used for answers in parts), ModelTokens())


def _question_answers(cells: Mapping[str, AnswerCell]) -> tuple[QuestionAnswer, ...]:
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


STAGE = Stage(
    name="descriptions",
    job="describe",
    description="Each scene and the whole video in words, and what else is asked of the describing model.",
    result=Descriptions,
    function=describe,
    reads=READS,
    resources=("model", "prompts"),
    code_version="2",
    stored_as="description",
    pool="gpu",
    batch_size=16,
    kinds=("llm",),
)
