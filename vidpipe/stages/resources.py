"""What stages use besides the video: name -> how it is built from the settings (see `contract.Resource`).

A builder is called once a run. It must be cheap (a model loads its weights at first use), and what it builds may have a
`close()`, called when the run ends.
"""

from __future__ import annotations

from collections.abc import Callable

from vidpipe.models.describing_model import build_model
from vidpipe.models.prompt_building import build_prompts
from vidpipe.settings import Settings
from vidpipe.stages.contract import Resource
from vidpipe.tagging.categories import build_categories
from vidpipe.tagging.rules import build_rules

BUILDERS: dict[str, Callable[[Settings], Resource]] = {
    "model": build_model,
    "prompts": build_prompts,
    "custom_tags": build_rules,
    "categories": build_categories,
}
