"""The describing model `qwen`: Qwen2-VL, 2.5 or 3 in this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from vidpipe.errors import VidpipeError
from vidpipe.models.answer_keys import digest
from vidpipe.models.describing_model import ModelReply, ModelRequest
from vidpipe.models.qwen import batching, loading
from vidpipe.models.qwen.checkpoint import Checkpoint
from vidpipe.models.qwen.inputs import PreparedRequest, frame_budget, prepare_request
from vidpipe.settings import Settings

#: Requests whose frames are read and resized ahead, while the model computes.
_READ_AHEAD = 4


class QwenModel:
    """Answers greedily from the frames. Weights are loaded by the first `answer` and freed by `close`."""

    measured = False

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

    def texts(self) -> Mapping[str, str]:
        """Return {}: there is nothing to record."""
        return {}

    def readiness(self) -> str:
        """Return the device. Raises UnavailableError if packages or weights are missing."""
        self._checkpoint.check()
        return f"on {loading.device_in_words()}"

    def basis(self, request: ModelRequest) -> str:
        """Return the version of the frames."""
        return request.frames.version if request.frames else "none"

    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield replies batch by batch; see DescribingModel. A request whose frames cannot be read gets an error."""
        if not requests or cancelled.is_set():
            return
        engine = self._loaded(cancelled)
        if engine is None:
            return
        token_budget = batching.TokenBudget(self._settings.batch_tokens)
        unreadable: list[ModelReply] = []
        for batch in batching.fill_batches(self._prepared(engine, requests, cancelled, unreadable), token_budget):
            if cancelled.is_set():
                return
            yield from _drained(unreadable)
            for reply in batching.answer_in_batches(engine, batch, token_budget):
                yield reply
                if cancelled.is_set():
                    return
        yield from _drained(unreadable)

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


def _drained(replies: list[ModelReply]) -> Iterator[ModelReply]:
    while replies:
        yield replies.pop(0)
