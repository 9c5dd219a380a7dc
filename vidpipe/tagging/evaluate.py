"""Which tags a rule set gives a video, and why."""

from __future__ import annotations

from dataclasses import dataclass

from vidpipe.tagging.blocks import TagBlock
from vidpipe.tagging.facts import TagFacts
from vidpipe.tagging.rules import RuleSet


@dataclass(frozen=True)
class TagMatch:
    """A tag, the rule that gave it, the block that matched ("a + b" where a rule asks for all) and what it found.

    facet: see `Rule`. model_tags: the model's own tags that the rule found, in normal form
    """

    tag: str
    rule: str
    block: str
    evidence: str
    facet: bool = False
    model_tags: tuple[str, ...] = ()


def evaluate(rules: RuleSet, facts: TagFacts) -> tuple[TagMatch, ...]:
    """Each tag once, in the order of the rules; the first rule that gives a tag is named with it."""
    given: dict[str, TagMatch] = {}
    for rule in rules.rules:
        blocks = rule.matching(facts)
        if not blocks:
            continue
        new = [(key, tag) for key, tag in rule.keyed_tags if key not in given]
        if new:
            block = " + ".join(one.name for one in blocks)
            evidence = "; ".join(one.evidence(facts) for one in blocks)
            suggested = sorted({tag for one in blocks if isinstance(one, TagBlock) for tag in one.hits(facts)})
            given |= {key: TagMatch(tag, rule.name, block, evidence, rule.facet, tuple(suggested)) for key, tag in new}
    return tuple(given.values())
