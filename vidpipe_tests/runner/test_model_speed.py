"""The model's speed is found again from answers as they are stored: in batches, one by one, with its loading."""

from __future__ import annotations

import random

import pytest

from vidpipe.runner.model_rates import AnsweredRequest, measure_speed

READ_S, WRITE_S, LOAD_S = 0.0003, 0.02, 40.0


def one(chance: random.Random, run: str) -> AnsweredRequest:
    read, written = chance.randint(300, 9000), chance.randint(5, 400)
    return AnsweredRequest("scene", run, [read], written, READ_S * read + WRITE_S * written)


def batched(run: str, size: int, batches: int) -> list[AnsweredRequest]:
    """As they are stored: the first answer of a batch has the time of all, the first of a run that of loading too."""
    chance = random.Random(f"{run} {size}")
    found: list[AnsweredRequest] = []
    for number in range(batches):
        batch = [one(chance, run) for _ in range(size)]
        batch[0].seconds = sum(request.seconds for request in batch) + (0.0 if number else LOAD_S)
        for request in batch[1:]:
            request.seconds = 0.002
        found += batch
    return found


@pytest.mark.parametrize("size", [1, 12])
def test_reading_writing_and_loading_are_told_apart(size: int) -> None:
    requests = [request for run in ("a", "b", "c") for request in batched(run, size, 120 // size)]
    speed = measure_speed(requests)
    assert speed is not None
    assert speed.separated
    assert speed.per_prompt_token_s == pytest.approx(READ_S, rel=0.1)
    assert speed.per_output_token_s == pytest.approx(WRITE_S, rel=0.1)
    assert speed.start_s == pytest.approx(LOAD_S, rel=0.1)


def test_two_batches_a_run_give_a_pace_for_both() -> None:
    requests = batched("a", 300, 2)
    speed = measure_speed(requests)
    assert speed is not None
    assert not speed.separated
    worked = sum(request.seconds for request in requests) - LOAD_S
    read = sum(sum(request.read) for request in requests)
    assert speed.seconds(read, sum(request.written for request in requests)) == pytest.approx(worked, rel=0.2)
    assert speed.start_s == pytest.approx(LOAD_S, abs=0.1 * worked)


def test_a_machine_that_slept_is_not_a_slow_model() -> None:
    requests = batched("a", 1, 100)
    requests[50].seconds += 3600
    speed = measure_speed(requests)
    assert speed is not None
    assert speed.per_output_token_s == pytest.approx(WRITE_S, rel=0.15)


def test_a_single_answer_is_better_than_none() -> None:
    assert measure_speed([]) is None
    speed = measure_speed([AnsweredRequest("video", "a", [100], 10, 5.5)])
    assert speed is not None
    assert speed.seconds(200, 20) == pytest.approx(11.0)
    assert measure_speed([AnsweredRequest("video", "a", [100], 10, 0.0)]) is None
