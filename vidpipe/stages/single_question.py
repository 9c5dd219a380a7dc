"""One question about videos, asked on demand by `vidpipe ask`.

The answer is stored like any other: asking again costs nothing, and a question that is later added to questions.json
already has its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vidpipe.models.describing_model import DescribingModel, ModelRequest
from vidpipe.models.prompts import PromptSet
from vidpipe.models.questions import Question
from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, StageContext, StageError
from vidpipe.stages.model_answers import answer_requests, total_tokens
from vidpipe.stages.model_requests import scene_request, video_request, video_view, with_descriptions
from vidpipe.stages.results import SceneDescription

#: Fields of other stages that a question uses if they exist: the scenes' descriptions, and whether they are measured.
SCENE_DESCRIPTIONS, MEASURED = "descriptions.scenes", "descriptions.measured"


@dataclass
class VideoAnswers:
    """The answers about one video.

    Attributes:
        item: The video.
        cells: One answer, or one per scene in order of time.
        error: Why answers are missing.
    """

    item: Item
    cells: list[AnswerCell] = field(default_factory=list)
    error: StageError | None = None


def ask_question(
    items: Sequence[Item], question: Question, context: StageContext, count: Callable[[ModelTokens], None]
) -> Iterator[VideoAnswers]:
    """Yield each video once it is answered. Ends early once `context.cancelled` is set.

    Args:
        items: The videos, with the fields in `model_requests.READS`.
        question: What is asked.
        context: The context of the stage `descriptions`.
        count: Called with the model's work as answers arrive, also for videos that fail or are not finished.

    Raises:
        OutOfReach: The model is unavailable.
    """
    model: DescribingModel = context.resources["model"]
    videos = {item.sha256: VideoAnswers(item) for item in items}
    requests = [request for item in items for request in question_requests(item, question, context)]
    waiting = dict.fromkeys(videos, 0)
    for request in requests:
        waiting[request.video] += 1
    for sha256, number in waiting.items():
        if not number:
            yield videos[sha256]
    for answers in answer_requests(requests, context, model):
        count(total_tokens([answers]))
        video = videos[answers.request.video]
        video.cells += answers.cells.values()
        video.error = video.error or answers.error
        waiting[answers.request.video] -= 1
        if not waiting[answers.request.video]:
            video.cells.sort(key=lambda cell: cell.start_s)
            yield video


def question_requests(item: Item, question: Question, context: StageContext) -> list[ModelRequest]:
    """Return what is asked about one video: one request, or one per scene."""
    prompts: PromptSet = context.resources["prompts"]
    view = video_view(item.fields)
    if question.scope == "scene":
        return [
            scene_request(item, context, scene, (prompts.of_question(question, view, scene_view),))
            for scene, scene_view in zip(item["scenes.scenes"], view.scenes, strict=True)
        ]
    scenes: Sequence[SceneDescription] = item.fields.get(SCENE_DESCRIPTIONS) or ()
    view = with_descriptions(view, {scene.index: scene.description for scene in scenes})
    return [video_request(item, context, (prompts.of_question(question, view, None),))]
