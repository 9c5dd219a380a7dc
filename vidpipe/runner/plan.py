"""What a run will do: the chosen stages, their resources and their specs.

A change of a setting, model or prompt can make many videos due, which then wait until a person starts a run: which ones
wait, and for which change, is described here, too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.states import waiting_for_spec
from vidpipe.models.installed import MissingModelError
from vidpipe.settings import Settings
from vidpipe.settings.schema import key_name, section_models
from vidpipe.stages.contract import FieldRead, Item, Stage, StageContext
from vidpipe.stages.graph import ANALYSES_CHANGED, StageGraph
from vidpipe.stages.registry import build_resource
from vidpipe.stages.versions import declared_settings, spec_of, spec_parts
from vidpipe.storage.media_files import MediaFiles
from vidpipe.text.messages import join_words

if TYPE_CHECKING:
    from vidpipe.library.library import Library
    from vidpipe.models.describing_model import DescribingModel
    from vidpipe.runner.video_state import VideoState

log = logging.getLogger(__name__)

#: Name of the resource that is the describing model.
MODEL = "model"
_RESOURCES = {
    "model": "the describing model",
    "prompts": "what the model is asked (prompts, questions, keywords)",
    "custom_tags": "CustomTagRules",
    "categories": "Categories",
    "analyses": "the way in which it reads analyses",
}


@dataclass(frozen=True)
class Plan:
    """The stages of a run, in order.

    Attributes:
        graph: All stages.
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
    _looked_at: dict[tuple[str, bool], tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def make(
        cls, graph: StageGraph, settings: Settings, names: Iterable[str] | None = None, *, fetch: bool = False,
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> Plan:  # fmt: skip
        """Plan the stages called `names` (None: all).

        Args:
            graph: All stages.
            settings: The settings in force.
            names: The stages to plan.
            fetch: Install missing models, if [Models] Fetch allows it.
            given: Resources to use instead of those in force: the rules of a draft.

        Raises:
            SettingsError: A name is not that of a stage.
        """
        wanted = {*graph.names, *graph.broken} if names is None else set(names)
        if unknown := sorted(wanted - set(graph.names) - graph.broken.keys()):
            raise SettingsError(f"There is no stage called {', '.join(unknown)}.", f"Stages: {', '.join(graph.names)}.")
        chosen = [stage for stage in graph if stage.name in wanted]
        resources: dict[str, Any] = {}
        faults: dict[str, VidpipeError] = {}
        for name in sorted({name for stage in chosen for name in stage.resources}):
            try:
                fetched = fetch and settings.models.fetch
                resources[name] = given[name] if name in given else _built(name, settings, fetch=fetched)
            except VidpipeError as error:
                faults[name] = error
        specs: dict[str, str] = {}
        unavailable: dict[str, VidpipeError] = {name: why for name, why in graph.broken.items() if name in wanted}
        for stage in chosen:
            fault = next((faults[name] for name in stage.resources if name in faults), None)
            if fault:
                unavailable[stage.name] = fault
            else:
                specs[stage.name] = spec_of(stage, settings, resources)
        runnable = tuple(stage for stage in chosen if stage.name in specs)
        return cls(graph, settings, runnable, specs, resources, unavailable)

    @property
    def problems(self) -> dict[str, VidpipeError]:
        """Those of `unavailable` that are errors: a run is complete without an optional stage that lacks something."""
        return {
            name: error
            for name, error in self.unavailable.items()
            if not isinstance(error, UnavailableError) or (name in self.graph and not self.graph[name].optional)
        }

    @property
    def rules(self) -> Any:
        """The tag rules. Raises VidpipeError if there is something wrong with them."""
        if "tags" in self.unavailable:
            raise self.unavailable["tags"]
        return self.resources["custom_tags"]

    def settings_of(self, stage: Stage) -> Settings:
        """Return the settings that `stage` declares; reading any other raises."""
        return declared_settings(self.settings, (*stage.settings, *stage.environment), stage.name)

    def looked_at(self, stage: Stage, *, judged_scenes: bool = False) -> tuple[str, ...]:
        """Return which of its reads `stage` looks at; `judged_scenes`: in a video of whose scenes people spoke."""
        if stage.looks_at is None:
            return stage.all_reads
        key = (stage.name, judged_scenes)
        if key not in self._looked_at:
            chosen = stage.looks_at({name: self.resources[name] for name in stage.resources}, judged_scenes)
            self._looked_at[key] = tuple(read for read in stage.all_reads if read in chosen)
        return self._looked_at[key]

    def item(self, stage: Stage, state: VideoState) -> Item:
        """Return what the function of `stage` gets for a video: what it looks at."""
        return state.item(stage, self.looked_at(stage, judged_scenes=state.has_judged_scenes))

    def context_of(
        self,
        stage: Stage,
        library: Library | None,
        run_id: str = "",
        cancelled: threading.Event | None = None,
        progress: Callable[[str, float], None] = lambda sha256, fraction: None,
    ) -> StageContext:
        """Return what the function of `stage` gets besides its videos; the model's answers belong to the run.

        Without a library, files are local and the model's answers are not kept.
        """
        resources, settings = {name: self.resources[name] for name in stage.resources}, self.settings_of(stage)
        stop = cancelled or threading.Event()
        cells, files = (library.cells(run_id), library.files) if library else (None, MediaFiles(self.settings))
        return StageContext(settings, resources, cells, stop, progress, files)

    def texts(self) -> dict[str, str]:
        """Return hash -> text of every rule set and prompt of the run."""
        return {version: text for resource in self.resources.values() for version, text in resource.texts().items()}

    def close(self) -> None:
        """Release what resources hold, such as a loaded model."""
        for resource in self.resources.values():
            close = getattr(resource, "close", None)
            if close:
                close()


def _built(name: str, settings: Settings, *, fetch: bool) -> Any:
    try:
        return build_resource(name, settings)
    except MissingModelError as missing:
        if not fetch:
            raise
        from vidpipe.models.catalogue import entry_of
        from vidpipe.models.installation import install

        for model in missing.models:
            log.info("installing the model %s", model)
            install(entry_of(model), settings.models_directory)
        return build_resource(name, settings)


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


def record_specs(library: Library, plan: Plan) -> None:
    """Store what today's specs are made of, so that later changes can be named."""
    from vidpipe.library.provenance import store_spec  # imports pymongo

    for stage in plan.stages:
        parts = spec_parts(stage, plan.settings, plan.resources)
        store_spec(library.collections["lineage"], stage.name, plan.specs[stage.name], parts)


def launches_changed(settings: Settings, step: str, stages: Sequence[Stage]) -> bool:
    """Return whether sensors launch what a changed setting, model or prompt made due in `step`.

    They do if that is configured, or if the step uses the describing model and there is a budget for it.
    """
    budgeted = settings.budget.is_limited and any(MODEL in stage.resources for stage in stages)
    return step != "label" and (settings.sensors.describe_changed or budgeted)


def pending_sentences(library: Library, plan: Plan, stages: Iterable[Stage]) -> Iterator[str]:
    """Yield how many videos wait in each of `stages`, and what changed."""
    for stage in stages:
        waiting = waiting_for_spec(library.collections["videos"], stage.name, plan.specs[stage.name])
        if waiting is not None:
            videos = f"{waiting.videos:,} videos wait" if waiting.videos > 1 else "1 video waits"
            changed = what_changed(library, plan, stage, waiting.former)
            yield f"{videos} for `vidpipe run` or a backfill of {stage.name}: {changed} changed."


def what_changed(library: Library, plan: Plan, stage: Stage, former: str) -> str:
    """Return what differs between the spec `former` of `stage` and today's, in the names of config.ini."""
    from vidpipe.library.provenance import spec_difference  # imports pymongo

    if former == ANALYSES_CHANGED:
        sources = dict.fromkeys(FieldRead.parse(name).stage for name in stage.optional_reads if "ingest." not in name)
        return f"what {join_words(list(sources))} found" if sources else "what analyses found"
    parts = spec_parts(stage, plan.settings, plan.resources)
    changed = list(spec_difference(library.collections["lineage"], former, parts))
    if any(part.startswith("analyses.") for part in changed):  # the resource comes and goes with them
        changed = [part for part in changed if part != "resources.analyses"]
    read = [name for part in changed for kind, _, name in [part.partition(".")] if kind == "analyses"]
    names = [_name(part, stage, type(plan.settings)) for part in changed if not part.startswith("analyses.")]
    names += [f"which analyses it reads ({', '.join(read)})"] if read else []
    return " and ".join(names) or "its settings, model or code"


def _name(part: str, stage: Stage, settings: type[Settings]) -> str:
    kind, _, name = part.partition(".")
    if kind == "settings":
        section, _, field = name.partition(".")
        known = section_models(settings).get(section)
        return f"{key_name(field)} of [{known.__name__ if known else section}]"
    return _RESOURCES.get(name, name) if kind == "resources" else f"the code of {stage.name}"
