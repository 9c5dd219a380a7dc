"""Gets answers of the describing model: only missing ones are asked, and each is stored as it arrives.

An answer in the wrong form is requested once more, then stored as it is and marked. A question of `vidpipe ask` is
answered the same way: asking it again costs nothing, nor does adding it to questions.json later.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.models.answer_forms import AnswerFormatError
from vidpipe.models.describing_model import DescribingModel, ModelAnswer, ModelReply, ModelRequest, answer_key
from vidpipe.models.prompts import Prompt, PromptSet, correction_prompt
from vidpipe.models.questions import Question
from vidpipe.stages.contract import AnswerCell, Item, ModelTokens, OutOfReach, StageContext, StageError
from vidpipe.stages.model_requests import scene_request, video_request, video_view, with_descriptions
from vidpipe.stages.results import SceneDescription

#: Answers are stored as soon as this many are waiting, or the first of them has waited this long.
_MAX_UNSAVED, _MAX_UNSAVED_S = 256, 2.0
_MAX_CHARACTERS = 20_000

#: Fields of other stages that a question uses if they exist: the scenes' descriptions, and whether they are measured.
SCENE_DESCRIPTIONS, MEASURED = "descriptions.scenes", "descriptions.measured"


@dataclass
class RequestAnswers:
    """One request and its answers.

    Attributes:
        request: What was asked.
        cells: Prompt id -> answer, for those that exist.
        used: What the model did for them now.
        error: Why answers are missing; None if none are.
    """

    request: ModelRequest
    cells: dict[str, AnswerCell] = field(default_factory=dict)
    used: ModelTokens = field(default_factory=ModelTokens)
    error: StageError | None = None

    @property
    def missing(self) -> tuple[Prompt, ...]:
        """The prompts without an answer."""
        return tuple(prompt for prompt in self.request.prompts if prompt.id not in self.cells)


def request_key(request: ModelRequest, prompt: Prompt, model: DescribingModel) -> str:
    """Return the key of the answer to one prompt of a request."""
    return answer_key(
        **_subject(request),
        prompt_hash=prompt.hash,
        model=model.version,
        frames_version=model.basis(request),
    )


def stored_answers(
    requests: Iterable[ModelRequest], context: StageContext, model: DescribingModel
) -> list[RequestAnswers]:
    """Return each request with its stored answers; nothing is asked.

    A model that only measures has none: its answers cost less than looking them up.
    """
    every = [RequestAnswers(request) for request in requests]
    if context.cells is None or model.measured:
        return every
    wanted = [
        (request_key(answers.request, prompt, model), answers, prompt.id)
        for answers in every
        for prompt in answers.request.prompts
    ]
    found = context.cells.get({key for key, _, _ in wanted})
    for key, answers, prompt_id in wanted:
        if key in found:
            answers.cells[prompt_id] = found[key]
            answers.used += ModelTokens(reused=1)
    return every


def answer_requests(
    requests: Iterable[ModelRequest], context: StageContext, model: DescribingModel
) -> Iterator[RequestAnswers]:
    """Yield each request once it is answered, in any order. Ends early once `context.cancelled` is set.

    Raises:
        OutOfReach: The model is unavailable. Its answers so far are stored.
    """
    every = stored_answers(requests, context, model)
    unanswered = []
    for answers in every:
        if answers.missing:
            unanswered.append(replace(answers.request, prompts=answers.missing))
        else:
            yield answers
    if unanswered:
        yield from _ModelSession(every, context, model).answer(unanswered)


class _ModelSession:
    """Asks the model the requests in `every`, and stores its answers."""

    def __init__(self, every: Sequence[RequestAnswers], context: StageContext, model: DescribingModel) -> None:
        self._answers = {tuple(_subject(answers.request).values()): answers for answers in every}
        self._context = context
        self._model = model
        self._unsaved: list[AnswerCell] = []
        self._saved_at = self._replied_at = time.monotonic()

    def answer(self, requests: Sequence[ModelRequest]) -> Iterator[RequestAnswers]:
        """Yield each request once it is answered and its answers are stored."""
        try:
            again: list[ModelRequest] = []
            for answers, corrections in self._ask(requests, last=False):
                if corrections and answers.error is None:
                    again.append(replace(answers.request, prompts=tuple(corrections)))
                else:
                    self._save()
                    yield answers
            for answers, _ in self._ask(again, last=True) if again else ():
                self._save()
                yield answers
        finally:
            self._save()

    def _ask(self, requests: Sequence[ModelRequest], *, last: bool) -> Iterator[tuple[RequestAnswers, list[Prompt]]]:
        """Yield each request that got a reply, with the prompts that have to be asked once more."""
        for reply in self._replies(requests):
            now = time.monotonic()
            seconds, self._replied_at = now - self._replied_at, now
            answers = self._answers[tuple(_subject(reply.request).values())]
            originals = {prompt.id: prompt for prompt in answers.request.prompts}
            corrections = []
            for answer in reply.answers:
                prompt = originals[answer.prompt.id]
                cell = self._cell(answers.request, prompt, answer, seconds / len(reply.answers))
                answers.used += ModelTokens(prompt_tokens=answer.prompt_tokens, output_tokens=answer.tokens)
                if cell.fault and not last:
                    corrections.append(correction_prompt(prompt, cell.fault))
                    continue
                answers.cells[prompt.id] = cell
                answers.used += ModelTokens(asked=1)
                self._keep(cell)
            if reply.error:
                transient = reply.transient or getattr(reply.error, "transient", False)
                answers.error = StageError(reply.error.message, reply.error.hint, transient=transient)
            yield answers, corrections

    def _replies(self, requests: Sequence[ModelRequest]) -> Iterator[ModelReply]:
        try:
            yield from self._model.answer(requests, self._context.cancelled)
        except UnavailableError as error:
            raise OutOfReach(error.message, error.hint) from error

    def _cell(self, request: ModelRequest, prompt: Prompt, answer: ModelAnswer, seconds: float) -> AnswerCell:
        # models can generate half characters, and texts of any length
        text = answer.text.encode("utf-8", "replace").decode("utf-8")[:_MAX_CHARACTERS].strip()
        try:
            value, fault = prompt.form.parse(text), ""
        except AnswerFormatError as error:
            value, fault = None, str(error)
        return AnswerCell(
            key=request_key(request, prompt, self._model),
            **_subject(request),
            prompt_id=prompt.id,
            prompt_hash=prompt.hash,
            template=prompt.template,
            model=self._model.version,
            frames_version=self._model.basis(request),
            raw_text=text,
            value=value,
            fault=fault,
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            seconds=round(seconds, 6),
        )

    def _keep(self, cell: AnswerCell) -> None:
        if self._context.cells is None or self._model.measured:
            return
        self._unsaved.append(cell)
        if len(self._unsaved) >= _MAX_UNSAVED or time.monotonic() - self._saved_at > _MAX_UNSAVED_S:
            self._save()

    def _save(self) -> None:
        if self._unsaved and self._context.cells is not None:
            self._context.cells.keep(self._unsaved)
        self._unsaved, self._saved_at = [], time.monotonic()


def _subject(request: ModelRequest) -> dict[str, Any]:
    """Return what the request is about; no two requests have the same."""
    return {name: getattr(request, name) for name in ("video", "scope", "start_s", "end_s")}


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
        items: The videos, with the fields in `vidpipe.stages.descriptions.READS`.
        question: What is asked.
        context: The context of the stage `descriptions`.
        count: Called with the model's work as answers arrive, also for videos that fail or are not finished.

    Raises:
        OutOfReach: The model is unavailable.
    """
    model: DescribingModel = context.resources["model"]
    videos = {item.sha256: VideoAnswers(item) for item in items}
    requests = [request for item in items for request in question_requests(item, question, context)]
    waiting = Counter(request.video for request in requests)
    yield from (video for sha256, video in videos.items() if sha256 not in waiting)
    for answers in answer_requests(requests, context, model):
        count(answers.used)
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
    view = video_view(item.fields, context.resources)
    if question.scope == "scene":
        return [
            scene_request(item, context, scene, (prompts.of_question(question, view, scene_view),))
            for scene, scene_view in zip(item["scenes.scenes"], view.scenes, strict=True)
        ]
    scenes: Sequence[SceneDescription] = item.fields.get(SCENE_DESCRIPTIONS) or ()
    view = with_descriptions(view, {scene.index: scene.description for scene in scenes})
    return [video_request(item, context, (prompts.of_question(question, view, None),))]
