"""The order of prompts: the first of a request goes alone, so that the others find its frames in the server's cache."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.models.describing_model import ModelAnswer, ModelReply, ModelRequest
from vidpipe.models.endpoint.errors import EndpointError
from vidpipe.models.endpoint.messages import FramesPayload
from vidpipe.models.prompts import Prompt

#: After so many failed requests in a row without an answer in between, the server counts as unavailable.
_MAX_FAILED_REQUESTS = 8
_MAY_CONCERN_ONE_REQUEST = frozenset({403, 404, 405, 410, *range(300, 400)})


@dataclass(eq=False)
class _Progress:
    """One request: its frames, encoded when its turn comes, and the answers so far by the prompt's position."""

    request: ModelRequest
    payload: FramesPayload | None = None
    answers: dict[int, ModelAnswer] = field(default_factory=dict)
    running: int = 0
    error: VidpipeError | None = None
    transient: bool = False

    @property
    def finished(self) -> bool:
        return self.running == 0 and (self.error is not None or len(self.answers) == len(self.request.prompts))

    def reply(self) -> ModelReply:
        answers = [answer for _, answer in sorted(self.answers.items())]
        return ModelReply(self.request, answers, self.error, self.transient)

    def fail(self, position: int, error: VidpipeError, *, transient: bool) -> None:
        """Record the first error as that of the request; answers before and after it are kept."""
        if self.error is None:
            video, prompt = self.request.video[:12], self.request.prompts[position].id
            self.error = VidpipeError(f"Video {video}, prompt {prompt}: {error.message}", error.hint)
            self.transient = transient


class RequestScheduler:
    """Sends the prompts of many requests to a server."""

    def __init__(
        self,
        requests: Sequence[ModelRequest],
        load: Callable[[ModelRequest], FramesPayload],
        ask: Callable[[FramesPayload, Prompt], Awaitable[ModelAnswer]],
        *,
        concurrency: int,
    ) -> None:
        """Prepare the requests; `replies` sends them.

        Args:
            requests: What is asked.
            load: Reads the frames of a request; called in a thread.
            ask: Asks one prompt; raises EndpointError.
            concurrency: Maximum number of prompts in flight.
        """
        self._waiting = deque(_Progress(request) for request in requests)
        self._ready: deque[tuple[_Progress, int]] = deque()
        self._running: dict[asyncio.Task[ModelAnswer], tuple[_Progress, int]] = {}
        self._open: list[_Progress] = []
        self._load, self._ask, self._concurrency = load, ask, concurrency
        self._cancelled = False
        self._any_answered = False
        self._failed_in_a_row = 0
        self._unavailable: EndpointError | None = None

    def cancel(self) -> None:
        """End all prompts in flight; `replies` then stops."""
        self._cancelled = True
        for task in self._running:
            task.cancel()

    async def replies(self) -> AsyncGenerator[ModelReply, None]:
        """Yield one reply per request, as they are completed.

        Raises:
            UnavailableError: The server is unavailable. Requests that are partly answered are yielded before, with
                these answers and a transient error.
        """
        for reply in [progress.reply() for progress in self._waiting if not progress.request.prompts]:
            yield reply
        while self._start_tasks():
            done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            if self._cancelled:
                return
            finished = self._collect(done)
            if self._unavailable is not None:
                for reply in finished + self._partial_replies(self._unavailable):
                    yield reply
                raise UnavailableError(self._unavailable.message, self._unavailable.hint)
            self._start_tasks()  # the server works on while the replies are processed
            for reply in finished:
                yield reply

    def _start_tasks(self) -> bool:
        """Use the free slots, first for prompts about frames that the server has just read. False: all is done."""
        while len(self._running) < self._concurrency and (self._ready or self._waiting) and not self._cancelled:
            progress, position = self._ready.popleft() if self._ready else (self._waiting.popleft(), 0)
            if progress.error is None and progress.request.prompts:
                if position == 0:
                    self._open.append(progress)
                progress.running += 1
                self._running[asyncio.create_task(self._answer(progress, position))] = progress, position
        return bool(self._running)

    async def _answer(self, progress: _Progress, position: int) -> ModelAnswer:
        if progress.payload is None:
            progress.payload = await asyncio.to_thread(self._load, progress.request)
        return await self._ask(progress.payload, progress.request.prompts[position])

    def _collect(self, done: set[asyncio.Task[ModelAnswer]]) -> list[ModelReply]:
        """Return the replies that the finished tasks complete."""
        finished = []
        for task in done:
            progress, position = self._running.pop(task)
            progress.running -= 1
            try:
                progress.answers[position] = task.result()
            except EndpointError as error:
                self._failed(progress, position, error)
            except VidpipeError as error:
                progress.fail(position, error, transient=False)
            else:
                self._any_answered, self._failed_in_a_row = True, 0
                if position == 0:
                    self._ready.extend((progress, other) for other in range(1, len(progress.request.prompts)))
            if progress.finished:
                self._open.remove(progress)
                progress.payload = None
                finished.append(progress.reply())
        return finished

    def _failed(self, progress: _Progress, position: int, error: EndpointError) -> None:
        # a gateway may reject one request (403 of a filter); if it has answered others, the settings are right
        single = self._any_answered and error.status in _MAY_CONCERN_ONE_REQUEST
        self._failed_in_a_row += error.kind == "overloaded"
        limit = max(_MAX_FAILED_REQUESTS, self._concurrency)
        overloaded = error.kind == "overloaded" and self._failed_in_a_row >= limit
        if error.kind == "unreachable" or (error.kind == "setup" and not single) or overloaded:
            self._unavailable = self._unavailable or error
        if self._unavailable is not error:
            progress.fail(position, error, transient=error.kind != "request")

    def _partial_replies(self, error: EndpointError) -> list[ModelReply]:
        begun = [progress for progress in self._open if progress.answers]
        for progress in begun:
            unanswered = set(range(len(progress.request.prompts))) - set(progress.answers)
            progress.fail(min(unanswered), error, transient=True)
        return [progress.reply() for progress in begun]
