"""The retry policy of downloads, the model client and MongoDB, and the one parser of Retry-After."""

import email.utils
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import tenacity
from tenacity import RetryCallState, Retrying


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and how long apart, something that failed is tried again.

    Attributes:
        attempts: Attempts in a row, the first one included. None: until `max_total_s` is over.
        backoff_s: Longest wait before the first retry, in seconds. It doubles with each further retry.
        max_wait_s: Longest wait between two attempts, in seconds.
        max_total_s: No retry starts later than this many seconds after the first attempt. None: no limit.
        give_up_beyond_max_wait: Whether a Retry-After longer than `max_wait_s` ends the attempts. Otherwise the next
            attempt follows after `max_wait_s`.
    """

    attempts: int | None
    backoff_s: float
    max_wait_s: float
    max_total_s: float | None = None
    give_up_beyond_max_wait: bool = False

    def wait_s(self, failures: int, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait after `failures` failures in a row.

        Exponential backoff with jitter (Brooker, "Exponential Backoff And Jitter", 2015), at least half of it, so that
        an overloaded server gets a rest. A Retry-After is a lower bound; a little is added to it, so that clients that
        were given the same one do not return at the same moment.

        Args:
            failures: Failures in a row so far, from 1.
            retry_after_s: What the server asked for, in seconds.
        """
        if self.give_up_beyond_max_wait and retry_after_s is not None and retry_after_s > self.max_wait_s:
            return retry_after_s
        backoff_s = self.backoff_s * 2.0 ** min(failures - 1, 30) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        if retry_after_s is not None:
            backoff_s = max(backoff_s, retry_after_s + random.uniform(0, min(1.0, self.backoff_s)))  # noqa: S311
        return min(self.max_wait_s, backoff_s)

    def retrying(
        self,
        is_transient: Callable[[BaseException], bool],
        *,
        sleep: Callable[[float], None] = time.sleep,
        after_failure: Callable[[RetryCallState], None] = lambda state: None,
        before_sleep: Callable[[RetryCallState], None] = lambda state: None,
        on_give_up: Callable[[RetryCallState], Any] | None = None,
    ) -> Retrying:
        """Return a tenacity `Retrying`; call it with the function to run, which must be safe to repeat.

        The last error is raised unchanged unless `on_give_up` raises another one. An error's attribute `retry_after_s`,
        if it has one, is honored.

        Args:
            is_transient: Whether an error may go away by itself. Others are raised at once.
            sleep: Waits the given seconds; what it raises ends the attempts.
            after_failure: Called after each transient failure; `state.attempt_number = 1` resets the count.
            before_sleep: Called before each wait; `state.upcoming_sleep` holds its seconds.
            on_give_up: Called with the last state instead of raising its error.
        """
        return Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=lambda state: self.wait_s(state.attempt_number, _retry_after_s(state)),
            stop=self._is_over,
            sleep=sleep,
            after=after_failure,
            before_sleep=before_sleep,
            retry_error_callback=on_give_up,
            reraise=True,
        )

    def _is_over(self, state: RetryCallState) -> bool:
        if self.attempts is not None and state.attempt_number >= self.attempts:
            return True
        if self.max_total_s is not None and (state.seconds_since_start or 0.0) > self.max_total_s:
            return True
        return self.give_up_beyond_max_wait and state.upcoming_sleep > self.max_wait_s


def _retry_after_s(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return getattr(error, "retry_after_s", None)


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for: a number of seconds or an HTTP date (RFC 9110, 10.2.3).

    Args:
        value: The header's value.
        now: The time to which a date is compared.

    Returns:
        Seconds from now, never negative; None if the header is missing or malformed.
    """
    if not value:
        return None
    try:
        seconds = float(value.strip())
        return seconds if 0 <= seconds < math.inf else None
    except ValueError:
        at = http_date(value)
        return None if at is None else max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def http_date(header: str | None) -> datetime | None:
    """Return the time of an HTTP date (RFC 9110, 5.6.7) in UTC; None if it is missing or malformed."""
    try:
        at = email.utils.parsedate_to_datetime(header or "")
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None
