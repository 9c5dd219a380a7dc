"""The blocks of a rule by their keys in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from vidpipe.tagging.block import MAX_SHOWN, Block, PartExplanation, explained, quoted, safe
from vidpipe.tagging.conditions import Condition, parse_conditions
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.fields import FIELD_NAMES, FieldSpec, Vocabulary
from vidpipe.tagging.keyword_block import KeywordBlock
from vidpipe.tagging.object_block import ObjectBlock
from vidpipe.tagging.patterns import Pattern, parse_pattern
from vidpipe.text.words import Keyword, label_key


@dataclass(frozen=True)
class ConditionsBlock(Block):
    """Matches if all conditions of one of its groups hold."""

    groups: tuple[tuple[Condition, ...], ...]
    name: str = "metadata_conditions"

    @classmethod
    def parse(cls, sources: list[dict[str, Any]], names: Mapping[str, FieldSpec] = FIELD_NAMES) -> ConditionsBlock:
        """Return the block for these groups of conditions on the fields of these names. Raises ValueError."""
        parsed = (parse_conditions(source, names) for source in sources)
        groups = {str(_normal_group(group)): group for group in parsed if group}
        return cls(tuple(groups[key] for key in sorted(groups)))

    @property
    def fields(self) -> frozenset[str]:
        """The facts that it checks."""
        return frozenset({condition.spec.name for group in self.groups for condition in group})

    def hits(self, facts: RuleFacts) -> list[tuple[Condition, ...]]:
        """Return the groups of which all conditions hold."""
        return [group for group in self.groups if all(condition.holds(facts) for condition in group)]

    def evidence(self, facts: RuleFacts) -> str:
        """`duration is 725.3 s (asked: above 600 s), resolution is 4K (asked: 4K)`."""
        asked: dict[tuple[str, str], dict[str, None]] = {}
        for group in self.hits(facts):
            for condition in group:
                asked.setdefault((condition.spec.label, condition.found(facts)), {})[condition.asks] = None
        return ", ".join(f"{label} is {found} (asked: {' and '.join(asks)})" for (label, found), asks in asked.items())

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        several = len(self.groups) > 1
        return tuple(
            PartExplanation(asks=f"{one.spec.label}: {one.asks}" + (f" [alternative {number}]" if several else ""),
                            found=one.found(facts), matched=one.holds(facts))
            for number, group in enumerate(self.groups, 1) for one in group
        )  # fmt: skip

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        groups = [_normal_group(group) for group in self.groups]
        return groups[0] if len(groups) == 1 else groups


def _normal_group(group: tuple[Condition, ...]) -> dict[str, Any]:
    return {condition.key: condition.value for condition in group}


@dataclass(frozen=True)
class TagBlock(Block):
    """Matches if the video has one of the wanted tags; case and hyphens do not matter.

    Attributes:
        name: "ai_generated_tags" checks the model's own tags, "tags" those given by rules.
        wanted: Normalized tags.
        counted: Tags of the model that another block of the same category already counts.
    """

    name: Literal["ai_generated_tags", "tags"]
    wanted: tuple[str, ...]
    counted: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls, name: Literal["ai_generated_tags", "tags"], texts: Iterable[str], counted: Iterable[str] = ()
    ) -> TagBlock:
        """Return the block for these tags. Raises ValueError."""
        return cls(name, tuple(sorted({Keyword.parse(text).phrase for text in texts})), frozenset(counted))

    @property
    def fields(self) -> frozenset[str]:
        """The facts that it checks."""
        return frozenset({"model_tags"} if self.name == "ai_generated_tags" else {"model_tags", "tags"})

    def _present(self, facts: RuleFacts) -> frozenset[str]:
        return facts.tag_words if self.name == "tags" else facts.model_tag_words

    def hits(self, facts: RuleFacts) -> list[str]:
        """Return the wanted tags that the video has; of those derived from the same tags of the model, the first."""
        found = sorted(self._present(facts).intersection(self.wanted))
        if self.name == "ai_generated_tags":
            return found
        counted, hits = set(self.counted & facts.model_tag_words), []
        for tag in found:
            sources = facts.tag_sources.get(tag, frozenset()) or {tag}
            if not counted.issuperset(sources) and tag not in counted:
                hits.append(tag)
                counted |= sources
        return hits

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found."""
        found = quoted(self.hits(facts))
        return f"it is tagged {found}" if self.name == "tags" else f"the model's own tags hold {found}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        there = self._present(facts)
        whose = "tags" if self.name == "tags" else "model's own tags"
        nothing = f"not among the {whose}" if there else f"there are no {whose}"
        found = dict.fromkeys(there, "it, already counted as the model's own tag")
        found |= {tag: f'"{tag}"' for tag in self.hits(facts)}
        return tuple(
            PartExplanation(asks=f'"{tag}"', found=found.get(tag, nothing), matched=found.get(tag) == f'"{tag}"')
            for tag in self.wanted
        )

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return list(self.wanted)


@dataclass(frozen=True)
class LabelBlock(Block):
    """Matches if a list or user that added the video gave it one of the labels (compared by `label_key`)."""

    wanted: tuple[str, ...]
    name: str = "labels"

    @classmethod
    def parse(cls, texts: list[str]) -> LabelBlock:
        """Return the block for these labels."""
        return cls(tuple(sorted({label_key(text) for text in texts})))

    fields = frozenset({"label"})

    def hits(self, facts: RuleFacts) -> dict[str, str]:
        """Return the labels found: key -> label as written."""
        given = dict(zip(facts.label, facts.labels, strict=True))
        return {key: given[key] for key in self.wanted if key in given}

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found."""
        return f"the list or user that added it labels it {quoted([*map(safe, self.hits(facts).values())])}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        found = {key: f'"{safe(label)}"' for key, label in self.hits(facts).items()}
        nothing = "not among the labels" if facts.labels else "there are no labels"
        return explained({key: f'"{key}"' for key in self.wanted}, found, nothing)

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return list(self.wanted)


@dataclass(frozen=True)
class PatternBlock(Block):
    """Matches if one of the file names or URLs matches one of the patterns."""

    name: Literal["filename_patterns", "source_patterns"]
    patterns: tuple[Pattern, ...]

    @classmethod
    def parse(cls, name: Literal["filename_patterns", "source_patterns"], texts: list[str]) -> PatternBlock:
        """Return the block for these patterns. Raises ValueError."""
        subject: Literal["filename", "source"] = "filename" if name == "filename_patterns" else "source"
        return cls(name, tuple(parse_pattern(text, subject) for text in sorted(set(texts))))

    @property
    def fields(self) -> frozenset[str]:
        """The facts that it checks."""
        return frozenset({"file_name" if self.name == "filename_patterns" else "source"})

    def _subjects(self, facts: RuleFacts) -> tuple[str, ...]:
        return facts.names if self.name == "filename_patterns" else facts.urls

    @property
    def _what(self) -> str:
        return "file name" if self.name == "filename_patterns" else "address"

    def hits(self, facts: RuleFacts) -> list[tuple[str, str]]:
        """Return (first file name or URL that matches, pattern) of each pattern that matches any."""
        subjects = self._subjects(facts)
        return [(first, one.text) for one in self.patterns if (first := one.first(subjects)) is not None]

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found."""
        return ", ".join(
            f'the {self._what} "{safe(subject)}" matches "{text}"' for subject, text in self.hits(facts)[:MAX_SHOWN]
        )

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        found = {text: f'"{safe(subject)}"' for subject, text in self.hits(facts)}
        nothing = f"no {self._what} matches" if self._subjects(facts) else f"there is no {self._what}"
        return explained({text: text for text in self.normal()}, found, nothing)

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return [pattern.text for pattern in self.patterns]


Maker = Callable[[list[Any]], Block]

#: Key in the rules file -> makes a block of its list. Blocks are checked in this order.
BLOCKS: dict[str, Maker] = {
    "metadata_conditions": ConditionsBlock.parse,
    "description_keywords": partial(KeywordBlock.parse, "description_keywords"),
    "subtitle_keywords": partial(KeywordBlock.parse, "subtitle_keywords"),
    "ai_generated_tags": partial(TagBlock.parse, "ai_generated_tags"),
    "labels": LabelBlock.parse,
    "filename_patterns": partial(PatternBlock.parse, "filename_patterns"),
    "source_patterns": partial(PatternBlock.parse, "source_patterns"),
    "text_keywords": partial(KeywordBlock.parse, "text_keywords"),
    "objects": ObjectBlock.parse,
}


def blocks_of(vocabulary: Vocabulary) -> dict[str, Maker]:
    """Return `BLOCKS` with a keyword block for each text of an analysis, and the fields of plugins."""
    texts = {name: partial(KeywordBlock.parse, name) for name in vocabulary.keyword_blocks}
    return BLOCKS | {"metadata_conditions": partial(ConditionsBlock.parse, names=vocabulary.names)} | texts
