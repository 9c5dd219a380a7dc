"""Stages from installed packages: what an enabled plugin must declare for its stage to join the others.

A plugin that cannot be used is reported by name, and the rest keeps working (`EnabledAnalyses.broken`).
"""

import re
from collections.abc import Callable, Iterable

from vidpipe.settings import Settings
from vidpipe.settings.plugins import Plugin
from vidpipe.stages.analyses.declaration import Analysis
from vidpipe.stages.contract import INGEST, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import setting
from vidpipe.tagging.fields import FIELD_NAMES

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: Keys of a video's document, and of `vidpipe show`, that are no results.
_RESERVED = frozenset(
    {
        "stages", "lease", "late_commit", "added_at", "change_seq", "scene_generation", "video", "sources",
        "partition_since", "thumbnails", "damage", "scene_summary", "storage",
    }
)  # fmt: skip


def load_analysis(
    plugin: Plugin, settings: Settings, others: Iterable[Analysis], graph_of: Callable[[Analysis], StageGraph]
) -> Analysis:
    """Return what a plugin declares.

    Args:
        plugin: The plugin.
        settings: The settings of the home, with the plugin's section.
        others: The analyses that come before it.
        graph_of: Adds an analysis to the stages. Raises ValueError if it does not fit them.

    Raises:
        PluginError: It fails, or what it declares cannot be used.
    """
    analysis = plugin.load()
    if not isinstance(analysis, Analysis):
        raise plugin.fault(f"{plugin.entry_point.value} is {type(analysis).__name__}, not an Analysis")
    plugin.section_class()
    try:
        _check_stage(analysis, plugin.entry_point.name, settings)
        taken = {("rule field", name) for name in FIELD_NAMES}.union(*map(_names, others))
        for kind, name in sorted(_names(analysis) & taken):
            raise ValueError(f"another stage has a {kind} {name}")
        _check_search(analysis, graph_of(analysis))
    except Exception as error:  # whatever a declaration of the wrong shape leads to
        raise plugin.fault(error if not isinstance(error, ValueError) else str(error)) from error
    return analysis


def _check_stage(analysis: Analysis, name: str, settings: Settings) -> None:
    stage = analysis.stage
    if stage.name != name or not _NAME.fullmatch(name) or name in _RESERVED:
        raise ValueError(f"its stage is called {stage.name}, which must be a free name and that of the entry point")
    if not stage.optional or stage.job not in ("prepare", "label") or stage.key != name:
        raise ValueError("its stage must be optional, of the job prepare or label, and stored under its own name")
    if not issubclass(stage.result, StageResult) or stage.result.root:
        raise ValueError("the result of its stage is not a StageResult with fields")
    for declared in (*stage.settings, *stage.environment):
        setting(settings, declared)  # raises if there is none


def _names(analysis: Analysis) -> set[tuple[str, str]]:
    """Return what it adds, as (kind, name)."""
    return {
        *(("resource", name) for name in analysis.resources),
        *(("column", name) for name in analysis.columns),
        *(("text", text.name) for text in analysis.evidence),
        *(("rule field", field.spec.name) for field in analysis.rule_fields),
    }


def _check_search(analysis: Analysis, graph: StageGraph) -> None:
    others = [graph.result_model(stage) for stage in (INGEST, *graph.names) if stage != analysis.stage.name]
    kinds = {field.name: field.kind for result in others for field in result.search_fields}
    for field in analysis.stage.result.search_fields:
        if not _NAME.fullmatch(field.name) or kinds.get(field.name, field.kind) != field.kind:
            raise ValueError(f"the search field {field.name} of kind {field.kind} is taken or not a name")
