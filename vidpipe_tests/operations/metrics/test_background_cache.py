"""A dear figure is made once for all who ask, seldom, and nobody waits for it without end."""

from __future__ import annotations

import threading
import time

import pytest

from vidpipe.operations.metrics.snapshot import BackgroundCache


def value_of(cache: BackgroundCache[int]) -> int | None:
    taken = cache.get(30)
    assert taken is not None
    return taken.value


def test_a_value_is_kept_for_a_while() -> None:
    numbers = iter(range(100))
    kept = BackgroundCache("numbers", lambda: next(numbers), min_age_s=600.0)
    assert [value_of(kept) for _ in range(5)] == [0] * 5
    brief = BackgroundCache("numbers", lambda: next(numbers), min_age_s=0.01, max_load=1.0)
    assert value_of(brief) == 1
    while value_of(brief) == 1:
        time.sleep(0.01)
    assert value_of(kept) == 0


def test_what_takes_long_is_made_seldom() -> None:
    made = []

    def make() -> int:
        time.sleep(0.1)
        made.append(1)
        return len(made)

    kept = BackgroundCache("dear", make, min_age_s=0.0, max_load=0.001)
    assert [value_of(kept) for _ in range(50)] == [1] * 50, "a thousandth of the time is 100 s between two"


def test_nobody_waits_without_end() -> None:
    go = threading.Event()
    kept = BackgroundCache("slow", lambda: go.wait(20), min_age_s=0.0, max_load=1.0)
    began = time.monotonic()
    assert kept.get(0.1) is None
    assert time.monotonic() - began < 5
    go.set()
    taken = kept.get(5)
    assert taken is not None
    assert taken.value


def test_the_old_value_is_given_while_a_new_one_is_made() -> None:
    go = threading.Event()
    go.set()
    made = []

    def make() -> int:
        go.wait(20)
        made.append(1)
        return len(made)

    kept = BackgroundCache("slow", make, min_age_s=0.0, max_load=1.0)
    kept.get(5)
    go.clear()
    time.sleep(0.01)
    taken = kept.get(0.05)
    assert taken is not None
    assert taken.value == 1
    go.set()


def test_a_fault_is_said_once_and_gone_when_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    fault = [True]

    def make() -> str:
        if fault[0]:
            raise OSError("no route to mongodb://someone:hidden@db/")
        return "there"

    kept = BackgroundCache("the library", make, min_age_s=0.0, max_load=1.0)
    for _ in range(3):
        taken = kept.get(5)
        assert taken is not None
        assert taken.value is None
        assert "hidden" not in taken.error
        time.sleep(0.01)
    assert len(caplog.records) == 1
    fault[0] = False
    while (taken := kept.get(5)) is None or taken.error:
        time.sleep(0.01)
    assert taken.value == "there"
