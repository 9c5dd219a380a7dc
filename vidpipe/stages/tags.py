"""tags: what the rules in custom_tags.json say of a video; each tag with the rule that gave it and its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext
from vidpipe.stages.results import Tag, Tags
from vidpipe.stages.rule_facts import READS, rule_facts
from vidpipe.tagging.compare import tag_changes
from vidpipe.tagging.evaluate import evaluate
from vidpipe.tagging.rules import RuleSet


def give_tags(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """One outcome a video. Every tag that came, went, or has another rule or evidence than before is in its lineage."""
    rules: RuleSet = context.resources["custom_tags"]
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        result = Tags(tags=tuple(Tag(**vars(match)) for match in evaluate(rules, rule_facts(item.fields))))
        yield Outcome(item.sha256, result, lineage=_lineage(item, result, rules.version))


def _lineage(item: Item, result: Tags, rules_version: str) -> list[dict[str, Any]]:
    previous = item.previous.tags if isinstance(item.previous, Tags) else ()
    return [
        {"kind": "tag", **asdict(change), "rules_version": rules_version}
        for change in tag_changes(previous, result.tags)
    ]


STAGE = Stage(
    name="tags",
    job="label",
    description="Tags given by the rules in custom_tags.json, each with its rule and evidence.",
    result=Tags,
    function=give_tags,
    reads=READS,
    resources=("custom_tags",),
    stored_as="tags",
    batch_size=32,  # cues of a long film are megabytes
    kinds=("rules", "json"),
    reads_previous=True,
    quick=True,
)
