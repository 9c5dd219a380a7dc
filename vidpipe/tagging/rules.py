"""Tag rules: reads them from the files in rules/."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, create_model

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.tagging.block import Block
from vidpipe.tagging.blocks import BLOCKS, blocks_of
from vidpipe.tagging.fields import OWN_VOCABULARY, Vocabulary
from vidpipe.tagging.logic import Negation, Statement, all_of
from vidpipe.tagging.matching import WordIndex
from vidpipe.tagging.rule import ExclusionSource, FullRuleSource, Rule, parse_exclusion, unique_tags
from vidpipe.tagging.rule_files import RuleFile, Versioned, read_rule_files
from vidpipe.tagging.tag_vocabulary import NO_VOCABULARY, TagVocabulary, VocabularySource, build_vocabulary
from vidpipe.tagging.validation import (
    ConditionGroups,
    Patterns,
    RulesFileModel,
    Text,
    Texts,
    as_list,
    checked,
    compiled,
    unique_names,
    validated,
)
from vidpipe.text.words import tag_key


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
class RuleSet(Versioned):
    """Rules in the order of their files, and the vocabulary of their tags.

    Attributes:
        rules: The rules; if several give the same tag, it is attributed to the first.
        vocabulary: Synonyms, hierarchy and exclusive tags.
    """

    rules: tuple[Rule, ...]
    vocabulary: TagVocabulary = NO_VOCABULARY

    def normal(self) -> dict[str, Any]:
        """Return the rules as in a rules file."""
        body: dict[str, Any] = {"rules": [rule.normal() for rule in self.rules]}
        return body | ({"vocabulary": self.vocabulary.normal()} if self.vocabulary else {})

    @cached_property
    def in_order(self) -> tuple[tuple[int, Rule], ...]:
        """(position in the files, rule): a rule that checks tags comes after those that decide about these tags."""
        return tuple((position, self.rules[position]) for position in _in_order(self.rules, self.vocabulary))

    @cached_property
    def word_index(self) -> WordIndex:
        """The words that the rules need, in the order of `in_order`."""
        return WordIndex(rule for _, rule in self.in_order)

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the facts that the rules check."""
        return frozenset().union(*(rule.fields for rule in self.rules))

    @cached_property
    def scene_fields(self) -> frozenset[str] | None:
        """Names of the facts that they check of scenes; None: no rule is about scenes."""
        of_scenes = [rule.fields for rule in self.rules if rule.scope == "scene"]
        return frozenset().union(*of_scenes) if of_scenes else None

    def __getitem__(self, name: str) -> Rule:
        """Return the rule of this name or id. Raises KeyError."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Rule]:
        return {rule.name: rule for rule in self.rules}


def _in_order(rules: Sequence[Rule], vocabulary: TagVocabulary) -> Iterable[int]:
    if not any("tags" in rule.fields for rule in rules):
        return range(len(rules))
    decides: dict[str, set[int]] = {}
    for position, rule in enumerate(rules):
        for key in rule.decides:
            for decided in (key, *map(tag_key, vocabulary.broader.get(key, ())), *vocabulary.exclusive.get(key, ())):
                decides.setdefault(decided, set()).add(position)
    before = {
        position: sorted({other for key in rule.checked_tags for other in decides.get(key, ())})
        for position, rule in enumerate(rules)
    }
    try:
        return tuple(TopologicalSorter(before).static_order())
    except CycleError as error:
        path = " → ".join(rules[position].name for position in reversed(error.args[1]))
        raise SettingsError(
            f"Rules depend on one another's tags in a cycle: {path}.",
            "Let one of them check something else than the tags of the other.",
        ) from None


def build_rules(settings: Settings, vocabulary: Vocabulary = OWN_VOCABULARY) -> RuleSet:
    """Return the tag rules in force. Raises SettingsError."""
    return parse_rule_set(read_rule_files(settings), vocabulary)


def parse_rules(text: str, shown: str = "custom_tags.json", vocabulary: Vocabulary = OWN_VOCABULARY) -> RuleSet:
    """Return the rules in one file: `{"rules": [...]}`, or a bare list.

    Args:
        text: The text, JSON or, if the name says so, YAML.
        shown: What error messages call the file.
        vocabulary: What plugins add to the rule language.

    Raises:
        SettingsError: It is invalid; the message names file, rule and key, what was found and what is allowed.
    """
    return parse_rule_set([RuleFile.parse(text, shown)], vocabulary)


def parse_rule_set(files: Sequence[RuleFile], vocabulary: Vocabulary = OWN_VOCABULARY) -> RuleSet:
    """Return the rules of several files.

    Args:
        files: The files, in order.
        vocabulary: What plugins add to the rule language.

    Raises:
        SettingsError: One is invalid, two rules have the same id, or rules depend on one another in a cycle.
    """
    relations = compiled(
        lambda: build_vocabulary([checked(VocabularySource, one) for file in files for one in file.vocabulary]),
        files[0].shown if len(files) == 1 else "rules", "vocabulary",
    )  # fmt: skip
    vocabulary = replace(vocabulary, synonyms=relations.preferred)
    exclusions = [
        compiled(partial(parse_exclusion, one, vocabulary), place, "exclusions")
        for file in files
        for place, one in file.entries("exclusions", "rules")
    ]
    entries = [(place, entry) for file in files for place, entry in file.entries("rules")]
    rules = [_with_exclusions(rule, exclusions) for rule in parse_rules_of(entries, vocabulary)]
    if relations:
        tags = ([unique_tags([*map(relations.canonical, listed)]) for listed in (rule.tags, rule.removes)]
                for rule in rules)  # fmt: skip
        rules = [replace(rule, tags=gives, removes=removes)
                 for rule, (gives, removes) in zip(rules, tags, strict=True)]  # fmt: skip
    rule_set = RuleSet(tuple(rules), relations)
    rule_set.in_order  # noqa: B018 - a cycle is an error of the files
    return rule_set


def parse_rules_of(entries: Sequence[tuple[str, Any]], vocabulary: Vocabulary) -> list[Rule]:
    """Return the rules in (place, entry) pairs, without what other files say of them. Raises SettingsError."""
    short = with_texts(RuleSource, vocabulary)
    sources: list[tuple[str, RuleSource | FullRuleSource, list[Any]]] = []
    for place, entry in entries:
        own: list[Any] = []
        if isinstance(entry, dict) and isinstance(entry.get("exclusions"), list):
            own, entry = entry["exclusions"], {key: entry[key] for key in entry if key != "exclusions"}  # noqa: PLW2901
        full = isinstance(entry, dict) and not entry.keys().isdisjoint(("id", "selections"))
        source = validated(FullRuleSource, entry, place) if full else validated(short, entry, place)
        sources.append((place, source, own))
    enabled = [one for one in sources if one[1].enabled]
    names = [(_name(source), place) for place, source, _ in enabled]
    unique_names((name, place) for name, place in names if name)
    taken = {name.casefold() for name, _ in names if name}
    counts: Counter[str] = Counter()
    rules = []
    for place, source, own in enabled:
        if isinstance(source, FullRuleSource):
            rule = compiled(partial(Rule.of_source, source, vocabulary), place, "rule")
        else:
            rule = _short_rule(source, place, vocabulary, taken, counts)
        of_rule = [compiled(partial(parse_exclusion, one | {"rules": ["*"]}, vocabulary), place, "exclusions")
                   for one in own]  # fmt: skip
        rules.append(_with_exclusions(rule, of_rule))
    return rules


def _name(source: RuleSource | FullRuleSource) -> str | None:
    return source.id if isinstance(source, FullRuleSource) else source.name


def _short_rule(source: RuleSource, place: str, vocabulary: Vocabulary, taken: set[str], counts: Counter[str]) -> Rule:
    blocks = source.blocks(place, vocabulary)
    if not blocks:
        raise SettingsError(
            f"{place} has no conditions, so it would never give its tags.", f"Add one of {', '.join(BLOCKS)}."
        )
    tags = unique_tags(source.tags)
    match = source.match if len(blocks) > 1 else "any"
    name = source.name or _derived(tags, taken, counts)
    return Rule.of_blocks(name, tags, blocks, match, facet=source.facet)


def _with_exclusions(rule: Rule, exclusions: Sequence[tuple[ExclusionSource, Statement]]) -> Rule:
    found = [(one, term) for one, term in exclusions if any(fnmatchcase(rule.name, name) for name in one.rules)]
    if not found:
        return rule
    sources = tuple(one.model_dump(mode="json", include={"selections", "condition"}, exclude_defaults=True)
                    for one, _ in found)  # fmt: skip
    then, nots = rule.hold.then, [Negation(term) for _, term in found]
    return replace(
        rule,
        hold=replace(rule.hold, then=(all_of([then[0], *nots]), all_of([then[1], *nots]))) if then else rule.hold,
        exclusions=(*rule.exclusions, *(term for _, term in found)),
        exclusion_sources=(*rule.exclusion_sources, *sources),
    )


def _derived(tags: tuple[str, ...], taken: set[str], counts: Counter[str]) -> str:
    """Return a name made from its tags for a rule without one; unlike its number, it does not depend on other rules."""
    base = " + ".join(tags)
    while True:
        counts[base] += 1
        name = base if counts[base] == 1 else f"{base} ({counts[base]})"
        if name.casefold() not in taken:
            taken.add(name.casefold())
            return name
