"""Run tags that say what the describing model is estimated to do in a run, and what it did."""

from __future__ import annotations

import dagster as dg

from vidpipe.library.library import Library
from vidpipe.library.runs import ModelUse, RunCounters
from vidpipe.runner.budget import ModelWork, Prices
from vidpipe.runner.estimate import estimate
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.request import RunRequest

_ESTIMATED = "vidpipe/estimated_"


def tag_estimate(
    context: dg.OpExecutionContext, figures: RunCounters, library: Library, plan: Plan, wish: RunRequest
) -> None:
    """Tags the run with what the model is expected to do, unless whoever launched it has.

    Also makes `figures` count the time of the stages that ask the model as the model's. Does nothing if no stage of the
    plan asks it.
    """
    describing = DescribingStages.of(plan)
    if describing is None:
        return
    figures.asks(describing.model.name, describing.names)
    if not any(tag.startswith(_ESTIMATED) for tag in context.run.tags):
        expected = estimate(library, plan, wish).model
        if expected is not None and not expected.unknown:
            tags = estimate_tags(expected.amount, Prices.of(plan.settings))
            context.instance.add_run_tags(context.run_id, tags)


def tag_usage(context: dg.OpExecutionContext, figures: RunCounters, plan: Plan) -> None:
    """Tags the run with what the model did; does nothing if it was not asked."""
    use = figures.model_use
    if figures.model and (use.asked or use.reused or use.model_seconds):
        tags = usage_tags(figures.model, use, Prices.of(plan.settings))
        context.instance.add_run_tags(context.run_id, tags)


def usage_tags(model: str, use: ModelUse, prices: Prices) -> dict[str, str]:
    """Returns the tags for what the model did, with the cost where prices are configured."""
    cost = prices.cost(use.prompt_tokens, use.output_tokens, use.model_seconds)
    return {
        "vidpipe/model": model,
        "vidpipe/answers_asked": str(use.asked),
        "vidpipe/answers_reused": str(use.reused),
        "vidpipe/prompt_tokens": str(use.prompt_tokens),
        "vidpipe/output_tokens": str(use.output_tokens),
        "vidpipe/model_seconds": f"{use.model_seconds:.3f}",
        **({} if cost is None else {"vidpipe/cost": f"{cost:.4f} {prices.currency}"}),
    }


def estimate_tags(amount: ModelWork, prices: Prices) -> dict[str, str]:
    """Returns the tags for what a run is expected to do; seconds and cost only where they can be estimated."""
    cost = prices.cost_of(amount)
    return {
        f"{_ESTIMATED}answers": f"{amount.asked:.0f}",
        f"{_ESTIMATED}prompt_tokens": f"{amount.prompt_tokens:.0f}",
        f"{_ESTIMATED}output_tokens": f"{amount.output_tokens:.0f}",
        **({} if amount.seconds is None else {f"{_ESTIMATED}model_seconds": f"{amount.seconds:.3f}"}),
        **({} if cost is None else {f"{_ESTIMATED}cost": f"{cost:.4f} {prices.currency}"}),
    }
