"""What the describing model is estimated to do in a run, and what it did, as tags of the Dagster run."""

from __future__ import annotations

from vidpipe.library.runs import Figures, ModelUse
from vidpipe.pipeline.events import StepContext
from vidpipe.planning.amounts import Amount, Prices
from vidpipe.planning.describing import Describing
from vidpipe.runner.plan import Plan


def begin_model_use(figures: Figures, plan: Plan) -> None:
    """Has the time of the stages that ask the model count as the model's."""
    describing = Describing.of(plan)
    if describing is not None:
        figures.asks(describing.model.name, describing.names)


def tag_model_use(context: StepContext, figures: Figures, plan: Plan) -> None:
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


def estimate_tags(amount: Amount, prices: Prices) -> dict[str, str]:
    """What a run is launched for, as far as it is known before it begins."""
    cost = prices.cost_of(amount)
    return {
        "vidpipe/estimated_answers": f"{amount.asked:.0f}",
        "vidpipe/estimated_prompt_tokens": f"{amount.prompt_tokens:.0f}",
        "vidpipe/estimated_output_tokens": f"{amount.output_tokens:.0f}",
        **({} if amount.seconds is None else {"vidpipe/estimated_model_seconds": f"{amount.seconds:.3f}"}),
        **({} if cost is None else {"vidpipe/estimated_cost": f"{cost:.4f} {prices.currency}"}),
    }
