"""One question about videos, asked here and now: what `vidpipe ask` does.

The answer is a cell like any other, so that asking again costs nothing, and a question that is kept in questions.json
afterwards has its answers already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from vidpipe.stages import descriptions, views
from vidpipe.stages.answering import answered, tokens_of
from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, StageContext, StageError
from vidpipe.stages.results import SceneDescription
from vidpipe.vlm.model import DescribingModel, Request
from vidpipe.vlm.prompts import PromptSet
from vidpipe.vlm.questions import Question

#: The fields of other stages that a question needs; what scenes were said to show is used where it is there, and a
#: model that sees has said it.
READS: tuple[str, ...] = tuple(read for read in descriptions.STAGE.reads)
SAID, MEASURED = "descriptions.scenes", "descriptions.measured"


@dataclass
class VideoAnswers:
    """The answers about one video: one, or one a scene in order of time."""

    item: Item
    cells: list[AnswerCell] = field(default_factory=list)
    error: StageError | None = None


def ask(
    items: Sequence[Item], question: Question, context: StageContext, count: Callable[[ModelTokens], None]
) -> Iterator[VideoAnswers]:
    """Each video once its answers are there. Ends early once `context.cancelled` is set.

    count: told what the model did, as its answers come; also those about a video that fails, or is not finished
    Raises OutOfReach where the model is out of reach.
    """
    model: DescribingModel = context.resources["model"]
    found = {item.sha256: VideoAnswers(item) for item in items}
    requests = [request for item in items for request in requests_of(item, question, context)]
    waiting = dict.fromkeys(found, 0)
    for request in requests:
        waiting[request.video] += 1
    for sha256, number in waiting.items():
        if not number:
            yield found[sha256]
    for done in answered(requests, context, model):
        count(tokens_of([done]))
        video = found[done.request.video]
        video.cells += done.cells.values()
        video.error = video.error or done.error
        waiting[done.request.video] -= 1
        if not waiting[done.request.video]:
            video.cells.sort(key=lambda cell: cell.start_s)
            yield video


def requests_of(item: Item, question: Question, context: StageContext) -> list[Request]:
    """What is asked about one video: one request, or one a scene."""
    prompts: PromptSet = context.resources["prompts"]
    view = views.video_view(item.fields)
    if question.scope == "scene":
        return [
            descriptions.scene_request(item, context, scene, (prompts.of_question(question, view, seen),))
            for scene, seen in zip(item["scenes.scenes"], view.scenes, strict=True)
        ]
    scenes: Sequence[SceneDescription] = item.fields.get(SAID) or ()
    view = views.with_said(view, {scene.index: scene.description for scene in scenes})
    return [descriptions.video_request(item, context, (prompts.of_question(question, view, None),))]
