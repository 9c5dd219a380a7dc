"""The stages in order, the optional analyses among them, and the resources they share.

To add a stage, add its file and an entry here; to add an analysis, see `vidpipe.stages.analyses.declaration`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module

from vidpipe.errors import UnavailableError, VidpipeError, visible
from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES
from vidpipe.settings.keys import suggestion
from vidpipe.settings.plugins import installed_plugins
from vidpipe.stages import categories, descriptions, metadata, raw_video, scenes, sentiment, tags
from vidpipe.stages.analyses.declaration import Analysis, EnabledAnalyses
from vidpipe.stages.contract import FieldRead, Stage, StageResource
from vidpipe.stages.graph import StageGraph

_RESOURCE = "analyses"


def enabled_analyses(settings: Settings) -> EnabledAnalyses:
    """Return the analyses of [Analyses] Enabled: vidpipe's own, then those of plugins."""
    wanted = settings.analyses.enabled
    modules = (import_module(f"vidpipe.stages.analyses.{name}") for name in ANALYSES if name in wanted)
    analyses: list[Analysis] = [module.ANALYSIS for module in modules]
    broken: dict[str, UnavailableError] = {}
    for name in dict.fromkeys(name for name in wanted if name not in ANALYSES):
        from vidpipe.stages.plugins import load_analysis

        plugins = installed_plugins()
        if name not in plugins:
            broken[name] = UnavailableError(
                f"There is no analysis, and no installed plugin, called {visible(name)}."
                + suggestion(name, (*ANALYSES, *plugins)),
                "Correct Enabled of [Analyses] in config.ini, or install the plugin's package.",
            )
            continue

        def graph_of(analysis: Analysis) -> StageGraph:
            return _graph(EnabledAnalyses((*analyses, analysis)), settings)

        try:
            analyses.append(load_analysis(plugins[name], settings, analyses, graph_of))
        except UnavailableError as error:
            broken[name] = error
    return EnabledAnalyses(tuple(analyses), broken)


def build_graph(settings: Settings) -> StageGraph:
    """Return the stages of a library: vidpipe's seven, and the enabled analyses, which the others read optionally."""
    return _graph(enabled_analyses(settings), settings)


def _graph(enabled: EnabledAnalyses, settings: Settings) -> StageGraph:
    def of_job(job: str) -> Iterable[Stage]:
        return (analysis.stage for analysis in enabled.analyses if analysis.stage.job == job)

    earlier = {analysis.stage.name for analysis in enabled.analyses if analysis.stage.job == "prepare"}
    names = {analysis.stage.name for analysis in enabled.analyses}
    texts = {evidence.reads for evidence in enabled.evidence}
    facts = {rule_field.reads for rule_field in enabled.rule_fields}
    described = descriptions.evidence_read(settings, enabled.evidence) if earlier else set()
    describe = _reading(descriptions.STAGE, {read for read in described if FieldRead.parse(read).stage in earlier})
    facts |= {"descriptions.found"} if describe.optional_reads else set()
    if settings.near_duplicates.describe_once and not settings.qwen_vl.measured:
        reads = (*describe.optional_reads, descriptions.SHARED)
        describe = replace(describe, optional_reads=reads, settings=("near_duplicates.describe_once",))
    return StageGraph(
        (
            *(raw_video.STAGE, metadata.STAGE, _scenes(settings)),
            *of_job("prepare"),
            replace(describe, costly=not settings.qwen_vl.measured),
            _reading(sentiment.STAGE, texts & {"speech.segments", "screen_text.entries"}),
            *(_reading(stage, texts) for stage in of_job("label")),
            _reading(
                tags.STAGE, texts | facts | {read for read in tags.SCENE_READS if FieldRead.parse(read).stage in names}
            ),
            _reading(categories.STAGE, {*texts, *facts, *(["meaning.suggestion"] if "meaning" in names else [])}),
        ),
        enabled.broken,
    )


def _scenes(settings: Settings) -> Stage:
    """Return the stage scenes with what its settings ask for.

    What blurs faces is part of its spec; without its model, the stage is unavailable.
    """
    stage = scenes.STAGE
    if settings.scene_detection.detector == "transnetv2":
        stage = replace(stage, resources=(*stage.resources, "cut_model"))
    if settings.privacy.blur_faces:
        stage = replace(
            stage,
            settings=(*stage.settings, "privacy.blur_faces"),
            resources=(*stage.resources, "faces_model"),
        )
    return stage


def _reading(stage: Stage, reads: set[str]) -> Stage:
    """Return `stage` reading more fields, optionally. Without any it is unchanged, and so is its spec."""
    more = tuple(sorted(reads - set(stage.all_reads)))
    if not more:
        return stage
    return replace(stage, optional_reads=(*stage.optional_reads, *more), resources=(*stage.resources, _RESOURCE))


def build_resource(name: str, settings: Settings) -> StageResource:
    """Build the resource that stages declare as `name`.

    Called once per run. It is cheap: a model loads its weights at first use. What it returns may have a `close()`,
    which is called when the run ends.
    """
    # these import jinja2 and the rule language, which commands that only read results do not need
    from vidpipe.models.builders import build_model, build_prompts
    from vidpipe.tagging.categories import build_categories
    from vidpipe.tagging.rules import build_rules

    enabled = enabled_analyses(settings)
    builders: dict[str, Callable[[Settings], StageResource]] = {
        "model": build_model,
        "prompts": lambda settings: build_prompts(settings, [text.name for text in enabled.evidence]),
        "custom_tags": lambda settings: build_rules(settings, enabled.vocabulary),
        "categories": lambda settings: build_categories(settings, enabled.vocabulary),
        "cut_model": lambda settings: import_module("vidpipe.models.transnetv2").build_cut_model(settings),
        _RESOURCE: lambda settings: enabled,
    }
    if settings.privacy.blur_faces:
        builders |= import_module("vidpipe.stages.analyses.faces").ANALYSIS.resources
    for analysis in enabled.analyses:
        builders |= {name: build for name, build in analysis.resources.items() if name not in builders}
    try:
        return builders[name](settings)
    except VidpipeError:
        raise
    except Exception as error:
        reason = visible(f"{type(error).__name__}: {error}")
        raise UnavailableError(f"{name} cannot be loaded: {reason}.", "Reinstall vidpipe and its plugins.") from error
