"""The order of prompts: the first of a request goes alone, so that the others find its frames in the server's cache.

A prompt goes to the first server in the order of its video that is not skipped, and is tried again after a while if it
fails. A server is skipped once it cannot be reached, fails too often in a row or rejects all requests; its prompts,
also those in flight, move on. A probe that it answers brings it back; if it had failed too often, for one prompt at a
time until it answers one.
"""

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.models.describing_model import ModelAnswer, ModelReply, ModelRequest
from vidpipe.models.endpoint.client import EndpointClient
from vidpipe.models.endpoint.errors import EndpointError
from vidpipe.models.endpoint.messages import FramesPayload
from vidpipe.models.endpoint.servers import EndpointServer, server_order
from vidpipe.network.retry import RetryPolicy
from vidpipe.settings.schema import QwenVL

#: After so many failures in a row without an answer in between, a server is skipped.
_MAX_FAILURES = 8
#: Seconds between two probes of a server that is skipped, or from which nothing came meanwhile.
PROBE_S = 5.0
#: Seconds after which it is checked at the latest whether a server has come back.
_CHECK_S = 0.2
_MAY_CONCERN_ONE_REQUEST = frozenset({403, 404, 405, 410, *range(300, 400)})

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Progress:
    """One request, its servers in order, its frames (encoded when its turn comes), and what came of each prompt."""

    request: ModelRequest
    servers: Sequence[EndpointServer]
    payload: FramesPayload | None = None
    answers: dict[int, ModelAnswer] = field(default_factory=dict)
    failures: Counter[int] = field(default_factory=Counter)
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
    """Sends the prompts of many requests to the servers."""

    def __init__(
        self,
        requests: Sequence[ModelRequest],
        load: Callable[[ModelRequest], FramesPayload],
        clients: Mapping[EndpointServer, EndpointClient],
        settings: QwenVL,
    ) -> None:
        """Prepare the requests; `replies` sends them.

        Args:
            requests: What is asked.
            load: Reads the frames of a request; called in a thread.
            clients: Connections to each server.
            settings: The section [QwenVL].
        """
        self._load, self._clients, self._settings = load, clients, settings
        self._policy = RetryPolicy(settings.request_retries + 1, settings.request_backoff, settings.request_max_wait)
        self._max_failures = max(_MAX_FAILURES, settings.requests_in_flight)
        self._requests = [_Progress(request, server_order(request.video, clients)) for request in requests]
        self._queue = deque((progress, 0) for progress in self._requests if progress.request.prompts)
        self._running: dict[asyncio.Task[Any], tuple[_Progress, int, EndpointServer]] = {}
        self._watches: list[asyncio.Task[Any]] = []
        self._cancelled = False
        self._answered: set[EndpointServer] = set()
        self._no_server_since: float | None = None

    def cancel(self) -> None:
        """End all prompts in flight; `replies` then stops."""
        self._cancelled = True
        for task in (*self._running, *self._watches):
            task.cancel()

    async def replies(self) -> AsyncGenerator[ModelReply, None]:
        """Yield one reply per request, as they are completed.

        Raises:
            UnavailableError: No server is available. Requests that are partly answered are yielded before, with these
                answers and a transient error.
        """
        for reply in [progress.reply() for progress in self._requests if not progress.request.prompts]:
            yield reply
        self._watches = [asyncio.create_task(self._watch(*pair)) for pair in self._clients.items()]
        while self._start_tasks():
            unavailable = self._unavailable()
            if unavailable is not None:
                for reply in self._partial_replies(unavailable):
                    yield reply
                raise unavailable
            tasks = {*self._running, *self._watches}
            done, _ = await asyncio.wait(tasks, timeout=_CHECK_S, return_when=asyncio.FIRST_COMPLETED)
            if self._cancelled:
                return
            finished = self._collect(done)
            self._start_tasks()  # the servers work on while the replies are processed
            for reply in finished:
                yield reply

    def _start_tasks(self) -> bool:
        """Use the free slots, first for prompts about frames that a server has just read. False: all is done."""
        most = self._settings.requests_in_flight
        slots = {server: 1 if server.failures >= self._max_failures else most for server in self._clients}
        for _, _, server in self._running.values():
            slots[server] -= 1
        queue, self._queue = self._queue, deque()
        for progress, position in queue:
            first = next((server for server in progress.servers if not server.skipped), None)
            if first and slots[first] > 0 and not progress.error and not self._cancelled:
                slots[first] -= 1
                progress.running += 1
                self._running[asyncio.create_task(self._answer(progress, position, first))] = progress, position, first
            elif not progress.error:
                self._queue.append((progress, position))
        return bool(self._running or self._queue)

    async def _answer(self, progress: _Progress, position: int, server: EndpointServer) -> ModelAnswer:
        """Ask one prompt, with retries of transient errors. Ends as cancelled if the server is skipped."""
        if progress.payload is None:
            progress.payload = await asyncio.to_thread(self._load, progress.request)
        while True:
            try:
                return await self._clients[server].ask(progress.payload, progress.request.prompts[position])
            except EndpointError as error:
                # a gateway may reject one request (403 of a filter); if it has answered others, the settings are right
                single = server in self._answered and error.status in _MAY_CONCERN_ONE_REQUEST
                if error.kind == "unreachable" or (error.kind == "setup" and not single):
                    self._skip(server, error)
                    await asyncio.sleep(0)  # cancelled here
                if not error.retryable:
                    raise
                server.failures += 1
                if server.failures >= self._max_failures:
                    self._skip(server, error)
                failures = progress.failures[position] = progress.failures[position] + 1
                if failures > self._settings.request_retries:
                    raise error.repeated(failures) from error
                _log.info("%s Retrying.", error.message)
                await asyncio.sleep(self._policy.wait_s(failures, error.retry_after_s))

    def _collect(self, done: set[asyncio.Task[Any]]) -> list[ModelReply]:
        """Return the replies that the finished tasks complete."""
        finished = []
        for task in done:
            progress, position, server = self._running.pop(task)
            progress.running -= 1
            try:
                progress.answers[position] = task.result()
            except asyncio.CancelledError:
                self._queue.appendleft((progress, position))
            except VidpipeError as error:
                transient = isinstance(error, EndpointError) and error.kind != "request"
                progress.fail(position, error, transient=transient)
            else:
                self._answered.add(server)
                self._no_server_since, server.failures = None, 0
                if position == 0:
                    self._queue.extendleft(
                        (progress, other) for other in range(len(progress.request.prompts) - 1, 0, -1)
                    )
            if progress.finished:
                progress.payload = None
                finished.append(progress.reply())
        return finished

    def _skip(self, server: EndpointServer, error: EndpointError) -> None:
        """Ask a server nothing more until it answers a probe; after a setup error, nothing more at all."""
        _log.warning("Skipping a model server: %s", error)
        server.skipped = error
        for task, (_, _, asked) in self._running.items():
            if asked is server:
                task.cancel()

    async def _watch(self, server: EndpointServer, client: EndpointClient) -> None:
        """Bring a server back once it answers a probe; skip one that sends nothing and cannot be reached."""
        requests = -1.0
        while True:
            if server.skipped or server.meter.use()["requests"] == requests:
                try:
                    await client.probe()
                    if server.skipped and server.skipped.kind != "setup":
                        _log.warning("The model server %s answers again.", server.address.shown)
                        server.skipped = None
                except EndpointError as error:
                    if error.kind == "unreachable" and not server.skipped:
                        self._skip(server, error)
            requests = server.meter.use()["requests"]
            await asyncio.sleep(PROBE_S)

    def _unavailable(self) -> UnavailableError | None:
        """Return the error if no server is left, and none of them has come back in time."""
        errors = [server.skipped for server in self._clients if server.skipped]
        if len(errors) < len(self._clients):
            return None
        self._no_server_since = self._no_server_since or time.monotonic()
        waits = time.monotonic() < self._no_server_since + self._settings.server_wait
        if waits and any(error.kind != "setup" for error in errors):
            return None
        messages, hints = (error.message for error in errors), dict.fromkeys(error.hint for error in errors)
        for server in self._clients:  # a later run asks them again
            server.skipped, server.failures = None, 0
        return UnavailableError(" ".join(messages), " ".join(hints))

    def _partial_replies(self, error: VidpipeError) -> list[ModelReply]:
        begun = [progress for progress in self._requests if progress.answers and not progress.finished]
        for progress in begun:
            unanswered = set(range(len(progress.request.prompts))) - set(progress.answers)
            progress.fail(min(unanswered), error, transient=True)
        return [progress.reply() for progress in begun]
