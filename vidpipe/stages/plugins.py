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
from vidpipe.tagging.facts import FIELD_NAMES

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: Keys of a video's document, and of `vidpipe show`, that are no results.
_RESERVED = frozenset(
    [
        "stages",
        "lease",
        "added_at",
        "change_seq",
        "scene_generation",
        "video",
        "sources",
        "thumbnails",
        "damage",
        "scene_summary",
    ]
)


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
        _check_stage(analysis, plugin, settings)
        graph = graph_of(analysis)
        _check_names(analysis, others)
        _check_search(analysis, graph)
    except Exception as error:  # whatever a declaration of the wrong shape leads to
        raise plugin.fault(error if not isinstance(error, ValueError) else str(error)) from error
    return analysis


def _check_stage(analysis: Analysis, plugin: Plugin, settings: Settings) -> None:
    stage = analysis.stage
    if stage.name != plugin.name or not _NAME.fullmatch(stage.name) or stage.name in _RESERVED:
        raise ValueError(f"its stage is called {stage.name}, which must be a free name and that of the entry point")
    if not stage.optional or stage.job not in ("prepare", "label") or stage.key != stage.name:
        raise ValueError("its stage must be optional, of the job prepare or label, and stored under its own name")
    if not issubclass(stage.result, StageResult) or stage.result.root:
        raise ValueError("the result of its stage is not a StageResult with fields")
    for name in (*stage.settings, *stage.environment):
        try:
            setting(settings, name)
        except AttributeError:
            raise ValueError(f"there is no setting {name}, which its stage declares") from None


def _check_names(analysis: Analysis, others: Iterable[Analysis]) -> None:
    """Check that what it adds has names of its own."""
    if same := sorted({one.spec.name for one in analysis.rule_fields} & FIELD_NAMES.keys()):
        raise ValueError(f"the rule field {same[0]} is vidpipe's own")
    for other in others:
        for kind, own, theirs in (
            ("resource", analysis.resources.keys(), other.resources.keys()),
            ("column", analysis.columns.keys(), other.columns.keys()),
            ("text", {text.name for text in analysis.evidence}, {text.name for text in other.evidence}),
            ("rule field", {one.spec.name for one in analysis.rule_fields},
             {one.spec.name for one in other.rule_fields}),
        ):  # fmt: skip
            if same := sorted(own & theirs):
                raise ValueError(f"the {kind} {same[0]} is also declared by {other.stage.name}")


def _check_search(analysis: Analysis, graph: StageGraph) -> None:
    kinds = {
        field.name: field.kind
        for stage in (INGEST, *graph.names)
        if stage != analysis.stage.name
        for field in graph.result_model(stage).search_fields
    }
    for field in analysis.stage.result.search_fields:
        if not _NAME.fullmatch(field.name) or kinds.get(field.name, field.kind) != field.kind:
            raise ValueError(f"the search field {field.name} of kind {field.kind} is taken or not a name")
