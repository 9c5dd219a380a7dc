"""The describing model `qwen`: Qwen2-VL (or 2.5, or 3) in this process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property

from vidpipe.errors import VidpipeError
from vidpipe.settings import Settings
from vidpipe.vlm.cells import digest
from vidpipe.vlm.model import Reply, Request
from vidpipe.vlm.qwen import batches, loading
from vidpipe.vlm.qwen.checkpoint import Checkpoint
from vidpipe.vlm.qwen.inputs import Prepared, budget_of, prepare

#: Requests whose frames are read and resized while the model computes.
_AHEAD = 4


class QwenModel:
    """Answers greedily from the frames. Weights are loaded at the first `answer`, and freed by `close`."""

    measured = False

    def __init__(self, settings: Settings) -> None:
        self._all_settings = settings
        self._settings = settings.qwen_vl
        self._checkpoint = Checkpoint.of(settings)
        self._engine: loading.Engine | None = None

    @cached_property
    def name(self) -> str:
        """As recorded with each description. Raises UnavailableError where a folder is no checkpoint."""
        return self._checkpoint.name()

    @cached_property
    def version(self) -> str:
        """Of the checkpoint and the budget. Raises UnavailableError where the checkpoint cannot be found."""
        budget = (self._settings.min_pixels, self._settings.max_pixels, self._settings.max_video_tokens)
        return f"qwen-{digest(self._checkpoint.version(), repr(budget))}"

    def texts(self) -> Mapping[str, str]:
        return {}

    def readiness(self) -> str:
        """Raises UnavailableError where packages or weights are missing."""
        self._checkpoint.check()
        return f"on {loading.device_in_words()}"

    def basis(self, request: Request) -> str:
        return request.frames.version if request.frames else "none"

    def answer(self, requests: Sequence[Request], cancelled: threading.Event) -> Iterator[Reply]:
        """Batches as they are filled; see DescribingModel. A request whose frames cannot be read has an error."""
        if not requests or cancelled.is_set():
            return
        engine = self._loaded(cancelled)
        if engine is None:
            return
        room = batches.Room(self._settings.batch_tokens)
        unreadable: list[Reply] = []
        for batch in batches.filled(self._prepared(engine, requests, cancelled, unreadable), room):
            if cancelled.is_set():
                return
            yield from _drained(unreadable)
            for reply in batches.answered(engine, batch, room):
                yield reply
                if cancelled.is_set():
                    return
        yield from _drained(unreadable)

    def close(self) -> None:
        if self._engine is not None:
            self._engine = None
            loading.release()

    def _loaded(self, cancelled: threading.Event) -> loading.Engine | None:
        if self._engine is None:
            self._engine = loading.acquire(self._checkpoint, self._all_settings, cancelled)
        return self._engine

    def _prepared(
        self, engine: loading.Engine, requests: Sequence[Request], cancelled: threading.Event, unreadable: list[Reply]
    ) -> Iterator[Prepared]:
        """The requests in order, each prepared in a thread ahead of its turn; what is not readable is put aside."""
        budget = budget_of(engine, self._settings)
        waiting = deque(requests)
        ahead: deque[tuple[Request, Future[Prepared]]] = deque()
        with ThreadPoolExecutor(1, "frames") as reader:
            try:
                while (waiting or ahead) and not cancelled.is_set():
                    while waiting and len(ahead) < _AHEAD:
                        request = waiting.popleft()
                        ahead.append((request, reader.submit(prepare, engine, request, budget)))
                    request, prepared = ahead.popleft()
                    try:
                        yield prepared.result()
                    except VidpipeError as error:
                        unreadable.append(Reply(request, error=error))
            finally:
                reader.shutdown(wait=True, cancel_futures=True)


def _drained(replies: list[Reply]) -> Iterator[Reply]:
    while replies:
        yield replies.pop(0)
