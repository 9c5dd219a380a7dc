"""Tag rules: reads rules/custom_tags.json, gives tags to videos, and compares two rule sets."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, create_model

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.block import Block, Explanation, PartExplanation
from vidpipe.tagging.blocks import BLOCKS, TagBlock, blocks_of, tag_key
from vidpipe.tagging.facts import OWN_VOCABULARY, RuleFacts, Vocabulary
from vidpipe.tagging.rules_file import (
    ConditionGroups,
    Patterns,
    RulesFileModel,
    Text,
    Texts,
    Versioned,
    as_list,
    compiled,
    entry_place,
    load_named,
    parse_json,
    read_text,
    unique_names,
    validated,
    value_under,
)


class BlocksSource(RulesFileModel):
    """The blocks that rules and categories have in common, as in the file."""

    enabled: bool = True
    metadata_conditions: ConditionGroups = Field(default=[], description="all of one object must hold")
    description_keywords: Texts = Field(default=[])
    subtitle_keywords: Texts = Field(default=[])
    ai_generated_tags: Texts = Field(default=[])
    labels: Texts = Field(default=[])
    filename_patterns: Patterns = Field(default=[])
    source_patterns: Patterns = Field(default=[])
    text_keywords: Texts = Field(default=[])
    objects: Annotated[list[Any], BeforeValidator(as_list)] = Field(default=[])

    def blocks(self, where: str, vocabulary: Vocabulary) -> tuple[Block, ...]:
        """Return the blocks that are not empty. Raises SettingsError, which names `where` and the block."""
        makers = blocks_of(vocabulary)
        sources = {key: [entry for entry in getattr(self, key) if entry != {}] for key in makers}
        return tuple(compiled(partial(makers[key], source), where, key) for key, source in sources.items() if source)


SourceT = TypeVar("SourceT", bound=BlocksSource)


def with_texts(model: type[SourceT], vocabulary: Vocabulary) -> type[SourceT]:
    """Return the model with a key for the keywords of each text."""
    keys: dict[str, Any] = dict.fromkeys(vocabulary.keyword_blocks, (Texts, Field(default=[])))
    return create_model(model.__name__, __base__=model, **keys)


class RuleSource(BlocksSource):
    """One rule as in the file."""

    name: Text | None = None
    match: Literal["any", "all"] = "any"
    tags: Texts = Field(min_length=1)
    facet: bool = False


@dataclass(frozen=True)
class Rule:
    """Gives its tags if one of its blocks matches ("any"), or if all of them do ("all").

    Attributes:
        name: Name of the rule.
        tags: The tags that it gives.
        blocks: What it checks.
        match: "any" or "all".
        facet: Whether its tags are technical facts to filter by, listed after the other tags.
    """

    name: str
    tags: tuple[str, ...]
    blocks: tuple[Block, ...]
    match: Literal["any", "all"] = "any"
    facet: bool = False

    @cached_property
    def keyed_tags(self) -> tuple[tuple[str, str], ...]:
        """(key, tag) of each tag; see `tag_key`."""
        return tuple((tag_key(tag), tag) for tag in self.tags)

    def matching(self, facts: RuleFacts) -> tuple[Block, ...]:
        """Return the blocks that make the rule match: the first one ("any") or all of them; () if it does not match."""
        if self.match == "all":
            return self.blocks if all(block.matches(facts) for block in self.blocks) else ()
        for block in self.blocks:
            if block.matches(facts):
                return (block,)
        return ()

    def normal(self) -> dict[str, Any]:
        """Return the rule as in a rules file."""
        body: dict[str, Any] = {"name": self.name, "tags": list(self.tags)}
        body |= {block.name: block.normal() for block in self.blocks}
        body |= {"match": "all"} if self.match == "all" else {}
        return body | ({"facet": True} if self.facet else {})


@dataclass(frozen=True)
class RuleSet(Versioned):
    """Rules in the order of their file; if several give the same tag, it is attributed to the first."""

    rules: tuple[Rule, ...]

    def normal(self) -> dict[str, Any]:
        """Return the rules as in a rules file."""
        return {"rules": [rule.normal() for rule in self.rules]}


def build_rules(settings: Settings, vocabulary: Vocabulary = OWN_VOCABULARY) -> RuleSet:
    """Return the tag rules in force. Raises SettingsError."""
    return load_named(settings, "custom_tag_rules", partial(parse_rules, vocabulary=vocabulary))


def load_rules(path: Path, shown: str = "") -> RuleSet:
    """Return the rules in the file at `path`, which error messages call `shown`. Raises SettingsError."""
    shown = shown or str(path)
    return parse_rules(read_text(path, shown, "CustomTagRules"), shown)


def parse_rules(text: str, shown: str = "custom_tags.json", vocabulary: Vocabulary = OWN_VOCABULARY) -> RuleSet:
    """Return the rules in a JSON text: `{"rules": [...]}`, or a bare list.

    Args:
        text: The JSON text.
        shown: What error messages call the file.
        vocabulary: What plugins add to the rule language.

    Raises:
        SettingsError: It is invalid; the message names file, rule and key, what was found and what is allowed.
    """
    document = parse_json(text, shown)
    if isinstance(document, dict):
        document = value_under(document, "rules", shown)
    if not isinstance(document, list):
        raise SettingsError(f'{shown}: expected {{"rules": [...]}} or a list of rules.')
    places = [entry_place(shown, "rule", number, one) for number, one in enumerate(document, 1)]
    model = with_texts(RuleSource, vocabulary)
    sources = [validated(model, one, place) for one, place in zip(document, places, strict=True)]
    enabled = [(number, source) for number, source in enumerate(sources, 1) if source.enabled]
    unique_names(((source.name, f"rule {number}") for number, source in enabled if source.name), shown)
    taken = {source.name.casefold() for _, source in enabled if source.name}
    counts: Counter[str] = Counter()
    rules = []
    for number, source in enabled:
        blocks = source.blocks(places[number - 1], vocabulary)
        if not blocks:
            raise SettingsError(
                f"{places[number - 1]} has no conditions, so it would never give its tags.",
                f"Add one of {', '.join(BLOCKS)}.",
            )
        tags = {tag_key(tag): tag for tag in reversed(source.tags)}
        unique = tuple(dict.fromkeys(tags[tag_key(tag)] for tag in source.tags))
        match = source.match if len(blocks) > 1 else "any"
        rules.append(Rule(source.name or _derived(unique, taken, counts), unique, blocks, match, source.facet))
    return RuleSet(tuple(rules))


def _derived(tags: tuple[str, ...], taken: set[str], counts: Counter[str]) -> str:
    """Return a name made from its tags for a rule without one; unlike its number, it does not depend on other rules."""
    base = " + ".join(tags)
    while True:
        counts[base] += 1
        name = base if counts[base] == 1 else f"{base} ({counts[base]})"
        if name.casefold() not in taken:
            taken.add(name.casefold())
            return name


@dataclass(frozen=True)
class TagMatch:
    """A tag that a rule gave.

    Attributes:
        tag: The tag.
        rule: Name of the rule.
        block: The block that matched; "a + b" if the rule requires all.
        evidence: What the block found.
        facet: See `Rule`.
        model_tags: The model's own tags that the rule matched, normalized.
    """

    tag: str
    rule: str
    block: str
    evidence: str
    facet: bool = False
    model_tags: tuple[str, ...] = ()


def evaluate(rules: RuleSet, facts: RuleFacts) -> tuple[TagMatch, ...]:
    """Return each tag once, in the order of the rules, with the first rule that gives it."""
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


def explain_blocks(blocks: Iterable[Block], facts: RuleFacts) -> tuple[BlockExplanation, ...]:
    """Explain each of `blocks`."""
    return tuple(
        BlockExplanation(block=block.name, matched=block.matches(facts), parts=block.parts(facts)) for block in blocks
    )


def explain(rules: RuleSet, facts: RuleFacts) -> list[RuleExplanation]:
    """Explain every rule, in order, whether it matched or not."""
    return [
        RuleExplanation(
            rule=rule.name,
            matched=bool(rule.matching(facts)),
            gives=rule.tags,
            match=rule.match,
            blocks=explain_blocks(rule.blocks, facts),
        )
        for rule in rules.rules
    ]


@dataclass(frozen=True)
class RuleChange:
    """A rule that changed between two sets.

    Attributes:
        rule: Its name.
        keys: The keys in which the normal forms differ.
        before: The old normal form.
        after: The new normal form.
    """

    rule: str
    keys: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class RuleSetChange:
    """How two rule sets differ; false if they do not.

    Attributes:
        added: Names of rules that are in the new set only.
        removed: Names of rules that are in the old set only.
        renamed: (old, new) names of rules that are otherwise equal.
        changed: Rules with the same name that differ.
        reordered: Whether the order of the rules in both sets differs.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[RuleChange, ...]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.changed or self.reordered)


def compare(old: RuleSet, new: RuleSet) -> RuleSetChange:
    """Return how `new` differs from `old`."""
    before = {rule.name: rule.normal() for rule in old.rules}
    after = {rule.name: rule.normal() for rule in new.rules}
    gone = [name for name in before if name not in after]
    come = [name for name in after if name not in before]
    renamed: list[tuple[str, str]] = []
    for name in gone:
        twin = next((one for one in come if _body(after[one]) == _body(before[name])), None)
        if twin is not None:
            come.remove(twin)
            renamed.append((name, twin))
    new_names = dict(renamed)
    stayed = [new_names.get(name, name) for name in before if name in after or name in new_names]
    return RuleSetChange(
        added=tuple(come),
        removed=tuple(name for name in gone if name not in new_names),
        renamed=tuple(renamed),
        changed=tuple(
            RuleChange(name, _differing(before[name], after[name]), before[name], after[name])
            for name in before
            if name in after and before[name] != after[name]
        ),
        reordered=stayed != [name for name in after if name in set(stayed)],
    )


def _body(normal: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in normal.items() if key != "name"}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return tuple(key for key in sorted(before | after) if before.get(key) != after.get(key))
