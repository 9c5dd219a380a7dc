"""Answers of the model's server, with as many attempts as they take and may take."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import random
import threading
from collections.abc import Iterator

from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.endpoint import reading
from vidpipe.vlm.endpoint.address import Server
from vidpipe.vlm.endpoint.connection import Line, Stopped, Watch
from vidpipe.vlm.endpoint.faults import Fault, status_fault
from vidpipe.vlm.endpoint.reading import Said

_log = logging.getLogger(__name__)


class Client:
    """RequestsInFlight connections to one server, for the threads of one run."""

    def __init__(self, server: Server, settings: QwenVL, cancelled: threading.Event) -> None:
        self._server = server
        self._settings = settings
        lines = [Line(server, settings.request_timeout) for _ in range(settings.requests_in_flight)]
        self._all = lines
        self._free: queue.SimpleQueue[Line] = queue.SimpleQueue()
        for line in lines:
            self._free.put(line)
        self._watch = Watch(lines, cancelled)

    def ask(self, body: bytes) -> Said:
        """What the server says to `body`, after retries where they may help. Raises Fault, or Stopped after `stop`."""
        settings, tries = self._settings, 0
        while True:
            try:
                return self._attempt(body)
            except Fault as fault:
                tries += 1
                if not fault.retried:
                    raise
                if tries > settings.request_retries:
                    raise fault.after(tries) from fault
                wait_s = pause_s(tries, settings.request_backoff, settings.request_max_wait, fault.retry_after_s)
                _log.info("%s Asked again in %.1f s.", fault.message, wait_s)
            if self._watch.stopped.wait(wait_s):
                raise Stopped

    def stop(self) -> None:
        """Ends what is in flight, and what waits for its next attempt."""
        self._watch.stopped.set()

    def close(self) -> None:
        """After the threads that ask have ended."""
        self._watch.close()
        for line in self._all:
            line.close()

    def _attempt(self, body: bytes) -> Said:
        with self._line() as line:
            response = line.post(body)
        if response.status != 200:
            raise status_fault(self._server, response.status, response.headers, response.body)
        try:
            answer = json.loads(response.body)
        except (ValueError, RecursionError) as error:
            raise Fault(f"The answer of {self._server.shown} is not JSON.", kind="transient", status=200) from error
        return reading.read(answer, self._server, self._settings)

    @contextlib.contextmanager
    def _line(self) -> Iterator[Line]:
        if self._watch.stopped.is_set():
            raise Stopped
        line = self._free.get()
        try:
            yield line
        finally:
            self._free.put(line)


def pause_s(tries: int, backoff_s: float, max_wait_s: float, retry_after_s: float | None) -> float:
    """Seconds before the next attempt after `tries` faults in a row.

    Exponential backoff with jitter (Brooker, "Exponential Backoff And Jitter", 2015), at least half of it, so that an
    overloaded server has its rest; not less than a Retry-After asks for, and a little more, so that not all who were
    told the same come at once; never more than `max_wait_s`.
    """
    jittered_s = backoff_s * 2.0 ** min(tries - 1, 30) * random.uniform(0.5, 1)  # noqa: S311 - no secret
    asked_s = 0.0 if retry_after_s is None else retry_after_s + random.uniform(0, min(1.0, backoff_s))  # noqa: S311
    return min(max_wait_s, max(jittered_s, asked_s))
