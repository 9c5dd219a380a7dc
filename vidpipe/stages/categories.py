"""categories: the category in categories.json to which a video belongs, with score and reason.

The describing model's proposal is one of the candidates and is stored beside the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vidpipe.stages.analyses.declaration import NO_ANALYSES
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, per_video
from vidpipe.stages.results import Categories, ModelCategory, Tag
from vidpipe.stages.tags import READS
from vidpipe.text.words import tag_key

if TYPE_CHECKING:
    from vidpipe.stages.analyses.results import CategorySuggestion
    from vidpipe.tagging.categories import CategorySet


@per_video
def categorize(item: Item, context: StageContext) -> Outcome:
    """Return the category; "Unclassified" only if no category matched and none is clearly the nearest in meaning.

    A changed category is in the outcome's lineage.
    """
    from vidpipe.stages.rule_facts import judgements, rule_facts
    from vidpipe.tagging.categories import classify, suggested

    categories: CategorySet = context.resources["categories"]
    tags: Sequence[Tag] = item["tags.tags"]
    # the model's own tags are a separate fact with less weight
    by_rules = [tag for tag in tags if tag.given_by != "model"]
    proposal: ModelCategory | None = item["descriptions.category"]
    analyses = context.resources.get("analyses", NO_ANALYSES)
    said = judgements(item.fields.get("ingest.verdicts") or (), "category")
    wrong = {key for key, one in said.items() if not one.right}
    allowed = tuple(one for one in categories.categories if tag_key(one.name) not in wrong)
    categories = replace(categories, categories=allowed)
    verdict = classify(categories, rule_facts(item.fields, by_rules, proposal, analyses))
    nearest: CategorySuggestion | None = item.fields.get("meaning.suggestion")
    if nearest and nearest.chosen and not verdict.candidates:
        verdict = suggested(categories, nearest.category, nearest.runner_up, nearest.margin) or verdict
    for key in (key for key in said if key not in wrong):  # the last one prevails
        chosen = said[key]
        name = next((one.name for one in allowed if tag_key(one.name) == key), chosen.tag)
        score = dict(verdict.candidates).get(name, 0.0)
        verdict = replace(verdict, category=name, score=score, reason=f"a person chose it: {chosen.says}")
    result = Categories(**vars(verdict), proposal=proposal)
    was = item.previous.category if isinstance(item.previous, Categories) else ""
    change = {"kind": "category", "category": result.category, "was": was, "reason": result.reason}
    lineage = [{**change, "rules_version": categories.version}] if was != result.category else []
    return Outcome(item.sha256, result, lineage=lineage)


def looks_at(resources: Mapping[str, Any], judged_scenes: bool) -> set[str]:
    """Return what the stage looks at under these categories; see `Stage.looks_at`."""
    from vidpipe.stages.rule_facts import needed_reads

    needed = needed_reads(resources["categories"].fields, analyses=resources.get("analyses", NO_ANALYSES))
    return {*needed, "tags.tags", "descriptions.category", "meaning.suggestion", "ingest.verdicts"}


STAGE = Stage(
    name="categories",
    job="label",
    description="The category with the highest score under categories.json and the model's proposal, and why.",
    result=Categories,
    function=categorize,
    reads=(*READS, "tags.tags"),
    resources=("categories",),
    code_version="5",
    stored_as="category",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    reads_previous=True,
    quick=True,
    looks_at=looks_at,
)
