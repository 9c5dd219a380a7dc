"""Asking the describing model: only what has no answer yet; each answer is kept as it comes; a wrong form is asked for
once more, then kept as it is and marked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.stages.contract import AnswerCell, ModelTokens, OutOfReach, StageContext, StageError
from vidpipe.vlm.answers.forms import WrongForm
from vidpipe.vlm.cells import cell_key
from vidpipe.vlm.model import Answer, DescribingModel, Reply, Request
from vidpipe.vlm.prompts import Prompt, asked_again

#: Answers are stored at the latest when so many wait, or when the first of them has waited so long.
_MOST_WAITING, _LONGEST_WAIT_S = 256, 2.0
_MOST_CHARACTERS = 20_000


@dataclass
class Answered:
    """One request and its answers.

    cells: prompt id -> answer, for those that could be had
    asked: how many of them the model gave now; reused: how many were there
    error: why some are missing; None where all are there
    """

    request: Request
    cells: dict[str, AnswerCell] = field(default_factory=dict)
    asked: int = 0
    reused: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: StageError | None = None

    @property
    def missing(self) -> tuple[Prompt, ...]:
        return tuple(prompt for prompt in self.request.prompts if prompt.id not in self.cells)


def tokens_of(parts: Iterable[Answered]) -> ModelTokens:
    """What the model did for all of `parts`."""
    works = list(parts)
    return ModelTokens(
        asked=sum(work.asked for work in works),
        reused=sum(work.reused for work in works),
        prompt_tokens=sum(work.prompt_tokens for work in works),
        output_tokens=sum(work.output_tokens for work in works),
    )


def key_of(request: Request, prompt: Prompt, model: DescribingModel) -> str:
    """The key of the answer to one prompt of a request."""
    return cell_key(
        video=request.video,
        scope=request.scope,
        start_s=request.start_s,
        end_s=request.end_s,
        prompt_hash=prompt.hash,
        model=model.version,
        frames_version=model.basis(request),
    )


def known(requests: Iterable[Request], context: StageContext, model: DescribingModel) -> list[Answered]:
    """Each request with the answers that are there already; nothing is asked.

    A model that only measures has none: what it says costs less than looking it up.
    """
    works = [Answered(request) for request in requests]
    if context.cells is None or model.measured:
        return works
    wanted = [
        (key_of(work.request, prompt, model), work, prompt.id) for work in works for prompt in work.request.prompts
    ]
    found = context.cells.get({key for key, _, _ in wanted})
    for key, work, prompt_id in wanted:
        if key in found:
            work.cells[prompt_id] = found[key]
            work.reused += 1
    return works


def answered(requests: Iterable[Request], context: StageContext, model: DescribingModel) -> Iterator[Answered]:
    """Each request once its answers are there, in any order. Ends early once `context.cancelled` is set.

    Raises OutOfReach where the model is out of reach; what was answered until then is kept.
    """
    works = known(requests, context, model)
    asking = []
    for work in works:
        if work.missing:
            asking.append(replace(work.request, prompts=work.missing))
        else:
            yield work
    if asking:
        yield from _Interview(works, context, model).hold(asking)


class _Interview:
    """One conversation with the model about the requests in `works`."""

    def __init__(self, works: Sequence[Answered], context: StageContext, model: DescribingModel) -> None:
        self._works = {_place(work.request): work for work in works}
        self._context = context
        self._model = model
        self._unsaved: list[AnswerCell] = []
        self._saved_at = self._replied_at = time.monotonic()

    def hold(self, asking: Sequence[Request]) -> Iterator[Answered]:
        try:
            again: list[Request] = []
            for work, wrong in self._ask(asking, last=False):
                if wrong and work.error is None:
                    again.append(replace(work.request, prompts=tuple(wrong)))
                else:
                    yield self._finished(work)
            for work, _ in self._ask(again, last=True) if again else ():
                yield self._finished(work)
        finally:
            self._save()

    def _ask(self, requests: Sequence[Request], *, last: bool) -> Iterator[tuple[Answered, list[Prompt]]]:
        """Each request that was replied to, with the prompts that have to be asked again."""
        for reply in self._replies(requests):
            now = time.monotonic()
            seconds, self._replied_at = now - self._replied_at, now
            work = self._works[_place(reply.request)]
            originals = {prompt.id: prompt for prompt in work.request.prompts}
            wrong = []
            for answer in reply.answers:
                prompt = originals[answer.prompt.id]
                cell = self._cell(work.request, prompt, answer, seconds / len(reply.answers))
                work.prompt_tokens += answer.prompt_tokens
                work.output_tokens += answer.tokens
                if cell.fault and not last:
                    wrong.append(asked_again(prompt, cell.fault))
                    continue
                work.cells[prompt.id] = cell
                work.asked += 1
                self._keep(cell)
            if reply.error:
                work.error = _stage_error(reply.error, transient=reply.transient)
            yield work, wrong

    def _replies(self, requests: Sequence[Request]) -> Iterator[Reply]:
        try:
            yield from self._model.answer(requests, self._context.cancelled)
        except UnavailableError as error:
            raise OutOfReach(error.message, error.hint) from error

    def _cell(self, request: Request, prompt: Prompt, answer: Answer, seconds: float) -> AnswerCell:
        text = _storable(answer.text)
        try:
            value, fault = prompt.form.parse(text), ""
        except WrongForm as error:
            value, fault = None, str(error)
        return AnswerCell(
            key=key_of(request, prompt, self._model),
            video=request.video,
            scope=request.scope,
            start_s=request.start_s,
            end_s=request.end_s,
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
        if len(self._unsaved) >= _MOST_WAITING or time.monotonic() - self._saved_at > _LONGEST_WAIT_S:
            self._save()

    def _save(self) -> None:
        if self._unsaved and self._context.cells is not None:
            self._context.cells.keep(self._unsaved)
        self._unsaved, self._saved_at = [], time.monotonic()

    def _finished(self, work: Answered) -> Answered:
        """Its answers are stored before anything is made of them."""
        self._save()
        return work


def _place(request: Request) -> tuple[str, str, float, float]:
    return request.video, request.scope, request.start_s, request.end_s


def _storable(text: str) -> str:
    """What a model says may hold half characters, and be of any length."""
    return text.encode("utf-8", "replace").decode("utf-8")[:_MOST_CHARACTERS].strip()


def _stage_error(error: VidpipeError, *, transient: bool) -> StageError:
    return StageError(error.message, error.hint, transient=transient)
