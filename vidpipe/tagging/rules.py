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
