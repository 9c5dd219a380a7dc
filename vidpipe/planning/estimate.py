"""The plan of a run: what each stage would do, what the describing model would be asked, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vidpipe.library.library import Library
from vidpipe.planning.amounts import Amount, Prices, total
from vidpipe.planning.counting import Counting
from vidpipe.planning.describing import Describing
from vidpipe.planning.due import StageDue, Wish, count_due, due_ids
from vidpipe.planning.model_rates import ModelRates
from vidpipe.planning.stage_rates import StageRate, StageRates, Typical, measure_stages
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import Pool

#: So many videos are looked at one by one; of more, a sample, and the others are taken to be like it.
MOST_COUNTED = 300
SAMPLED = 200
#: Longest time spent on that.
_COUNTING_S = 1.0


@dataclass(frozen=True)
class StageEstimate:
    """One stage. rate: None where it has not been measured yet; seconds: of work, None where that is not known"""

    name: str
    pool: Pool
    due: StageDue
    rate: StageRate | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class ModelEstimate:
    """What the describing model would be asked.

    amount:  over all videos that will be described
    counted: videos whose missing answers were counted one by one
    like_them: videos taken to be like these
    typical: videos not yet cut into scenes, taken to be like those that are
    unknown: videos of which nothing can be said: no video has been cut into scenes yet
    cost:    None without prices, or where the time is not known
    """

    name: str
    version: str
    stages: tuple[str, ...]
    rates: ModelRates
    amount: Amount
    counted: int = 0
    like_them: int = 0
    typical: int = 0
    unknown: int = 0
    cost: float | None = None


@dataclass(frozen=True)
class Estimate:
    """
    videos:  with work to do
    seconds: of work in all stages whose speed is known; unmeasured: the stages with work whose speed is not
    wall_s:  from the beginning to the end, with pools working side by side
    """

    videos: int
    stages: tuple[StageEstimate, ...]
    model: ModelEstimate | None
    prices: Prices
    seconds: float
    wall_s: float
    unmeasured: tuple[str, ...] = field(default=())


def estimate(library: Library, plan: Plan, wish: Wish | None = None) -> Estimate:
    """What a run of `plan` would do and take. Nothing is loaded or changed, and files are not looked for."""
    wish = wish or Wish()
    due = count_due(library, plan, wish)
    describing = Describing.of(plan)
    rates = measure_stages(library, plan, without=describing.names if describing else ())
    prices = Prices.of(plan.settings)
    model = None
    if describing is not None:
        ids = sorted({sha256 for name in describing.names for sha256 in due_ids(library, plan, name, wish)})
        later = max(sum(due.stages[name].computed for name in describing.names) - len(ids), 0)
        model = _model(Counting.of(library, plan, describing), ids, later, rates.typical)
    stages = tuple(_stage(plan, name, found, rates, model) for name, found in due.stages.items())
    return Estimate(
        videos=due.videos,
        stages=stages,
        model=model,
        prices=prices,
        seconds=sum(stage.seconds or 0.0 for stage in stages),
        wall_s=_wall_s(plan, stages),
        unmeasured=tuple(stage.name for stage in stages if stage.seconds is None),
    )


def _wall_s(plan: Plan, stages: Sequence[StageEstimate]) -> float:
    """Pools work side by side; within a pool so many calls at once as it has places."""
    places: dict[Pool, int] = {
        "cpu": plan.settings.concurrency.workers, "gpu": 1, "network": plan.settings.download.parallel,
    }  # fmt: skip
    return max(
        sum(stage.seconds or 0.0 for stage in stages if stage.pool == pool) / number for pool, number in places.items()
    )


def _stage(plan: Plan, name: str, due: StageDue, rates: StageRates, model: ModelEstimate | None) -> StageEstimate:
    pool = plan.graph[name].pool
    if model is not None and name in model.stages:
        return StageEstimate(name, pool, due, None, None if model.unknown else model.amount.seconds)
    rate = rates.stages.get(name)
    if not due.computed:
        return StageEstimate(name, pool, due, rate, 0.0)
    untimed = due.computed - due.timed
    if rate is None or (rate.a_second and untimed and rates.duration_s is None):
        return StageEstimate(name, pool, due, rate)
    duration_s = due.duration_s + untimed * (rates.duration_s or 0.0)
    return StageEstimate(name, pool, due, rate, rate.seconds(due.computed, duration_s))


def _model(counting: Counting, ids: Sequence[str], later: int, typical: Typical | None) -> ModelEstimate:
    """ids: videos that can be described at once; later: the number of those that are cut into scenes first."""
    amounts = counted(counting, ids)
    seen = total(amounts)
    like_them = len(ids) - len(amounts) if amounts else 0
    later += 0 if amounts else len(ids)
    amount = seen + seen.scaled(like_them / len(amounts)) if like_them else seen
    one = counting.of_typical(typical) if typical else seen.scaled(1 / len(amounts)) if amounts else None
    if later and one is not None:
        amount += one.scaled(later)
    if amount.asked:
        amount += counting.rates.start
    unknown = later if one is None else 0
    describing, settings = counting.describing, counting.plan.settings
    return ModelEstimate(
        name=describing.model.name,
        version=describing.model.version,
        stages=describing.names,
        rates=counting.rates,
        amount=amount,
        counted=len(amounts),
        like_them=like_them,
        typical=later - unknown,
        unknown=unknown,
        cost=None if unknown else Prices.of(settings).cost_of(amount),
    )


def counted(counting: Counting, ids: Sequence[str], most: int | None = None) -> list[Amount]:
    """What single videos take: all of them where they are few, else a sample; as many as there is time for. ids: in an
    order that says nothing of the videos"""
    most = most or MOST_COUNTED
    chosen = ids if len(ids) <= most else ids[: min(most, SAMPLED)]
    return [amount for _, amount in counting.amounts(chosen, deadline=time.monotonic() + _COUNTING_S)]
