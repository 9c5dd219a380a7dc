"""Which stages of a plan ask a describing model that sees, and which model that is."""

from __future__ import annotations

from dataclasses import dataclass

from vidpipe.models.describing_model import DescribingModel
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import Stage

#: The name of the resource.
MODEL = "model"


@dataclass(frozen=True)
class Describing:
    """model: one that sees, whose answers cost tokens and time; stages: those that ask it"""

    model: DescribingModel
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, plan: Plan) -> Describing | None:
        """None: no stage of the plan asks such a model; sentences made of measurements cost nothing worth counting."""
        model: DescribingModel | None = plan.resources.get(MODEL)
        stages = tuple(stage for stage in plan.stages if MODEL in stage.resources)
        return cls(model, stages) if model is not None and not model.measured and stages else None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)
