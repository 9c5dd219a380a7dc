"""Ends a transfer that hangs, trickles or is no longer wanted.

A socket's own time limit starts anew with every byte, so a server that sends one byte now and then would hold a
download for ever. Here the average over a whole time window counts, as with curl's --speed-limit and --speed-time.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Literal

from vidpipe.ingest.connection import LiveSockets

_LOOK_EVERY_S = 0.1


class StallWatch:
    """Watches one transfer from the first connection to the last byte; used as a context.

    min_speed: bytes a second, averaged over each `window_s` seconds; 0 leaves the speed alone
    verdict:   why the transfer was ended, if it was
    """

    def __init__(self, live: LiveSockets, cancelled: threading.Event, *, min_speed: int, window_s: float) -> None:
        self._live = live
        self._cancelled = cancelled
        self._min_bytes = min_speed * window_s
        self._window_s = window_s
        self._bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)
        self.verdict: Literal["stalled", "cancelled"] | None = None

    def count(self, received_bytes: int) -> None:
        self._bytes += received_bytes

    def _watch(self) -> None:
        window_start, bytes_then = time.monotonic(), self._bytes
        while not self._over.wait(_LOOK_EVERY_S):
            if self._cancelled.is_set():
                self.verdict = "cancelled"
            elif self._min_bytes and (now := time.monotonic()) - window_start >= self._window_s:
                if self._bytes - bytes_then < self._min_bytes:
                    self.verdict = "stalled"
                window_start, bytes_then = now, self._bytes
            if self.verdict:
                # again and again: a connection that was just being made is not among the live ones yet
                self._live.shut_down()

    def __enter__(self) -> StallWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
