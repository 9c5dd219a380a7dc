"""What the budget lets through, and what it says of the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vidpipe.runner.budget import (
    UNMEASURED,
    Allowance,
    ModelUsage,
    ModelWork,
    Prices,
    RunUsage,
    held_back_sentence,
    usage_in_window,
)
from vidpipe.settings.operation import Budget

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
FREE = Prices(currency="EUR")


def ran(hours_ago: float, lasted: float, seconds: float, cost: float = 0.0) -> RunUsage:
    began = NOON - timedelta(hours=hours_ago)
    return RunUsage(began, began + timedelta(hours=lasted), ModelUsage(seconds=seconds, cost=cost))


def video(seconds: float | None, tokens: float = 0.0) -> ModelWork:
    return ModelWork(videos=1, asked=3, prompt_tokens=tokens, seconds=seconds)


def waiting(*seconds: float | None) -> list[tuple[str, ModelWork]]:
    return [(f"v{number}", video(each)) for number, each in enumerate(seconds)]


def hours(limit: float, *spans: RunUsage) -> Allowance:
    return Allowance(Budget(model_hours=limit), FREE, spans)


def test_a_run_counts_by_its_share_within_the_last_24_hours() -> None:
    spans = [ran(26, 4, 400), ran(2, 1, 60), ran(40, 1, 1000)]
    assert usage_in_window(spans, NOON).seconds == 400 * 2 / 4 + 60


def test_what_fits_is_launched_in_order_and_the_first_that_does_not_holds_back_the_rest() -> None:
    decision = hours(1, ran(3, 1, 3000)).decide(ModelWork(), waiting(300, 200, 200, 1), NOON)
    assert decision.fits == ("v0", "v1")
    assert decision.held_back is not None
    assert decision.held_back.seconds == 200


def test_what_unfinished_runs_may_still_take_is_kept_free() -> None:
    pending = video(500)
    assert hours(1, ran(3, 1, 3000)).decide(pending, waiting(101), NOON).fits == ()
    assert hours(1, ran(3, 1, 3000)).decide(pending, waiting(100), NOON).fits == ("v0",)


def test_it_is_told_when_there_is_room_again() -> None:
    # One run from 10 to 11 o'clock used all; a quarter of it is 24 hours old at a quarter past ten tomorrow.
    decision = hours(1, ran(2, 1, 3600)).decide(ModelWork(), waiting(900), NOON)
    assert decision.fits == ()
    assert decision.free_at is not None
    assert abs((decision.free_at - (NOON + timedelta(hours=22.25))).total_seconds()) < 60


def test_a_video_that_takes_more_than_the_whole_budget_does_not_block_the_others() -> None:
    decision = hours(1).decide(ModelWork(), waiting(4000, 100), NOON)
    assert (decision.too_large, decision.fits, decision.held_back) == (("v0",), ("v1",), None)


def test_what_costs_nothing_is_never_held_back() -> None:
    full = hours(1, ran(1, 1, 3600))
    assert full.decide(ModelWork(), waiting(0.0), NOON).fits == ("v0",), "all its answers are there"
    assert full.exhausted(NOON) is not None
    assert hours(1, ran(1, 1, 3599)).exhausted(NOON) is None


def test_an_unknown_speed_is_measured_with_a_few_videos_first() -> None:
    unknown = waiting(*[None] * 9)
    first = hours(1).decide(ModelWork(), unknown, NOON)
    assert len(first.fits) == UNMEASURED
    assert hours(1).decide(ModelWork(videos=2, seconds=None), unknown, NOON).fits == (), "not before these are through"
    by_tokens = Allowance(Budget(cost=1.0, price_input=1.0), Prices(input_token=1e-6, currency="EUR"), ())
    assert len(by_tokens.decide(ModelWork(), unknown, NOON).fits) == 9, "tokens are known without"


def test_a_limit_of_cost_goes_by_tokens() -> None:
    prices = Prices(input_token=2e-6, currency="EUR")
    allowance = Allowance(Budget(cost=5.0, price_input=2.0), prices, [ran(3, 1, 10, cost=4.0)])
    candidates = [(name, video(1.0, tokens=250_000)) for name in ("a", "b", "c")]
    assert allowance.decide(ModelWork(), candidates, NOON).fits == ("a", "b")


def test_the_sentence_says_what_is_used_what_waits_until_when_and_what_to_do() -> None:
    allowance = hours(1, ran(2, 1, 3600))
    decision = allowance.decide(video(60), waiting(900, 5000), NOON)
    sentence = held_back_sentence(allowance.budget, FREE, decision, 1200)
    assert "1,200 videos wait to be described" in sentence
    assert "1.00 of 1 model hours" in sentence
    assert "0.02 model hours more" in sentence
    assert "The next one fits at 2026-11-22" in sentence
    assert "`vidpipe run`" in sentence
    assert "ModelHours" in sentence
    assert "EUR" not in sentence, "no limit of cost is set"


def test_a_budget_of_nothing_stops_everything() -> None:
    decision = hours(0).exhausted(NOON)
    assert decision is not None
    assert decision.free_at is None
