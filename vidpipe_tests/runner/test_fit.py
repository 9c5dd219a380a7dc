"""Two rates are found from their sum, and not invented where they cannot be told apart."""

import random

import pytest

from vidpipe.runner.stage_rates import Sample, two_rates


def samples(a: float, b: float, number: int = 24) -> list[Sample]:
    """Seconds of a for each x and b for each y, measured with five per cent of noise."""
    chance = random.Random(1)
    found = []
    for _ in range(number):
        x, y = chance.uniform(100, 5000), chance.uniform(5, 300)
        found.append((x, y, (a * x + b * y) * chance.uniform(0.95, 1.05)))
    return found


def test_reading_and_writing_are_told_apart() -> None:
    rates = two_rates(samples(0.0002, 0.025))
    assert rates == (pytest.approx(0.0002, rel=0.1), pytest.approx(0.025, rel=0.1))


def test_the_loading_of_a_model_is_left_out() -> None:
    measured = samples(0.0002, 0.025)
    x, y, seconds = measured[0]
    measured[0] = (x, y, seconds + 60.0)
    rates = two_rates(measured)
    assert rates == (pytest.approx(0.0002, rel=0.15), pytest.approx(0.025, rel=0.15))


def test_one_of_two_may_cost_nothing_but_none_less() -> None:
    chance = random.Random(2)
    measured = [(x, y := chance.uniform(1, 9), 2.0 * y) for x in range(1, 30)]
    a, b = two_rates(measured) or (-1.0, -1.0)
    assert a >= 0
    assert b == pytest.approx(2.0, rel=0.05)


def test_what_always_comes_in_the_same_proportion_is_not_told_apart() -> None:
    assert two_rates([(10.0 * n, 2.0 * n, 3.0 * n) for n in range(1, 40)]) is None
    assert two_rates(samples(1.0, 2.0, number=3)) is None, "too few"
