"""The describing model `qwen`: Qwen2-VL, 2.5 or 3 in this process, in batches that fit into memory."""

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from vidpipe.errors import VidpipeError
from vidpipe.models.describing_model import DescribingModel, ModelAnswer, ModelReply, ModelRequest
from vidpipe.models.qwen import loading
from vidpipe.models.qwen.checkpoint import Checkpoint
from vidpipe.models.qwen.inputs import PreparedRequest, frame_budget, prepare_request
from vidpipe.models.qwen.loading import LoadedModel, free_memory
from vidpipe.models.qwen.prefill import answer_batch
from vidpipe.settings import Settings
from vidpipe.text.words import digest


@dataclass
class TokenBudget:
    """Tokens that fit into memory at once: the setting, and less after memory ran out."""

    tokens: int


def batch_tokens(batch: Sequence[PreparedRequest]) -> int:
    """Return the tokens in a batch: one row per prompt, padded to the longest prefix, question and answer."""
    rows = sum(len(each.prompts) for each in batch)
    prefix, question, answer = (max(each.longest[part] for each in batch) for part in range(3))
    return rows * (prefix + question + answer)


def fill_batches(requests: Iterable[PreparedRequest], budget: TokenBudget) -> Iterator[list[PreparedRequest]]:
    """Yield consecutive requests in batches that fit into `budget`; a larger one goes alone."""
    batch: list[PreparedRequest] = []
    for request in requests:
        if batch and batch_tokens([*batch, request]) > budget.tokens:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


def answer_in_batches(
    engine: LoadedModel, batch: Sequence[PreparedRequest], budget: TokenBudget
) -> Iterator[ModelReply]:
    """Yield one reply per request.

    When memory runs out, the batch is halved, then the prompts of a request, until it fits or one is left. `budget`
    shrinks accordingly for the following batches.
    """
    if len(batch) > 1:
        answers = _try(engine, batch, budget)
        if answers is not None:
            for each, said in zip(batch, answers, strict=True):
                yield ModelReply(each.request, said)
            return
        middle = len(batch) // 2
        yield from answer_in_batches(engine, batch[:middle], budget)
        yield from answer_in_batches(engine, batch[middle:], budget)
        return
    said, error = _answer_alone(engine, batch[0], budget)
    yield ModelReply(batch[0].request, said, error)


def _answer_alone(
    engine: LoadedModel, one: PreparedRequest, budget: TokenBudget
) -> tuple[list[ModelAnswer], VidpipeError | None]:
    answers = _try(engine, [one], budget)
    if answers is not None:
        return answers[0], None
    if len(one.prompts) == 1:
        return [], _too_large(engine, one)
    middle = len(one.prompts) // 2
    parts = [_answer_alone(engine, part, budget) for part in (one.part(0, middle), one.part(middle, len(one.prompts)))]
    said = list(itertools.chain.from_iterable(answers for answers, _ in parts))
    return said, next((error for _, error in parts if error), None)


def _try(engine: LoadedModel, batch: Sequence[PreparedRequest], budget: TokenBudget) -> list[list[ModelAnswer]] | None:
    """Return the answers; None if memory ran out."""
    import torch

    try:
        return answer_batch(engine, batch)
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # the CPU allocator raises no specific class
            raise
    budget.tokens = min(budget.tokens, batch_tokens(batch) // 2)
    free_memory()  # only here, after the traceback has released the tensors
    return None


def _too_large(engine: LoadedModel, one: PreparedRequest) -> VidpipeError:
    request = one.request
    return VidpipeError(
        f"The {request.scope} {request.start_s:.1f}-{request.end_s:.1f} s of video {request.video[:12]} does not fit "
        f"into the memory of the {'GPU' if engine.device == 'cuda' else 'machine'}, even alone: {one.length} tokens.",
        "Lower MaxVideoTokens or MaxPixels in [QwenVL], use a smaller model, or free memory.",
    )


#: Requests whose frames are read and resized ahead, while the model computes.
_READ_AHEAD = 4


class QwenModel(DescribingModel):
    """Answers greedily from the frames. Weights are loaded by the first `answer` and freed by `close`."""

    def __init__(self, settings: Settings) -> None:
        self._all_settings = settings
        self._settings = settings.qwen_vl
        self._checkpoint = Checkpoint.of(settings)
        self._engine: loading.LoadedModel | None = None

    @cached_property
    def name(self) -> str:
        """As recorded with each description. Raises UnavailableError if ModelDir is not a checkpoint."""
        return self._checkpoint.name()

    @cached_property
    def version(self) -> str:
        """Identifies the checkpoint and the frame budget. Raises UnavailableError if it cannot be found."""
        budget = (self._settings.min_pixels, self._settings.max_pixels, self._settings.max_video_tokens)
        return f"qwen-{digest(self._checkpoint.version(), repr(budget))}"

    def readiness(self) -> str:
        """Return the device. Raises UnavailableError if packages or weights are missing."""
        self._checkpoint.check()
        return f"on {loading.device_in_words()}"

    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield replies batch by batch; see DescribingModel. A request whose frames cannot be read gets an error."""
        if not requests or cancelled.is_set():
            return
        engine = self._loaded(cancelled)
        if engine is None:
            return
        token_budget = TokenBudget(self._settings.batch_tokens)
        unreadable: list[ModelReply] = []
        for batch in fill_batches(self._prepared(engine, requests, cancelled, unreadable), token_budget):
            if cancelled.is_set():
                return
            yield from unreadable
            unreadable.clear()
            for reply in answer_in_batches(engine, batch, token_budget):
                yield reply
                if cancelled.is_set():
                    return
        yield from unreadable

    def close(self) -> None:
        """Release the weights."""
        if self._engine is not None:
            self._engine = None
            loading.release()

    def _loaded(self, cancelled: threading.Event) -> loading.LoadedModel | None:
        if self._engine is None:
            self._engine = loading.acquire(self._checkpoint, self._all_settings, cancelled)
        return self._engine

    def _prepared(
        self,
        engine: loading.LoadedModel,
        requests: Sequence[ModelRequest],
        cancelled: threading.Event,
        unreadable: list[ModelReply],
    ) -> Iterator[PreparedRequest]:
        """Yield the requests in order, prepared ahead in a thread; unreadable ones go to `unreadable`."""
        budget = frame_budget(engine, self._settings)
        waiting = deque(requests)
        ahead: deque[tuple[ModelRequest, Future[PreparedRequest]]] = deque()
        with ThreadPoolExecutor(1, "frames") as reader:
            try:
                while (waiting or ahead) and not cancelled.is_set():
                    while waiting and len(ahead) < _READ_AHEAD:
                        request = waiting.popleft()
                        ahead.append((request, reader.submit(prepare_request, engine, request, budget)))
                    request, prepared = ahead.popleft()
                    try:
                        yield prepared.result()
                    except VidpipeError as error:
                        unreadable.append(ModelReply(request, error=error))
            finally:
                reader.shutdown(wait=True, cancel_futures=True)
