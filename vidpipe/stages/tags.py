"""tags: what the rules in custom_tags.json and the describing model say of a video; each tag with who gave it, and why.

A tag that a rule gives is the rule's, also where the model would give it. Facets come after all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext
from vidpipe.stages.model_results import ModelTag
from vidpipe.stages.results import MODEL_TAGS, Tag, Tags
from vidpipe.stages.rule_facts import READS, rule_facts
from vidpipe.tagging.blocks import tag_key
from vidpipe.tagging.compare import tag_changes
from vidpipe.tagging.evaluate import evaluate
from vidpipe.tagging.rules import RuleSet


def give_tags(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """One outcome a video. Every tag that came, went, or has another rule or evidence than before is in its lineage."""
    rules: RuleSet = context.resources["custom_tags"]
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        by_rules = [Tag(**vars(match)) for match in evaluate(rules, rule_facts(item.fields))]
        given = [*by_rules, *_by_model(item, {tag_key(tag.tag) for tag in by_rules})]
        result = Tags(tags=tuple(sorted(given, key=lambda tag: tag.facet)))
        yield Outcome(item.sha256, result, lineage=_lineage(item, result, rules.version))


def _by_model(item: Item, given: set[str]) -> Iterator[Tag]:
    """The model's tags that no rule gave."""
    suggested: Sequence[ModelTag] = item["descriptions.tags"]
    for suggestion in suggested:
        key = tag_key(suggestion.tag)
        if key and key not in given:
            given.add(key)
            sure = "" if suggestion.confidence is None else f", with confidence {suggestion.confidence:.2g}"
            yield Tag(
                tag=suggestion.tag,
                rule=MODEL_TAGS,
                given_by="model",
                evidence=f"{item['descriptions.model']} saw it in the frames{sure}.",
                confidence=suggestion.confidence,
            )


def _lineage(item: Item, result: Tags, rules_version: str) -> list[dict[str, Any]]:
    previous = item.previous.tags if isinstance(item.previous, Tags) else ()
    return [
        {"kind": "tag", **asdict(change), "rules_version": rules_version}
        for change in tag_changes(previous, result.tags)
    ]


STAGE = Stage(
    name="tags",
    job="label",
    description="Tags given by the rules in custom_tags.json and by the describing model, each with who and why.",
    result=Tags,
    function=give_tags,
    reads=(*READS, "descriptions.model"),
    resources=("custom_tags",),
    code_version="3",
    stored_as="tags",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    reads_previous=True,
    quick=True,
)
