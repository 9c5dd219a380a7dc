"""categories: the category in categories.json to which a video belongs, with score and reason.

The describing model's proposal is one of the candidates and is stored beside the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vidpipe.stages.analyses.declaration import NO_ANALYSES
from vidpipe.stages.contract import Item, Stage, StageContext, per_video
from vidpipe.stages.results import Categories, ModelCategory, Tag
from vidpipe.stages.tags import READS

if TYPE_CHECKING:
    from vidpipe.stages.analyses.results import CategorySuggestion
    from vidpipe.tagging.categories import CategorySet


@per_video
def categorize(item: Item, context: StageContext) -> Categories:
    """Return the category; "Unclassified" only if no category matched and none is clearly the nearest in meaning."""
    from vidpipe.stages.rule_facts import rule_facts
    from vidpipe.tagging.categories import classify, suggested

    categories: CategorySet = context.resources["categories"]
    tags: Sequence[Tag] = item["tags.tags"]
    # the model's own tags are a separate fact with less weight
    by_rules = [tag for tag in tags if tag.given_by == "rule"]
    proposal: ModelCategory | None = item["descriptions.category"]
    analyses = context.resources.get("analyses", NO_ANALYSES)
    verdict = classify(categories, rule_facts(item.fields, by_rules, proposal, analyses))
    nearest: CategorySuggestion | None = item.fields.get("meaning.suggestion")
    if nearest and nearest.chosen and not verdict.candidates:
        verdict = suggested(categories, nearest.category, nearest.runner_up, nearest.margin) or verdict
    return Categories(**vars(verdict), proposal=proposal)


STAGE = Stage(
    name="categories",
    job="label",
    description="The category with the highest score under categories.json and the model's proposal, and why.",
    result=Categories,
    function=categorize,
    reads=(*READS, "tags.tags", "descriptions.category"),
    resources=("categories",),
    code_version="3",
    stored_as="category",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    quick=True,
)
