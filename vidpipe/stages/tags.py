"""tags: what the rules in custom_tags.json and the describing model say about a video, each tag with its evidence.

A tag that both a rule and the model give is attributed to the rule. Facets come after all other tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vidpipe.stages.contract import Cancelled, Item, Outcome, Stage, StageContext
from vidpipe.stages.model_results import ModelTag
from vidpipe.stages.results import MODEL_TAGS, Tag, Tags
from vidpipe.stages.rule_facts import READS, rule_facts
from vidpipe.tagging.blocks import tag_key
from vidpipe.tagging.rules import RuleSet, TagMatch, evaluate


def give_tags(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
    """Yield one outcome per video. Added and removed tags, and changed rules and evidence, are in its lineage."""
    rules: RuleSet = context.resources["custom_tags"]
    for item in items:
        if context.cancelled.is_set():
            raise Cancelled
        by_rules = [Tag(**vars(match)) for match in evaluate(rules, rule_facts(item.fields))]
        given = [*by_rules, *_by_model(item, {tag_key(tag.tag) for tag in by_rules})]
        result = Tags(tags=tuple(sorted(given, key=lambda tag: tag.facet)))
        yield Outcome(item.sha256, result, lineage=_lineage(item, result, rules.version))


def _by_model(item: Item, given: set[str]) -> Iterator[Tag]:
    """Yield the model's tags that no rule gave."""
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


@dataclass(frozen=True)
class TagChange:
    """One difference between the tags that a video had and has.

    Attributes:
        tag: The tag.
        change: What happened to it.
        rule: The rule that gives it now, or gave it if it was removed.
        evidence: The new evidence.
        was: The old evidence.
    """

    tag: str
    change: Literal["added", "removed", "rule changed", "evidence changed"]
    rule: str
    evidence: str = ""
    was: str = ""


def tag_changes(before: Iterable[Tag | TagMatch], after: Iterable[Tag | TagMatch]) -> list[TagChange]:
    """Return how two lists of tags differ: removed tags first, then the others in their order."""
    old = {tag_key(tag.tag): tag for tag in before}
    new = {tag_key(tag.tag): tag for tag in after}
    changes = [TagChange(tag.tag, "removed", tag.rule, was=tag.evidence) for key, tag in old.items() if key not in new]
    for key, tag in new.items():
        if key not in old:
            changes.append(TagChange(tag.tag, "added", tag.rule, tag.evidence))
        elif tag.rule != old[key].rule:
            changes.append(TagChange(tag.tag, "rule changed", tag.rule, tag.evidence, old[key].evidence))
        elif tag.evidence != old[key].evidence:
            changes.append(TagChange(tag.tag, "evidence changed", tag.rule, tag.evidence, old[key].evidence))
    return changes


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
