"""Caches an expensive metric: a thread of its own computes it, and callers wait for it only for a limited time."""

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
class CachedValue(Generic[Value]):
    """A computed value.

    Attributes:
        value: None if computing it failed; then `error` says why.
        at: When it was computed (`time.monotonic`).
        cost_s: How long that took.
    """

    value: Value | None
    at: float
    cost_s: float
    error: str = ""

    @property
    def age_s(self) -> float:
        """Seconds since it was computed."""
        return time.monotonic() - self.at


class BackgroundCache(Generic[Value]):
    """Computes a value when it is requested and the cached one is too old.

    Args:
        name: Of the value, as shown in the log.
        compute: May raise; may take long.
        min_age_s: A younger value is not computed again.
        max_load: Maximum share of the time that is spent on computing, from 0 to 1.
    """

    def __init__(self, name: str, compute: Callable[[], Value], min_age_s: float, max_load: float = 0.05) -> None:
        self._name = name
        self._compute = compute
        self._min_age_s = min_age_s
        self._max_load = max_load
        self._changed = threading.Condition()
        self._cached: CachedValue[Value] | None = None
        self._busy = False
        self._logged_error = ""

    def get(self, wait_s: float) -> CachedValue[Value] | None:
        """Return the value.

        Args:
            wait_s: How long to wait if it has to be computed.

        Returns:
            The last value, however old, if that takes longer; None if there has never been one.
        """
        with self._changed:
            cached = self._cached
            is_old = cached is None or cached.age_s > max(self._min_age_s, cached.cost_s / self._max_load)
            if is_old and not self._busy:
                self._busy = True
                threading.Thread(target=self._work, name=f"metrics-{self._name}", daemon=True).start()
            self._changed.wait_for(lambda: not self._busy, timeout=max(wait_s, 0.0))
            return self._cached

    def _work(self) -> None:
        began = time.monotonic()
        value, error = None, ""
        try:
            value = self._compute()
        except Exception as failure:  # whatever it is, the page reports that the metrics are missing
            error = redact(str(failure)) or type(failure).__name__
        ended = time.monotonic()
        if error and error != self._logged_error:
            log.warning("the metrics of %s are unavailable: %s", self._name, error)
        with self._changed:
            self._logged_error = error
            self._cached = CachedValue(value, ended, ended - began, error)
            self._busy = False
            self._changed.notify_all()
