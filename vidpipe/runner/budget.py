"""The budget for the describing model: what describing costs, what was used lately, and which videos still fit.

Sensors respect the budget; `vidpipe run` is never held back. Also the allowance for downloading deleted originals again
([Storage] RefetchMB).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from pymongo.collection import Collection

from vidpipe.library import server_clock
from vidpipe.library.library import Library
from vidpipe.library.runs import model_figures
from vidpipe.library.schema import Document
from vidpipe.settings import Settings
from vidpipe.settings.operation import Budget

#: While the model's speed is unknown, at most this many videos are described at a time, to measure it.
UNMEASURED = 5
#: The budget holds for any period of this length.
WINDOW = timedelta(hours=24)
#: Runs that began longer than this before the window are ignored.
_LONGEST_RUN = timedelta(days=7)
_FREE_AT_PRECISION_S = 30.0
_NOTE_ID = "budget"
_REFETCHED_ID = "refetched originals"
#: An older note is out of date: the sensor that writes it does not run.
_NOTE_VALID = timedelta(minutes=10)


@dataclass(frozen=True)
class ModelWork:
    """What describing some videos takes. Estimates can be fractions.

    Attributes:
        videos: Number of videos.
        scenes: Number of scenes.
        frames: Frames that the model is shown for the answers to ask.
        asked: Answers to ask for.
        reused: Answers that are stored already.
        prompt_tokens: Tokens the model will read.
        output_tokens: Tokens the model will write.
        seconds: Model time; None if the model's speed has not been measured yet.
        at_most: Nothing was measured, so the tokens are an upper bound.
    """

    videos: float = 0
    scenes: float = 0
    frames: float = 0
    asked: float = 0
    reused: float = 0
    prompt_tokens: float = 0
    output_tokens: float = 0
    seconds: float | None = 0.0
    at_most: bool = False

    def __add__(self, other: ModelWork) -> ModelWork:
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        known = self.seconds is not None and other.seconds is not None
        seconds = (self.seconds or 0.0) + (other.seconds or 0.0) if known else None
        return ModelWork(**sums, seconds=seconds, at_most=self.at_most or other.at_most)

    def scaled(self, factor: float) -> ModelWork:
        """Return `factor` times as much work."""
        counts = {name: factor * getattr(self, name) for name in _COUNTS}
        return replace(self, **counts, seconds=None if self.seconds is None else factor * self.seconds)

    def as_json(self) -> dict[str, Any]:
        """Return the work as plain values, as `vidpipe plan --json` shows it."""
        return {
            "videos": round(self.videos),
            "scenes": round(self.scenes),
            "frames": round(self.frames),
            "answers_to_ask": round(self.asked),
            "answers_there": round(self.reused),
            "prompt_tokens": round(self.prompt_tokens),
            "output_tokens": round(self.output_tokens),
            "tokens_at_most": self.at_most,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


_COUNTS = tuple(field.name for field in fields(ModelWork) if field.name not in ("seconds", "at_most"))


def total(works: Iterable[ModelWork]) -> ModelWork:
    """Add up several amounts of work."""
    return sum(works, ModelWork())


@dataclass(frozen=True)
class Prices:
    """The prices in force.

    Attributes:
        input_token: Price of one token read.
        output_token: Price of one token written.
        second: Price of one second of model time.
        currency: Name of the currency.
    """

    input_token: float = 0.0
    output_token: float = 0.0
    second: float = 0.0
    currency: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Prices:
        """Return the prices of [Budget]. Only endpoints charge for tokens; the statistics backend is free."""
        budget, model = settings.budget, settings.qwen_vl
        if model.measured:
            return cls(currency=budget.currency)
        endpoint = model.backend == "endpoint"
        return cls(
            budget.price_input / 1e6 if endpoint else 0.0,
            budget.price_output / 1e6 if endpoint else 0.0,
            budget.price_gpu_hour / 3600,
            budget.currency,
        )

    def __bool__(self) -> bool:
        return bool(self.input_token or self.output_token or self.second)

    def cost(self, prompt_tokens: float, output_tokens: float, seconds: float | None) -> float | None:
        """Return the cost; None without prices, or if model time has a price and `seconds` is unknown."""
        if not self or (self.second and seconds is None):
            return None
        return prompt_tokens * self.input_token + output_tokens * self.output_token + (seconds or 0.0) * self.second

    def cost_of(self, work: ModelWork) -> float | None:
        """Return the cost of `work`, as in `cost`."""
        return self.cost(work.prompt_tokens, work.output_tokens, work.seconds)


@dataclass(frozen=True)
class ModelUsage:
    """What the model was used for.

    Attributes:
        seconds: Model time.
        cost: At today's prices; 0 without prices.
        prompt_tokens: Tokens read.
        output_tokens: Tokens written.
    """

    seconds: float = 0.0
    cost: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True)
class RunUsage:
    """What one run used, assumed to be spread evenly from its start to its end or latest figures."""

    began: datetime
    ended: datetime
    used: ModelUsage

    def within(self, begin: datetime, end: datetime) -> float:
        """Return the share of the run, 0 to 1, that lies between two moments."""
        length = (self.ended - self.began).total_seconds()
        if length <= 0:
            return 1.0 if begin <= self.ended <= end else 0.0
        covered = (min(self.ended, end) - max(self.began, begin)).total_seconds()
        return max(0.0, covered / length)


def recent_usages(runs: Collection[Document], prices: Prices, now: datetime | None = None) -> list[RunUsage]:
    """Return the usage of the runs that asked the model within the last 24 hours."""
    begin = (now or server_clock.now()) - WINDOW
    usages = []
    for run in runs.find({"began_at": {"$gte": begin - _LONGEST_RUN}}, {"stages": 1, "began_at": 1, "updated_at": 1}):
        ended = run.get("updated_at") or run["began_at"]
        use = model_figures(run.get("stages") or {})
        if use.model_seconds and ended >= begin:
            cost = prices.cost(use.prompt_tokens, use.output_tokens, use.model_seconds) or 0.0
            used = ModelUsage(use.model_seconds, cost, use.prompt_tokens, use.output_tokens)
            usages.append(RunUsage(run["began_at"], ended, used))
    return usages


def usage_in_window(usages: Sequence[RunUsage], now: datetime | None = None) -> ModelUsage:
    """Return what was used within the 24 hours before `now`."""
    now = now or server_clock.now()
    shares = [(usage.within(now - WINDOW, now), usage.used) for usage in usages]
    sums = {
        field.name: sum(share * getattr(used, field.name) for share, used in shares) for field in fields(ModelUsage)
    }
    return ModelUsage(**sums)


@dataclass(frozen=True)
class BudgetDecision:
    """Which videos may be described now.

    Attributes:
        used: Usage within the last 24 hours.
        pending: What unfinished runs may still take.
        fits: The videos that may be launched, in order.
        too_large: Videos that exceed the whole budget of 24 hours on their own.
        held_back: The work of the first video that has to wait; None if none waits.
        free_at: When that video fits, provided that nothing else is used until then.
    """

    used: ModelUsage
    pending: ModelWork
    fits: tuple[str, ...] = ()
    too_large: tuple[str, ...] = ()
    held_back: ModelWork | None = None
    free_at: datetime | None = None

    @property
    def is_measuring(self) -> bool:
        """Whether videos wait until the model's speed has been measured with the first few."""
        return self.held_back is not None and self.held_back.seconds is None


@dataclass(frozen=True)
class Allowance:
    """The budget, the prices in force, and what runs have used of it.

    Attributes:
        budget: The limits of [Budget].
        prices: The prices in force.
        usages: Usage of recent runs (see `recent_usages`).
    """

    budget: Budget
    prices: Prices
    usages: Sequence[RunUsage]

    def decide(
        self, pending: ModelWork, waiting: Iterable[tuple[str, ModelWork]], now: datetime | None = None
    ) -> BudgetDecision:
        """Decide which videos fit into what is left of the budget.

        The first video that does not fit holds back those behind it, so that a long video gets its turn.

        Args:
            pending: What unfinished runs may still take.
            waiting: Videos and the work each takes, in order.
            now: The moment to decide for; the present by default.
        """
        now = now or server_clock.now()
        spent = usage_in_window(self.usages, now)
        taken = pending
        fits: list[str] = []
        too_large: list[str] = []
        held_back, free_at = None, None
        for sha256, work in waiting:
            if not self._fits(ModelUsage(), work):
                too_large.append(sha256)
            elif self._waits_for_speed(work, pending, len(fits)):
                held_back = work
                break
            elif self._fits(spent, taken + work):
                fits.append(sha256)
                taken += work
            else:
                held_back = work
                free_at = None if fits else self._free_at(taken + work, now)
                break
        return BudgetDecision(spent, pending, tuple(fits), tuple(too_large), held_back, free_at)

    def exhausted(self, now: datetime | None = None) -> BudgetDecision | None:
        """Return the decision if nothing at all fits any more; None if something may fit."""
        now = now or server_clock.now()
        budget, spent = self.budget, usage_in_window(self.usages, now)
        hours = budget.model_hours is not None and spent.seconds >= 3600 * budget.model_hours
        if not hours and (budget.cost is None or spent.cost < budget.cost):
            return None
        one = ModelWork(videos=1, asked=1, prompt_tokens=1, output_tokens=1, seconds=1.0)
        return BudgetDecision(spent, ModelWork(), held_back=one, free_at=self._free_at(one, now))

    def _waits_for_speed(self, work: ModelWork, pending: ModelWork, launched: int) -> bool:
        """Whether the model's speed has to be measured with other videos first."""
        limited = self.budget.model_hours is not None or self.prices.second > 0
        unknown = work.seconds is None and limited
        return unknown and (pending.videos > 0 or launched >= UNMEASURED or self.budget.model_hours == 0)

    def _fits(self, spent: ModelUsage, work: ModelWork) -> bool:
        """Whether `work` fits beside `spent`. What takes nothing always fits."""
        budget = self.budget
        seconds = work.seconds or 0.0
        cost = self.prices.cost_of(work) or 0.0
        if budget.model_hours is not None and seconds > 0 and spent.seconds + seconds > 3600 * budget.model_hours:
            return False
        return budget.cost is None or cost <= 0 or spent.cost + cost <= budget.cost

    def _free_at(self, work: ModelWork, now: datetime) -> datetime | None:
        """When enough usage is 24 hours old for `work` to fit; None if it never is."""
        marks = sorted({moment + WINDOW for usage in self.usages for moment in (usage.began, usage.ended)})
        early = now
        for late in marks:
            if late > now and self._fits(usage_in_window(self.usages, late), work):
                break
            early = max(early, late)
        else:
            return None
        while (late - early).total_seconds() > _FREE_AT_PRECISION_S:  # bisection
            middle = early + (late - early) / 2
            if self._fits(usage_in_window(self.usages, middle), work):
                late = middle
            else:
                early = middle
        return late


def usage_sentence(budget: Budget, spent: ModelUsage) -> str:
    """Say what was used of the budget."""
    hours = spent.seconds / 3600
    parts = [f"{hours:.2f} of {budget.model_hours:g} model hours"] if budget.model_hours is not None else []
    parts += [f"{spent.cost:.2f} of {budget.cost:g} {budget.currency}"] if budget.cost is not None else []
    return f"In the last 24 hours the describing model used {' and '.join(parts)} of [Budget]."


def held_back_sentence(budget: Budget, prices: Prices, found: BudgetDecision, videos: int) -> str:
    """Say why `videos` videos wait, until when, and what to do. Times are in local time."""
    waits = f"{videos:,} videos wait" if videos != 1 else "1 video waits"
    if found.is_measuring:
        return f"{waits} to be described: [Budget] needs the model's speed, which is measured with a few videos first."
    keys = [name for name, value in (("ModelHours", budget.model_hours), ("Cost", budget.cost)) if value is not None]
    return " ".join(
        [
            f"{waits} to be described: the budget is reached.",
            usage_sentence(budget, found.used),
            *_pending_sentence(prices, found.pending, budget),
            *_outlook_sentences(found),
            f"`vidpipe run` describes them now; {' or '.join(keys)} of [Budget] sets the limit.",
        ]
    )


def _pending_sentence(prices: Prices, pending: ModelWork, budget: Budget) -> list[str]:
    hours = (pending.seconds or 0.0) / 3600
    cost = prices.cost_of(pending) or 0.0
    parts = [f"{hours:.2f} model hours"] if hours and budget.model_hours is not None else []
    parts += [f"{cost:.2f} {budget.currency}"] if cost and budget.cost is not None else []
    return [f"Unfinished runs may take {' and '.join(parts)} more."] if parts else []


def _outlook_sentences(found: BudgetDecision) -> Iterator[str]:
    if found.too_large:
        number = len(found.too_large)
        one = "1 of them exceeds" if number == 1 else f"{number} of them each exceed"
        yield f"{one} the whole budget."
    if found.free_at is not None:
        yield f"The next one fits at {found.free_at.astimezone():%Y-%m-%d %H:%M}."


def save_budget_note(library: Library, sentence: str) -> None:
    """Store why videos wait for the budget, for `vidpipe status`."""
    note = {"sentence": sentence, "at": server_clock.now()}
    library.collections["meta"].update_one({"_id": _NOTE_ID}, {"$set": note}, upsert=True)


def delete_budget_note(library: Library) -> None:
    """Delete the note: nothing waits for the budget."""
    library.collections["meta"].delete_one({"_id": _NOTE_ID})


def budget_note(library: Library) -> str | None:
    """Return why videos wait for the budget; None if none do, or if no sensor has checked lately."""
    note = library.collections["meta"].find_one({"_id": _NOTE_ID, "at": {"$gte": server_clock.now() - _NOTE_VALID}})
    return str(note["sentence"]) if note else None


def reserve_refetch(library: Library, size_bytes: int) -> bool:
    """Reserve the download of a deleted original in the allowance of [Storage] RefetchMB; return whether it fits.

    Atomic, so that runs at the same time do not exceed it together.
    """
    now, most = server_clock.now(), library.settings.storage.refetch_mb * 1_000_000
    if size_bytes > most:
        return False
    meta = library.collections["meta"]
    recent = {"$filter": {"input": "$all", "cond": {"$gt": ["$$this.at", now - WINDOW]}}}
    meta.update_one({"_id": _REFETCHED_ID}, {"$setOnInsert": {"all": []}}, upsert=True)
    fits = {"$expr": {"$lte": [{"$sum": {"$map": {"input": recent, "in": "$$this.size_bytes"}}}, most - size_bytes]}}
    change: list[Document] = [{"$set": {"all": {"$concatArrays": [recent, [{"at": now, "size_bytes": size_bytes}]]}}}]
    return bool(meta.update_one({"_id": _REFETCHED_ID, **fits}, change).matched_count)
