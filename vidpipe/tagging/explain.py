"""Explains what each rule and category required of a video, what was found, and whether it matched."""

from __future__ import annotations

from collections.abc import Iterable

from vidpipe.tagging.blocks import Block, Explanation, PartExplanation
from vidpipe.tagging.categories import CategorySet
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.rules import RuleSet


class BlockExplanation(Explanation):
    """One block of a rule or category.

    Attributes:
        block: Its key in the rules file.
        matched: Whether it matched.
        parts: Its alternatives.
    """

    block: str
    matched: bool
    parts: tuple[PartExplanation, ...]


class RuleExplanation(Explanation):
    """One rule.

    Attributes:
        rule: Its name.
        matched: Whether it matched.
        gives: Its tags.
        match: Whether "any" block is enough, or "all" must match.
        blocks: Its blocks.
    """

    rule: str
    matched: bool
    gives: tuple[str, ...]
    match: str
    blocks: tuple[BlockExplanation, ...]


class CategoryExplanation(Explanation):
    """One category.

    Attributes:
        category: Its name.
        matched: Whether the score is positive and reaches `min_score`.
        score: Sum of all weighted hits.
        min_score: Lowest score of a match.
        blocks: Its blocks.
    """

    category: str
    matched: bool
    score: float
    min_score: float
    blocks: tuple[BlockExplanation, ...]


def explain(rules: RuleSet, facts: RuleFacts) -> list[RuleExplanation]:
    """Explain every rule, in order, whether it matched or not."""
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


def explain_categories(categories: CategorySet, facts: RuleFacts) -> list[CategoryExplanation]:
    """Explain every category, in the order of the file, whether it matched or not."""
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


def _blocks(blocks: Iterable[Block], facts: RuleFacts) -> tuple[BlockExplanation, ...]:
    return tuple(
        BlockExplanation(
            block=block.name,
            matched=block.matches(facts),
            parts=block.parts(facts),
        )
        for block in blocks
    )
