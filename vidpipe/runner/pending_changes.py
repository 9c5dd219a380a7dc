"""Describes which videos wait until a person starts them, because of a changed setting, model or prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vidpipe.library.library import Library
from vidpipe.library.provenance import changed_parts, store_spec
from vidpipe.library.states import waiting_for_spec
from vidpipe.runner.plan import MODEL, Plan
from vidpipe.settings import Settings
from vidpipe.settings.schema import SECTION_NAMES, key_name
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import spec_parts

_RESOURCES = {
    "model": "the describing model",
    "prompts": "what the model is asked (prompts, questions, keywords)",
    "custom_tags": "CustomTagRules",
    "categories": "Categories",
}


def record_specs(library: Library, plan: Plan) -> None:
    """Stores what today's specs are made of, so that later changes can be named."""
    for stage in plan.stages:
        parts = spec_parts(stage, plan.settings, plan.resources)
        store_spec(library.collections["lineage"], stage.name, plan.specs[stage.name], parts)


def launches_changed(settings: Settings, step: str, stages: Sequence[Stage]) -> bool:
    """Returns whether sensors launch what a changed setting, model or prompt made due in `step`.

    They do if that is configured, or if the step uses the describing model and there is a budget for it.
    """
    budgeted = settings.budget.is_limited and any(MODEL in stage.resources for stage in stages)
    return step != "label" and (settings.sensors.describe_changed or budgeted)


def pending_sentences(library: Library, plan: Plan, stages: Iterable[Stage]) -> Iterator[str]:
    """Yields how many videos wait in each of `stages`, and what changed."""
    for stage in stages:
        waiting = waiting_for_spec(library.collections["videos"], stage.name, plan.specs[stage.name])
        if waiting is not None:
            videos = f"{waiting.videos:,} videos wait" if waiting.videos > 1 else "1 video waits"
            changed = what_changed(library, plan, stage, waiting.former)
            yield f"{videos} for `vidpipe run` or a backfill of {stage.name}: {changed} changed."


def what_changed(library: Library, plan: Plan, stage: Stage, former: str) -> str:
    """Returns what differs between the spec `former` of `stage` and today's, in the names of config.ini."""
    parts = spec_parts(stage, plan.settings, plan.resources)
    changed = changed_parts(library.collections["lineage"], former, parts)
    return " and ".join(_name(part, stage) for part in changed) or "its settings, model or code"


def _name(part: str, stage: Stage) -> str:
    kind, _, name = part.partition(".")
    if kind == "settings":
        section, _, field = name.partition(".")
        return f"{key_name(field)} of [{SECTION_NAMES.get(section, section)}]"
    return _RESOURCES.get(name, name) if kind == "resources" else f"the code of {stage.name}"
