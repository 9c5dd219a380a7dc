"""categories: the category in categories.json to which a video belongs, with score and reason.

The describing model's proposal is one of the candidates and is stored beside the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext
from vidpipe.stages.model_results import ModelCategory
from vidpipe.stages.results import Categories, Tag
from vidpipe.stages.rule_facts import READS, rule_facts
from vidpipe.tagging.categories import CategorySet, classify


def categorize(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Yield one outcome per video; "Unclassified" only if no category matched."""
    categories: CategorySet = context.resources["categories"]
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        tags: Sequence[Tag] = item["tags.tags"]
        # the model's own tags are a separate fact with less weight
        by_rules = [tag for tag in tags if tag.given_by == "rule"]
        proposal: ModelCategory | None = item["descriptions.category"]
        verdict = classify(categories, rule_facts(item.fields, by_rules, proposal))
        yield Outcome(
            item.sha256,
            Categories(
                category=verdict.category,
                score=verdict.score,
                reason=verdict.reason,
                candidates=verdict.candidates,
                proposal=proposal,
            ),
        )


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
