"""How far the budget of [Budget] reaches: which of the videos that wait may be described now without being asked for.

Sensors go by it; a person's own runs are never held back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vidpipe.planning.amounts import Amount, Prices
from vidpipe.planning.usage import WINDOW, Span, Used, used
from vidpipe.settings.operation import Budget

#: While the model's speed is unknown, so few videos are described at a time: that measures it.
UNMEASURED = 5
_MOMENT_S = 30.0


@dataclass(frozen=True)
class Reach:
    """
    used:       within the last 24 hours; pending: what unfinished runs may still take
    fits:       the videos that may be launched, in order
    too_large:  those that take more than the whole budget of 24 hours, even alone
    stopped:    the first one that has to wait, and what it takes; None: nothing waits
    free_at:    when there is room for it, if nothing else is used until then
    """

    used: Used
    pending: Amount
    fits: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()
    stopped: Amount | None = None
    free_at: datetime | None = None

    @property
    def is_measuring(self) -> bool:
        """Whether videos wait until the model's speed has been measured with the first few."""
        return self.stopped is not None and self.stopped.seconds is None


@dataclass(frozen=True)
class Allowance:
    """The budget, the prices it goes by, and what runs have used of it (`vidpipe.planning.usage.spans`)."""

    budget: Budget
    prices: Prices
    spans: Sequence[Span]

    def reach(self, pending: Amount, waiting: Iterable[tuple[str, Amount]], now: datetime | None = None) -> Reach:
        """Which of `waiting` (video, what it takes) fit into what is left, one after the other: the first that does not
        fit holds back those behind it, so that a long video has its turn.

        pending: what the unfinished runs may still take
        """
        now = now or datetime.now(UTC)
        spent = used(self.spans, now)
        taken = pending
        fits: list[str] = []
        too_large: list[str] = []
        stopped, free_at = None, None
        for sha256, amount in waiting:
            if not self._fits(Used(), amount):
                too_large.append(sha256)
            elif self._waits_for_speed(amount, pending, len(fits)):
                stopped = amount
                break
            elif self._fits(spent, taken + amount):
                fits.append(sha256)
                taken += amount
            else:
                stopped = amount
                free_at = None if fits else self._free_at(taken + amount, now)
                break
        return Reach(spent, pending, tuple(fits), tuple(too_large), stopped, free_at)

    def used_up(self, now: datetime | None = None) -> Reach | None:
        """Where nothing at all fits any more: nothing, and until when; None where something may."""
        now = now or datetime.now(UTC)
        budget, spent = self.budget, used(self.spans, now)
        hours = budget.model_hours is not None and spent.seconds >= 3600 * budget.model_hours
        if not hours and (budget.cost is None or spent.cost < budget.cost):
            return None
        one = Amount(videos=1, asked=1, prompt_tokens=1, output_tokens=1, seconds=1.0)
        return Reach(spent, Amount(), stopped=one, free_at=self._free_at(one, now))

    def _waits_for_speed(self, amount: Amount, pending: Amount, launched: int) -> bool:
        """Whether the model's speed has to be measured with other videos first."""
        limited = self.budget.model_hours is not None or self.prices.second > 0
        unknown = amount.seconds is None and limited
        return unknown and (pending.videos > 0 or launched >= UNMEASURED or self.budget.model_hours == 0)

    def _fits(self, spent: Used, amount: Amount) -> bool:
        """What takes nothing always fits."""
        budget = self.budget
        seconds = amount.seconds or 0.0
        cost = self.prices.cost_of(amount) or 0.0
        if budget.model_hours is not None and seconds > 0 and spent.seconds + seconds > 3600 * budget.model_hours:
            return False
        return budget.cost is None or cost <= 0 or spent.cost + cost <= budget.cost

    def _free_at(self, amount: Amount, now: datetime) -> datetime | None:
        """When enough of what was used is 24 hours old for `amount` to fit; None: not by that alone."""
        marks = sorted({moment + WINDOW for span in self.spans for moment in (span.began, span.ended)})
        early = now
        for late in marks:
            if late > now and self._fits(used(self.spans, late), amount):
                return self._moment(amount, early, late)
            early = max(early, late)
        return None

    def _moment(self, amount: Amount, early: datetime, late: datetime) -> datetime:
        """The first moment after `early` at which it fits, as it does at `late`."""
        while (late - early).total_seconds() > _MOMENT_S:
            middle = early + (late - early) / 2
            if self._fits(used(self.spans, middle), amount):
                late = middle
            else:
                early = middle
        return late


def used_sentence(budget: Budget, spent: Used) -> str:
    """What is used of it."""
    said = (
        [f"{spent.seconds / 3600:.2f} of {budget.model_hours:g} model hours"] if budget.model_hours is not None else []
    )
    said += [f"{spent.cost:.2f} of {budget.cost:g} {budget.currency}"] if budget.cost is not None else []
    return f"In the last 24 hours the describing model was used for {' and '.join(said)} of [Budget]."


def stop_sentence(budget: Budget, prices: Prices, found: Reach, videos: int) -> str:
    """Why `videos` videos wait, until when, and what to do. Times are of the local clock."""
    waits = f"{videos:,} videos wait" if videos != 1 else "1 video waits"
    if found.is_measuring:
        return f"{waits} to be described: the model's speed is measured with a few first, since [Budget] goes by it."
    return " ".join(
        [
            f"{waits} to be described: the budget is reached.",
            used_sentence(budget, found.used),
            *_pending(prices, found.pending, budget),
            *_ahead(found),
            f"`vidpipe run` describes them now; {_keys(budget)} of [Budget] sets the limit.",
        ]
    )


def _keys(budget: Budget) -> str:
    return " or ".join(
        name for name, value in (("ModelHours", budget.model_hours), ("Cost", budget.cost)) if value is not None
    )


def _pending(prices: Prices, pending: Amount, budget: Budget) -> list[str]:
    hours = (pending.seconds or 0.0) / 3600
    cost = prices.cost_of(pending) or 0.0
    said = [f"{hours:.2f} model hours"] if hours and budget.model_hours is not None else []
    said += [f"{cost:.2f} {budget.currency}"] if cost and budget.cost is not None else []
    return [f"Runs that have not ended may take {' and '.join(said)} more."] if said else []


def _ahead(found: Reach) -> list[str]:
    if found.too_large:
        number = len(found.too_large)
        one = "1 of them takes" if number == 1 else f"{number} of them take"
        large = [f"{one} more than the whole budget, even alone."]
    else:
        large = []
    if found.free_at is not None:
        return [*large, f"There is room again at {found.free_at.astimezone():%Y-%m-%d %H:%M}."]
    return large
