"""What the describing model is estimated to do in a run, and what it did, as tags of the Dagster run."""

from __future__ import annotations

from vidpipe.library.library import Library
from vidpipe.library.runs import ModelUse, RunCounters
from vidpipe.pipeline.event_reporting import StepContext
from vidpipe.runner.budget import ModelWork, Prices
from vidpipe.runner.estimate import estimate
from vidpipe.runner.plan import DescribingStages, Plan
from vidpipe.runner.request import RunRequest

_ESTIMATED = "vidpipe/estimated_"


def begin_model_use(context: StepContext, figures: RunCounters, library: Library, plan: Plan, wish: RunRequest) -> None:
    """Has the time of the stages that ask the model count as the model's, and puts on the run what it is expected to
    ask, where whoever launched it has not. wish: what the run is to do"""
    describing = DescribingStages.of(plan)
    if describing is None:
        return
    figures.asks(describing.model.name, describing.names)
    if not any(tag.startswith(_ESTIMATED) for tag in context.run.tags):
        expected = estimate(library, plan, wish).model
        if expected is not None and not expected.unknown:
            tags = estimate_tags(expected.amount, Prices.of(plan.settings))
            context.instance.add_run_tags(context.run.run_id, tags)


def tag_model_use(context: StepContext, figures: RunCounters, plan: Plan) -> None:
    """Puts what the model did on the run; nothing where no model was asked."""
    use = figures.model_use
    if figures.model and (use.asked or use.reused or use.model_seconds):
        tags = use_tags(figures.model, use, Prices.of(plan.settings))
        context.instance.add_run_tags(context.run.run_id, tags)


def use_tags(model: str, use: ModelUse, prices: Prices) -> dict[str, str]:
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
    """What a run is launched for, as far as it is known before it begins."""
    cost = prices.cost_of(amount)
    return {
        f"{_ESTIMATED}answers": f"{amount.asked:.0f}",
        f"{_ESTIMATED}prompt_tokens": f"{amount.prompt_tokens:.0f}",
        f"{_ESTIMATED}output_tokens": f"{amount.output_tokens:.0f}",
        **({} if amount.seconds is None else {f"{_ESTIMATED}model_seconds": f"{amount.seconds:.3f}"}),
        **({} if cost is None else {f"{_ESTIMATED}cost": f"{cost:.4f} {prices.currency}"}),
    }
