"""A figure that is dear to make: made in a thread of its own, kept for a while, and never waited for without end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from vidpipe.redaction import redact

log = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True)
class Taken(Generic[Value]):
    """A value, and when it was made (`time.monotonic`). value: None where it could not be made; `error` says why."""

    value: Value | None
    at: float
    cost_s: float
    error: str = ""

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at


class Kept(Generic[Value]):
    """Makes a value when it is asked for and the last one is too old.

    make:    may raise; may take long
    least_s: the value is not made again sooner
    share:   nor so soon that making it takes more than this share of the time
    """

    def __init__(self, name: str, make: Callable[[], Value], least_s: float, share: float = 0.05) -> None:
        self._name = name
        self._make = make
        self._least_s = least_s
        self._share = share
        self._changed = threading.Condition()
        self._taken: Taken[Value] | None = None
        self._busy = False
        self._said = ""

    def get(self, wait_s: float) -> Taken[Value] | None:
        """The value, waited for at most `wait_s` where it has to be made; then the last one, however old; None where
        there never was one."""
        with self._changed:
            if self._is_old() and not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name=f"measures-{self._name}", daemon=True).start()
            self._changed.wait_for(lambda: not self._busy, timeout=max(wait_s, 0.0))
            return self._taken

    def _is_old(self) -> bool:
        taken = self._taken
        return taken is None or taken.age_s > max(self._least_s, taken.cost_s / self._share)

    def _work(self) -> None:
        began = time.monotonic()
        value, error = None, ""
        try:
            value = self._make()
        except Exception as fault:  # whatever it is, the page goes on and says that the figures are missing
            error = redact(str(fault)) or type(fault).__name__
        ended = time.monotonic()
        if error and error != self._said:
            log.warning("the figures of %s cannot be had: %s", self._name, error)
        with self._changed:
            self._said = error
            self._taken = Taken(value, ended, ended - began, error)
            self._busy = False
            self._changed.notify_all()
