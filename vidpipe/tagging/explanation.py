"""Explains rules: what each one requires, and what was found in a video.

An explanation suffices to derive whether a rule applies: what a selection needs of its parts, and the rule of its
selections, is spelled in the language of conditions.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from vidpipe.tagging.block import Block, Explanation, Extract, PartExplanation
from vidpipe.tagging.blocks import ConditionsBlock
from vidpipe.tagging.evaluation import Tagging, evaluate
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.field_conditions import TextFieldBlock
from vidpipe.tagging.keyword_block import KeywordBlock
from vidpipe.tagging.logic import AtLeast, Negation, RuleSelection, Statement
from vidpipe.tagging.rule import Rule
from vidpipe.tagging.rules import RuleSet
from vidpipe.tagging.tag_vocabulary import TagVocabulary
from vidpipe.text.words import tag_key

_MOST_EXTRACTS = 3
#: Block of the short form -> the field of the full form that it checks.
_FIELDS = {
    "description_keywords": "description", "subtitle_keywords": "said", "text_keywords": "text", "labels": "label",
    "ai_generated_tags": "model_tags", "filename_patterns": "file_name", "source_patterns": "source",
}  # fmt: skip
#: What can be unknown of texts that others are part of.
_COMPONENTS = {"said": ("speech",), "text": ("speech", "screen_text")}


class BlockExplanation(Explanation):
    """One block of a rule or category.

    Attributes:
        block: Its key in the rules file.
        matched: Whether it matched; None: unknown.
        needs: What it needs of its parts, by their numbers from 1: "1 of them", "(1 and not 2)".
        parts: Its alternatives.
    """

    block: str
    matched: bool | None
    needs: str = "1 of them"
    parts: tuple[PartExplanation, ...]


class SceneExplanation(Explanation):
    """One scene under a rule with the scope scene.

    Attributes:
        start_s: Its start.
        end_s: Its end.
        matched: Whether it matched; None: unknown.
        selections: Name of each selection -> likewise.
    """

    start_s: float
    end_s: float
    matched: bool | None
    selections: dict[str, bool | None]


class RuleExplanation(Explanation):
    """One rule.

    Attributes:
        rule: Its name.
        title: What people call it.
        matched: Whether it matched; None: unknown.
        gives: Its tags.
        removes: The tags that it removes.
        match: Whether "any" block is enough, or "all" must match; for a rule of the full form its condition.
        status: How far it is trusted.
        priority: Of rules that disagree about a tag, the one with the highest priority wins.
        blocks: Its selections; for a rule of the short form its blocks. Of a rule about scenes, in the scene that
            satisfies most.
        exclusions: What must not be true.
        hold: For a rule about scenes: which of them must match, as in the rules file.
        scenes: For a rule about scenes: each of them.
        closeness: How much of the condition is satisfied, 0 to 1; of what is unknown, half.
        lacking: If it did not match: the parts that decided that. One with `matched` must not be true.
    """

    rule: str
    title: str
    matched: bool | None
    gives: tuple[str, ...]
    removes: tuple[str, ...] = ()
    match: str
    status: str
    priority: int = 0
    blocks: tuple[BlockExplanation, ...]
    exclusions: tuple[BlockExplanation, ...] = ()
    hold: dict[str, Any] | None = None
    scenes: tuple[SceneExplanation, ...] = ()
    closeness: float = 0.0
    lacking: tuple[PartExplanation, ...] = ()


def explain(rules: RuleSet, facts: RuleFacts) -> list[RuleExplanation]:
    """Explain every rule, in order, whether it matched or not."""
    evaluate(rules, facts)  # rules may check the tags that others give
    return [_explained(rule, facts) for rule in rules.rules]


def tag_effects(
    vocabulary: TagVocabulary, tag: str, facts: RuleFacts, tagging: Tagging, rules: Iterable[RuleExplanation]
) -> Iterator[str]:
    """Yield in sentences what decides about a tag besides the rules that give it."""
    preferred = vocabulary.canonical(tag)
    key, there = tag_key(preferred), {tag_key(match.tag): match.tag for match in tagging.tags}
    if key != tag_key(tag):
        yield f"“{tag}” is a synonym of “{preferred}”"
    for said in facts.verdicts.values():
        if tag_key(vocabulary.canonical(said.tag)) == key:
            yield f"a verdict: {'yes' if said.right else 'no'}; {said.says}"
    for narrower, name in there.items():
        if key in map(tag_key, vocabulary.broader.get(narrower, ())):
            yield f"“{name}” is a kind of “{preferred}”"
    for rule in rules:
        if rule.matched and key in map(tag_key, rule.removes):
            yield f"the rule “{rule.rule}” (priority {rule.priority}) removes it"
    if key not in there:
        yield from (f"“{there[one]}” excludes it" for one in vocabulary.exclusive.get(key, ()) if one in there)


def _explained(rule: Rule, facts: RuleFacts) -> RuleExplanation:
    scenes = (facts.scenes or ()) if rule.scope == "scene" else ()
    truths = [rule.truth(scene) for scene in scenes]
    matched = rule.truth(facts) if rule.scope == "video" else rule.hold.truth(scenes, truths)
    nearest = max(scenes, key=lambda scene: _closeness(rule.term, scene), default=facts)
    hold = rule.source and rule.source.hold
    of_scenes = tuple(
        SceneExplanation(
            start_s=scene.start_s or 0.0, end_s=scene.end_s or 0.0, matched=truth,
            selections={selection.name: selection.truth(scene) for selection in rule.selections},
        )
        for scene, truth in zip(scenes, truths, strict=True)
    )  # fmt: skip
    return RuleExplanation(
        rule=rule.name, title=rule.title, matched=matched, gives=rule.tags, removes=rule.removes, status=rule.status,
        match=rule.match if rule.source is None else rule.source.condition or rule.source.default_condition,
        priority=rule.priority, scenes=of_scenes, closeness=round(_closeness(rule.term, nearest), 3),
        blocks=tuple(_block(selection.name, selection, nearest) for selection in rule.selections),
        exclusions=tuple(_block(f"exclusion {number}", one, nearest) for number, one in enumerate(rule.exclusions, 1)),
        hold=None if rule.scope == "video" else hold.model_dump(by_alias=True, exclude={"note"}) if hold else {},
        lacking=() if matched else tuple(_lacking(rule.term, nearest)),
    )  # fmt: skip


def _lacking(term: Statement, facts: RuleFacts) -> Iterator[PartExplanation]:
    for leaf in term.deciding(facts) if term.truth(facts) is not True else ():
        holds = leaf.truth(facts) is True  # and must not
        parts = tuple(_parts(leaf, facts))
        yield from [part for part in parts if (part.matched is True) == holds] or parts


def _closeness(term: Statement, facts: RuleFacts) -> float:
    match term:
        case RuleSelection():
            return _closeness(term.term, facts)
        case Negation():
            return 1 - _closeness(term.term, facts)
        case AtLeast():
            best = sorted((_closeness(one, facts) for one in term.terms), reverse=True)[: term.least]
            return sum(best) / term.least
    return {True: 1.0, None: 0.5, False: 0.0}[term.truth(facts)]


def _block(name: str, term: Statement, facts: RuleFacts) -> BlockExplanation:
    parts: list[PartExplanation] = []
    needs, several = _needs(term, facts, parts), len(parts) > 1
    numbers = list(map(str, range(1, len(parts) + 1)))
    for joint, words in ((" or ", "1 of them"), (" and ", "all of them")):
        needs = words if several and needs == f"({joint.join(numbers)})" else needs
    return BlockExplanation(block=name, matched=term.truth(facts), needs=needs, parts=tuple(parts))


def _needs(term: Statement, facts: RuleFacts, parts: list[PartExplanation]) -> str:
    """Return what a term needs of its parts, which are added to `parts`."""
    match term:
        case RuleSelection():
            return _needs(term.term, facts, parts)
        case Negation():
            return f"not {_needs(term.term, facts, parts)}"
        case AtLeast():
            return _joined([_needs(one, facts, parts) for one in term.terms], " or " if term.least == 1 else " and ")
    first = len(parts) + 1
    parts += _parts(term, facts)
    numbers = iter(range(first, len(parts) + 1))
    if isinstance(term, ConditionsBlock):
        return _joined([_joined([str(next(numbers)) for _ in group], " and ") for group in term.groups], " or ")
    return _joined(list(map(str, numbers)), " or ")


def _joined(words: list[str], joint: str) -> str:
    return words[0] if len(words) == 1 else f"({joint.join(words)})"


def _parts(block: Statement, facts: RuleFacts) -> Iterator[PartExplanation]:
    """Yield the parts of a block with the fact that each one checks, what is not known of it, and words in context."""
    if not isinstance(block, Block):
        return
    parts = block.parts(facts)
    fields = [_FIELDS.get(block.name, block.name.removesuffix("_keywords"))] * len(parts)
    if isinstance(block, ConditionsBlock):
        fields = [condition.spec.name for group in block.groups for condition in group]
    for number, (part, field) in enumerate(zip(parts, fields, strict=True)):
        found: list[tuple[str, str, str, float | None]] = []
        unknown: tuple[str, ...] = (field,) if part.matched is None or part.found == "not known" else ()
        if isinstance(block, TextFieldBlock | KeywordBlock):
            known = _COMPONENTS.get(field, (field,))
            unknown = () if part.matched else tuple(one for one in known if facts.texts(one) is None)
        if isinstance(block, TextFieldBlock) and block.matches_line is None:
            word = block.modifier == "word"
            places = (text.extracts(block.found_in(text), stemmed=word) for text in block.hits(facts))
            found = [one for of_text in places for one in islice(of_text, _MOST_EXTRACTS)]
        elif isinstance(block, KeywordBlock) and part.matched:
            forms = block.keywords[number].forms
            places = (text.extracts(form) for text in facts.texts(field) or () for form in forms)
            found = [one for of_text in places for one in islice(of_text, _MOST_EXTRACTS)]
        extracts = tuple(Extract(before=before, found=there, after=after, start_s=start_s)
                         for before, there, after, start_s in found[:_MOST_EXTRACTS])  # fmt: skip
        yield part.model_copy(update={"field": field, "unknown": unknown, "extracts": extracts})
