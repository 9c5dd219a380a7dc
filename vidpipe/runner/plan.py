"""What a run will do: the chosen stages, their resources and their specs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.settings import Settings
from vidpipe.stages.contract import CellStore, Stage, StageContext
from vidpipe.stages.declared_settings import declared_settings
from vidpipe.stages.graph import StageGraph, spec_of

if TYPE_CHECKING:
    from vidpipe.models.describing_model import DescribingModel

#: Name of the resource that is the describing model.
MODEL = "model"


@dataclass(frozen=True)
class Plan:
    """The stages of a run, in order.

    Attributes:
        graph: All stages there are.
        settings: The settings in force.
        stages: The chosen stages that can run.
        specs: Today's spec of each of them.
        resources: What they share: rule sets, prompts, the model.
        unavailable: Chosen stages that cannot run (their rules do not parse, their model is missing), and why. The
            stages before them still run.
    """

    graph: StageGraph
    settings: Settings
    stages: tuple[Stage, ...]
    specs: Mapping[str, str]
    resources: Mapping[str, Any]
    unavailable: Mapping[str, VidpipeError] = field(default_factory=dict)

    @classmethod
    def make(cls, graph: StageGraph, settings: Settings, names: Iterable[str] | None = None) -> Plan:
        """Plan the stages called `names` (None: all).

        Raises:
            SettingsError: A name is not that of a stage.
        """
        chosen = _choose(graph, names)
        resources, faults = _build({name for stage in chosen for name in stage.resources}, settings)
        specs: dict[str, str] = {}
        unavailable: dict[str, VidpipeError] = {}
        for stage in chosen:
            fault = next((faults[name] for name in stage.resources if name in faults), None)
            if fault:
                unavailable[stage.name] = fault
            else:
                specs[stage.name] = spec_of(stage, settings, resources)
        runnable = tuple(stage for stage in chosen if stage.name in specs)
        return cls(graph, settings, runnable, specs, resources, unavailable)

    def settings_of(self, stage: Stage) -> Settings:
        """Return the settings that `stage` declares; reading any other raises."""
        return declared_settings(self.settings, (*stage.settings, *stage.environment), stage.name)

    def context_of(
        self,
        stage: Stage,
        cells: CellStore,
        cancelled: threading.Event | None = None,
        progress: Callable[[str, float], None] = lambda sha256, fraction: None,
    ) -> StageContext:
        """Return what the function of `stage` gets besides its videos."""
        resources = {name: self.resources[name] for name in stage.resources}
        return StageContext(self.settings_of(stage), resources, cells, cancelled or threading.Event(), progress)

    def texts(self) -> dict[str, str]:
        """Return hash -> text of every rule set and prompt of the run."""
        return {version: text for resource in self.resources.values() for version, text in resource.texts().items()}

    def close(self) -> None:
        """Release what resources hold, such as a loaded model."""
        for resource in self.resources.values():
            close = getattr(resource, "close", None)
            if close:
                close()


def _build(names: set[str], settings: Settings) -> tuple[dict[str, Any], dict[str, VidpipeError]]:
    """Build the resources called `names`; return them, and why some could not be built."""
    if not names:
        return {}, {}
    from vidpipe.stages.resources import BUILDERS  # loads rules and models, which not every plan needs

    resources: dict[str, Any] = {}
    faults: dict[str, VidpipeError] = {}
    for name in sorted(names):
        try:
            resources[name] = BUILDERS[name](settings)
        except VidpipeError as error:
            faults[name] = error
    return resources, faults


def _choose(graph: StageGraph, names: Iterable[str] | None) -> tuple[Stage, ...]:
    if names is None:
        return tuple(graph)
    wanted = set(names)
    unknown = sorted(wanted - set(graph.names))
    if unknown:
        raise SettingsError(f"There is no stage called {', '.join(unknown)}.", f"Stages: {', '.join(graph.names)}.")
    return tuple(stage for stage in graph if stage.name in wanted)


@dataclass(frozen=True)
class DescribingStages:
    """The stages of a plan that ask a describing model.

    Attributes:
        model: A model that sees frames, so that its answers cost tokens and time.
        stages: The stages that ask it.
    """

    model: DescribingModel
    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, plan: Plan) -> DescribingStages | None:
        """Return None if no stage of the plan asks such a model; the statistics backend costs nothing."""
        model: DescribingModel | None = plan.resources.get(MODEL)
        stages = tuple(stage for stage in plan.stages if MODEL in stage.resources)
        return cls(model, stages) if model is not None and not model.measured and stages else None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stages."""
        return tuple(stage.name for stage in self.stages)
