"""What each rule and category asked of a video, what was found, and whether that was enough."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from vidpipe.tagging.blocks import Block
from vidpipe.tagging.categories import CategorySet
from vidpipe.tagging.facts import TagFacts
from vidpipe.tagging.rules import RuleSet


class Explanation(BaseModel):
    model_config = ConfigDict(frozen=True)


class PartExplanation(Explanation):
    """One keyword, condition, tag or pattern: what it asks, what was found ("not known" where nothing is)."""

    asks: str
    found: str
    matched: bool


class BlockExplanation(Explanation):
    block: str
    matched: bool
    parts: tuple[PartExplanation, ...]


class RuleExplanation(Explanation):
    """gives: the tags that the rule has; match: "any" block is enough, or "all" must match."""

    rule: str
    matched: bool
    gives: tuple[str, ...]
    match: str
    blocks: tuple[BlockExplanation, ...]


class CategoryExplanation(Explanation):
    """matched: the score is above 0 and reaches min_score."""

    category: str
    matched: bool
    score: float
    min_score: float
    blocks: tuple[BlockExplanation, ...]


def explain(rules: RuleSet, facts: TagFacts) -> list[RuleExplanation]:
    """Every rule, in order, whether it matched or not. It agrees with `evaluate`."""
    return [
        RuleExplanation(
            rule=rule.name,
            matched=bool(rule.matching(facts)),
            gives=rule.tags,
            match=rule.match,
            blocks=_blocks(rule.blocks, facts),
        )
        for rule in rules.rules
    ]


def explain_categories(categories: CategorySet, facts: TagFacts) -> list[CategoryExplanation]:
    """Every category, in the file's order. It agrees with `classify`."""
    return [
        CategoryExplanation(
            category=category.name,
            matched=category.matches(facts),
            score=category.score(facts),
            min_score=category.min_score,
            blocks=_blocks(category.blocks, facts),
        )
        for category in categories.categories
    ]


def _blocks(blocks: Iterable[Block], facts: TagFacts) -> tuple[BlockExplanation, ...]:
    return tuple(
        BlockExplanation(
            block=block.name,
            matched=block.matches(facts),
            parts=tuple(
                PartExplanation(asks=part.asks, found=part.found, matched=part.matched) for part in block.parts(facts)
            ),
        )
        for block in blocks
    )
