from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import RetryCallState

from vidpipe.network.retry import RetryPolicy, parse_retry_after

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class _Busy(Exception):
    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__()
        self.retry_after_s = retry_after_s


def _failing(*errors: Exception) -> tuple[Callable[[], str], list[int]]:
    calls: list[int] = []

    def function() -> str:
        calls.append(len(calls))
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return "done"

    return function, calls


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, _Busy)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("-5", None),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("9" * 5000, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(failures=st.integers(1, 200), backoff=st.floats(0, 600), longest=st.floats(0, 1000))
def test_a_pause_is_never_longer_than_allowed_and_grows_with_the_failures(
    failures: int, backoff: float, longest: float
) -> None:
    wait_s = RetryPolicy(5, backoff, longest).wait_s(failures)
    assert 0 <= wait_s <= min(longest, backoff * 2.0 ** (failures - 1))


@given(asked=st.floats(0, 100), longest=st.floats(100, 1000))
def test_a_pause_is_never_shorter_than_the_server_asks(asked: float, longest: float) -> None:
    assert RetryPolicy(5, 1.0, longest).wait_s(1, asked) >= asked


def test_only_transient_errors_are_retried() -> None:
    function, calls = _failing(_Busy(), ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        RetryPolicy(9, 0.0, 0.0).retrying(_is_busy)(function)
    assert len(calls) == 2


def test_the_last_error_is_raised_after_the_last_attempt() -> None:
    last = _Busy()
    function, calls = _failing(_Busy(), last, _Busy())
    with pytest.raises(_Busy) as caught:
        RetryPolicy(2, 0.0, 0.0).retrying(_is_busy)(function)
    assert caught.value is last
    assert len(calls) == 2


@pytest.mark.parametrize(("give_up", "attempts"), [(True, 1), (False, 2)])
def test_a_retry_after_beyond_the_longest_wait_ends_the_attempts_or_is_cut(give_up: bool, attempts: int) -> None:
    waits: list[float] = []
    function, calls = _failing(_Busy(retry_after_s=3600))
    retrying = RetryPolicy(9, 1.0, 60.0, give_up_beyond_max_wait=give_up).retrying(_is_busy, sleep=waits.append)
    if give_up:
        with pytest.raises(_Busy):
            retrying(function)
    else:
        assert retrying(function) == "done"
        assert waits == [60.0]
    assert len(calls) == attempts


def test_progress_starts_the_count_anew() -> None:
    def progressed(state: RetryCallState) -> None:
        state.attempt_number = 1

    function, calls = _failing(*(_Busy() for _ in range(20)))
    assert RetryPolicy(2, 0.0, 0.0).retrying(_is_busy, after_failure=progressed)(function) == "done"
    assert len(calls) == 21


def test_an_outage_is_ridden_out_for_a_limited_time() -> None:
    function, calls = _failing(*(_Busy() for _ in range(1000)))
    with pytest.raises(_Busy):
        RetryPolicy(None, 0.01, 0.01, max_total_s=0.1).retrying(_is_busy)(function)
    assert 2 < len(calls) < 100
