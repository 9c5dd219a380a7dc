"""Which prompt is asked when: the first of a request alone, so that the server has read its frames for the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.vlm.endpoint.connection import Stopped
from vidpipe.vlm.endpoint.faults import Fault
from vidpipe.vlm.endpoint.payload import Payload
from vidpipe.vlm.endpoint.reading import Said
from vidpipe.vlm.model import Answer, Reply, Request
from vidpipe.vlm.prompts import Prompt

_LOOK_EVERY_S = 0.05
#: So many requests given up in a row, with none answered in between, and the server counts as out of reach.
_HOPELESS = 8
_MAY_BE_ONE_REQUESTS = frozenset({403, 404, 405, 410, *range(300, 400)})

Read = Callable[[Request], Payload]
Ask = Callable[[Payload, Prompt], Said]


@dataclass(eq=False)
class _Job:
    """One request: its frames, encoded when its turn comes, and what was said so far."""

    request: Request
    payload: Payload | None = None
    said: dict[int, Said] = field(default_factory=dict)
    flying: int = 0
    error: VidpipeError | None = None
    transient: bool = False

    @property
    def finished(self) -> bool:
        return self.flying == 0 and (self.error is not None or len(self.said) == len(self.request.prompts))

    def reply(self) -> Reply:
        answers = [
            Answer(self.request.prompts[place], said.text, said.tokens, said.prompt_tokens)
            for place, said in sorted(self.said.items())
        ]
        return Reply(self.request, answers, self.error, self.transient)

    def fail(self, place: int, error: VidpipeError, *, transient: bool) -> None:
        """The first error is the request's; answers that are there, or still come, stay."""
        if self.error is None:
            video, prompt = self.request.video[:12], self.request.prompts[place].id
            self.error = VidpipeError(f"Video {video}, prompt {prompt}: {error.message}", error.hint)
            self.transient = transient


class Rounds:
    """Requests on their way through a server.

    read, ask: called in threads, at most `at_once` of them. `ask` raises Fault, or Stopped.
    """

    def __init__(self, requests: Sequence[Request], read: Read, ask: Ask, *, at_once: int) -> None:
        self._waiting = deque(_Job(request) for request in requests)
        self._ready: deque[tuple[_Job, int]] = deque()
        self._flying: dict[Future[Said], tuple[_Job, int]] = {}
        self._open: list[_Job] = []
        self._read, self._ask, self._at_once = read, ask, at_once
        self._answered = False
        self._given_up = 0
        self._gone: Fault | None = None

    def replies(self, cancelled: threading.Event, stop: Callable[[], None]) -> Iterator[Reply]:
        """A reply a request, as they are whole; stops early once `cancelled` is set.

        stop: ends what `ask` is doing. Raises UnavailableError, after the replies that are there already: requests of
        which a part is answered come with those answers and a transient error.
        """
        pool = ThreadPoolExecutor(self._at_once, "endpoint")
        try:
            yield from [job.reply() for job in self._waiting if not job.request.prompts]
            while self._submit(pool):
                done, _ = wait(self._flying, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                if cancelled.is_set():
                    return
                whole = self._taken(done)
                if self._gone is not None:
                    yield from whole + self._in_part(self._gone)
                    raise UnavailableError(self._gone.message, self._gone.hint)
                self._submit(pool)  # the server works on while the replies are looked at
                yield from whole
        finally:
            stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor) -> bool:
        """Fills the free places; prompts about frames that the server has just read go first. False: all is done."""
        while len(self._flying) < self._at_once and (self._ready or self._waiting):
            job, place = self._ready.popleft() if self._ready else (self._waiting.popleft(), 0)
            if job.error is None and job.request.prompts:
                if place == 0:
                    self._open.append(job)
                job.flying += 1
                self._flying[pool.submit(self._work, job, place)] = job, place
        return bool(self._flying)

    def _work(self, job: _Job, place: int) -> Said:
        if job.payload is None:
            job.payload = self._read(job.request)
        return self._ask(job.payload, job.request.prompts[place])

    def _taken(self, done: set[Future[Said]]) -> list[Reply]:
        """Replies that are whole by what was said now."""
        whole = []
        for future in done:
            job, place = self._flying.pop(future)
            job.flying -= 1
            try:
                job.said[place] = future.result()
            except Fault as fault:
                self._failed(job, place, fault)
            except VidpipeError as error:
                job.fail(place, error, transient=False)
            except Stopped:
                continue
            else:
                self._answered, self._given_up = True, 0
                if place == 0:
                    self._ready.extend((job, other) for other in range(1, len(job.request.prompts)))
            if job.finished:
                self._open.remove(job)
                job.payload = None
                whole.append(job.reply())
        return whole

    def _failed(self, job: _Job, place: int, fault: Fault) -> None:
        # a gateway may refuse one request (403 of a filter); where it has answered others, the settings are right
        own = self._answered and fault.status in _MAY_BE_ONE_REQUESTS
        self._given_up += fault.kind == "overloaded"
        hopeless = fault.kind == "overloaded" and self._given_up >= max(_HOPELESS, self._at_once)
        if fault.kind == "unreachable" or (fault.kind == "setup" and not own) or hopeless:
            self._gone = self._gone or fault
        if self._gone is not fault:
            job.fail(place, fault, transient=fault.kind != "request")

    def _in_part(self, gone: Fault) -> list[Reply]:
        begun = [job for job in self._open if job.said]
        for job in begun:
            unsaid = next(place for place in range(len(job.request.prompts)) if place not in job.said)
            job.fail(unsaid, gone, transient=True)
        return [job.reply() for job in begun]
