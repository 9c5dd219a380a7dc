"""Tag rules: the model of rules/custom_tags.json, and the rule set made from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal
from pydantic import Field
from vidpipe.errors import SettingsError
from vidpipe.tagging.blocks import BLOCKS, Block, tag_key
from vidpipe.tagging.facts import TagFacts
from vidpipe.tagging.rules_file import (
    ConditionGroups,
    Patterns,
    Source,
    Text,
    Texts,
    Versioned,
    compiled,
    parse_json,
    read_text,
    unique_names,
    validated,
)
from vidpipe.tagging.blocks import TagBlock
from collections.abc import Iterable
from typing import Any, Literal, Protocol
from vidpipe.tagging.blocks import tag_key



class BlocksSource(Source):
    """The blocks that rules and categories share, as the file holds them."""

    enabled: bool = True
    metadata_conditions: ConditionGroups = Field(default=[], description="all of one object must hold")
    description_keywords: Texts = Field(default=[])
    subtitle_keywords: Texts = Field(default=[])
    ai_generated_tags: Texts = Field(default=[])
    labels: Texts = Field(default=[])
    filename_patterns: Patterns = Field(default=[])
    source_patterns: Patterns = Field(default=[])

    def blocks(self, where: str) -> tuple[Block, ...]:
        """The blocks that ask for something. Raises SettingsError naming `where` and the block."""
        sources = {key: [entry for entry in getattr(self, key) if entry != {}] for key in BLOCKS}
        return tuple(compiled(partial(BLOCKS[key], source), where, key) for key, source in sources.items() if source)


class RuleSource(BlocksSource):
    """One rule as the file holds it."""

    name: Text | None = None
    match: Literal["any", "all"] = "any"
    tags: Texts = Field(min_length=1)
    facet: bool = False


@dataclass(frozen=True)
class Rule:
    """Gives its tags when one of its blocks matches ("any"), or when all of them do ("all").

    facet: whether they are technical facts to filter by, listed after the other tags
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

    def matching(self, facts: TagFacts) -> tuple[Block, ...]:
        """The blocks that make the rule match: the first one ("any") or all of them; () when it does not match."""
        if self.match == "all":
            return self.blocks if all(block.matches(facts) for block in self.blocks) else ()
        for block in self.blocks:
            if block.matches(facts):
                return (block,)
        return ()

    def normal(self) -> dict[str, Any]:
        body: dict[str, Any] = {"name": self.name, "tags": list(self.tags)}
        body |= {block.name: block.normal() for block in self.blocks}
        body |= {"match": "all"} if self.match == "all" else {}
        return body | ({"facet": True} if self.facet else {})


@dataclass(frozen=True)
class RuleSet(Versioned):
    """Rules in the order of their file; where several give one tag, the first gets the credit."""

    rules: tuple[Rule, ...]

    def normal(self) -> dict[str, Any]:
        return {"rules": [rule.normal() for rule in self.rules]}


def load_rules(path: Path, shown: str = "") -> RuleSet:
    """The rules in the file at `path`; `shown` is what errors call it. Raises SettingsError."""
    shown = shown or str(path)
    return parse_rules(read_text(path, shown, "CustomTagRules"), shown)


def parse_rules(text: str, shown: str = "custom_tags.json") -> RuleSet:
    """The rules in a JSON text: `{"rules": [...]}`, or the list alone.

    Raises SettingsError that names the file, the rule, the key, what was found and what is allowed.
    """
    document = parse_json(text, shown)
    if isinstance(document, dict):
        document = _rule_list(document, shown)
    if not isinstance(document, list):
        raise SettingsError(f'{shown}: expected {{"rules": [...]}} or a list of rules.')
    sources = [
        (number, validated(RuleSource, one, _place(shown, number, one))) for number, one in enumerate(document, 1)
    ]
    enabled = [(number, source) for number, source in sources if source.enabled]
    unique_names(((source.name, f"rule {number}") for number, source in enabled if source.name), shown)
    taken = {source.name.casefold() for _, source in enabled if source.name}
    counts: Counter[str] = Counter()
    rules = []
    for number, source in enabled:
        where = _place(shown, number, document[number - 1])
        blocks = source.blocks(where)
        if not blocks:
            raise SettingsError(f"{where} asks for nothing, so it would never give its tags.", _hint())
        tags = {tag_key(tag): tag for tag in reversed(source.tags)}
        unique = tuple(dict.fromkeys(tags[tag_key(tag)] for tag in source.tags))
        match = source.match if len(blocks) > 1 else "any"
        rules.append(Rule(source.name or _derived(unique, taken, counts), unique, blocks, match, source.facet))
    return RuleSet(tuple(rules))


def _rule_list(document: dict[str, Any], shown: str) -> Any:
    unknown = sorted(set(document) - {"rules", "note"})
    if unknown or "rules" not in document:
        found = f'found "{unknown[0]}"' if unknown else "found no such key"
        raise SettingsError(f'{shown}: expected the key "rules" with a list of rules (and perhaps "note"); {found}.')
    return document["rules"]


def _place(shown: str, number: int, source: Any) -> str:
    name = source.get("name") if isinstance(source, dict) else None
    return f"{shown}, rule {number}" + (f' ("{name[:80]}")' if isinstance(name, str) and name else "")


def _derived(tags: tuple[str, ...], taken: set[str], counts: Counter[str]) -> str:
    """A name for a rule without one, from its tags: unlike its number, it stays when rules above it come and go."""
    base = " + ".join(tags)
    while True:
        counts[base] += 1
        name = base if counts[base] == 1 else f"{base} ({counts[base]})"
        if name.casefold() not in taken:
            taken.add(name.casefold())
            return name


def _hint() -> str:
    return f"Give it one of {', '.join(BLOCKS)}."


# DOC """Which tags a rule set gives a video, and why."""
# 


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


# DOC """What differs between two rule sets, and between the tags a video had and has."""
# 


ChangeKind = Literal["added", "removed", "rule changed", "evidence changed"]


@dataclass(frozen=True)
class RuleChange:
    """A rule that is in both sets under one name, with the keys in which its normal forms differ."""

    rule: str
    keys: tuple[str, ...]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class RuleSetChange:
    """Names of rules that are only in the new or only in the old set, (old, new) names of those that do the same under
    another name, the changed ones, and whether rules in both sets stand in another order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[RuleChange, ...]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.changed or self.reordered)


class GivenTag(Protocol):
    """What `tag_changes` needs of a tag, stored or just given."""

    @property
    def tag(self) -> str: ...
    @property
    def rule(self) -> str: ...
    @property
    def evidence(self) -> str: ...


@dataclass(frozen=True)
class TagChange:
    """rule: the one that gives the tag now, or gave it before where the tag is removed. was: the evidence before."""

    tag: str
    change: ChangeKind
    rule: str
    evidence: str = ""
    was: str = ""


def compare(old: RuleSet, new: RuleSet) -> RuleSetChange:
    """How `new` differs from `old`; false in a condition where both have the same version."""
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


def tag_changes(before: Iterable[GivenTag], after: Iterable[GivenTag]) -> list[TagChange]:
    """Removed tags first, then the others in their order; [] where nothing differs."""
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


def _body(normal: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in normal.items() if key != "name"}


def _differing(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    return tuple(key for key in sorted(before | after) if before.get(key) != after.get(key))
