"""The seven stages, in order, and the resources they share. To add a stage, add its file and an entry here."""

from collections.abc import Callable

from vidpipe.settings import Settings
from vidpipe.stages import categories, descriptions, metadata, raw_video, scenes, sentiment, tags
from vidpipe.stages.contract import StageResource
from vidpipe.stages.graph import StageGraph

GRAPH = StageGraph(stage.STAGE for stage in (raw_video, metadata, scenes, descriptions, sentiment, tags, categories))


def build_resource(name: str, settings: Settings) -> StageResource:
    """Build the resource that stages declare as `name`.

    Called once per run. It is cheap: a model loads its weights at first use. What it returns may have a `close()`,
    which is called when the run ends.
    """
    # these import jinja2 and the rule language, which commands that only read results do not need
    from vidpipe.models.builders import build_model, build_prompts
    from vidpipe.tagging.categories import build_categories
    from vidpipe.tagging.rules import build_rules

    builders: dict[str, Callable[[Settings], StageResource]] = {
        "model": build_model,
        "prompts": build_prompts,
        "custom_tags": build_rules,
        "categories": build_categories,
    }
    return builders[name](settings)
