"""What a run will do: the chosen stages with their resources built and their specs known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidpipe.errors import SettingsError, VidpipeError
from vidpipe.settings import Settings
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph, spec_of


@dataclass(frozen=True)
class Plan:
    """The stages of a run, in order.

    specs:       today's spec of each stage that can run
    unavailable: stages that cannot run at all (a rules file that does not parse, a model that is not there), and why;
                 the stages before them still run
    """

    graph: StageGraph
    settings: Settings
    stages: tuple[Stage, ...]
    specs: Mapping[str, str]
    resources: Mapping[str, Any]
    unavailable: Mapping[str, VidpipeError] = field(default_factory=dict)

    @classmethod
    def make(cls, graph: StageGraph, settings: Settings, names: Iterable[str] | None = None) -> Plan:
        """Plans the stages called `names` (None: all). Raises SettingsError for a name that is no stage's."""
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

    def resources_of(self, stage: Stage) -> dict[str, Any]:
        return {name: self.resources[name] for name in stage.resources}

    def texts(self) -> dict[str, str]:
        """hash -> text of every rule set and prompt the run uses."""
        return {version: text for resource in self.resources.values() for version, text in resource.texts().items()}

    def close(self) -> None:
        """Releases what resources hold (a loaded model)."""
        for resource in self.resources.values():
            close = getattr(resource, "close", None)
            if close:
                close()


def _build(names: set[str], settings: Settings) -> tuple[dict[str, Any], dict[str, VidpipeError]]:
    """The resources called `names`, and why some of them could not be built."""
    if not names:
        return {}, {}
    from vidpipe.stages.resources import BUILDERS  # brings in rules and models, which not every plan needs

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
