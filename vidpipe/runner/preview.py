"""What a run would do, before it starts: its estimate, what changed, and the budget."""

from dataclasses import dataclass
from typing import Any, Self

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.states import waiting_for_spec
from vidpipe.runner.budget import Prices, recent_usages, usage_in_window, usage_sentence
from vidpipe.runner.estimate import Estimate, estimate, estimate_as_json
from vidpipe.runner.plan import Plan, what_changed
from vidpipe.runner.request import RunRequest


@dataclass(frozen=True)
class RunPreview:
    """What a run would do, and what it would cost.

    Attributes:
        estimate: Videos per stage, model requests, time and cost.
        changed: Stage -> what changed, for stages in which a change made videos due.
        budget: How much of the budget is used; None without a budget.
        problems: Stages that cannot run, and why.
    """

    estimate: Estimate
    changed: dict[str, str]
    budget: dict[str, Any] | None
    problems: dict[str, VidpipeError]

    @classmethod
    def of(cls, library: Library, plan: Plan, request: RunRequest) -> Self:
        """Return the preview of a run of the plan's stages. Nothing is changed and no model is loaded."""
        found = estimate(library, plan, request)
        changed = {}
        for stage in plan.stages:
            if any(one.name == stage.name and one.due.why["spec"] for one in found.stages):
                waiting = waiting_for_spec(library.collections["videos"], stage.name, plan.specs[stage.name])
                if waiting is not None:
                    changed[stage.name] = what_changed(library, plan, stage, waiting.former)
        return cls(found, changed, _budget(library, plan), dict(plan.unavailable))

    def as_json(self) -> dict[str, Any]:
        """Return the preview as JSON values."""
        problems = {name: problem.as_json() for name, problem in self.problems.items()}
        return {**estimate_as_json(self.estimate), "changed": self.changed, "budget": self.budget, "problems": problems}


def _budget(library: Library, plan: Plan) -> dict[str, Any] | None:
    budget = plan.settings.budget
    if not budget.is_limited:
        return None
    spent = usage_in_window(recent_usages(library.collections["runs"], Prices.of(plan.settings)))
    return {
        "model_hours": budget.model_hours, "used_model_hours": round(spent.seconds / 3600, 5), "cost": budget.cost,
        "used_cost": round(spent.cost, 6), "sentence": usage_sentence(budget, spent),
    }  # fmt: skip
