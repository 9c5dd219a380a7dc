"""The resources of stages: name -> how each is built from the settings (see `contract.StageResource`).

A builder is called once per run and must be cheap: a model loads its weights at first use. What it builds may have a
`close()`, which is called when the run ends.
"""

from __future__ import annotations

from collections.abc import Callable

from vidpipe.models.builders import build_model, build_prompts
from vidpipe.settings import Settings
from vidpipe.stages.contract import StageResource
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.rules import build_rules

BUILDERS: dict[str, Callable[[Settings], StageResource]] = {
    "model": build_model,
    "prompts": build_prompts,
    "custom_tags": build_rules,
    "categories": build_categories,
}
