"""The blocks of a rule: each checks one kind of fact of a video and explains what it found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vidpipe.tagging.conditions import Condition, parse_conditions
from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.patterns import Pattern, parse_pattern
from vidpipe.text.words import Keyword, SearchedText, label_key, normalize

_MAX_SHOWN = 5
_MAX_SHOWN_LENGTH = 120


class Explanation(BaseModel):
    """Base of what explains a rule or category to the user."""

    model_config = ConfigDict(frozen=True)


class PartExplanation(Explanation):
    """One keyword, condition, tag or pattern.

    Attributes:
        asks: What it requires.
        found: What was found; "not known" if the fact is unknown.
        matched: Whether that satisfies it.
    """

    asks: str
    found: str
    matched: bool


class Block(ABC):
    """One kind of condition on the facts of a video.

    Attributes:
        name: Its key in the rules file.
    """

    name: str

    @abstractmethod
    def hits(self, facts: RuleFacts) -> Collection[Any]:
        """Return the alternatives that hold."""

    def matches(self, facts: RuleFacts) -> bool:
        """Return whether the block matches: whether at least one alternative holds."""
        return bool(self.hits(facts))

    @abstractmethod
    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found; meaningful only if the block matches."""

    @abstractmethod
    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""

    @abstractmethod
    def normal(self) -> Any:
        """Return the block as in a rules file, with one spelling for everything that means the same."""


@dataclass(frozen=True)
class KeywordBlock(Block):
    """Matches if a text contains one of the keywords.

    Attributes:
        name: "description_keywords" searches the description, "subtitle_keywords" the subtitles and titles.
        keywords: What is searched for.
    """

    name: Literal["description_keywords", "subtitle_keywords"]
    keywords: tuple[Keyword, ...]

    @classmethod
    def parse(cls, name: Literal["description_keywords", "subtitle_keywords"], texts: list[str]) -> KeywordBlock:
        """Return the block for these keywords, without those that are the plural of another one."""
        by_phrase = {keyword.phrase: keyword for keyword in map(Keyword.parse, texts)}
        plurals = {form.strip() for keyword in by_phrase.values() for form in keyword.forms[1:]}
        return cls(name, tuple(by_phrase[phrase] for phrase in sorted(by_phrase) if phrase not in plurals))

    @cached_property
    def _words(self) -> dict[str, str]:
        """Single-word forms -> their keyword."""
        return {
            form.strip(): keyword.phrase
            for keyword in self.keywords
            for form in keyword.forms
            if " " not in form.strip()
        }

    @cached_property
    def _phrases(self) -> tuple[tuple[str, str, str], ...]:
        """(first word, form, keyword) of phrases: most texts do not even contain the first word."""
        return tuple(
            (form.split()[0], form, keyword.phrase)
            for keyword in self.keywords
            for form in keyword.forms
            if " " in form.strip()
        )

    def _texts(self, facts: RuleFacts) -> tuple[SearchedText, ...]:
        return facts.described if self.name == "description_keywords" else facts.spoken

    def matches(self, facts: RuleFacts) -> bool:
        """Return whether the block matches."""
        for text in self._texts(facts):
            words = text.words
            if not words.isdisjoint(self._words):
                return True
            for first, form, _ in self._phrases:
                if first in words and form in text.normal:
                    return True
        return False

    def hits(self, facts: RuleFacts) -> dict[str, str]:
        """Return the keywords found, with the form in the text."""
        return {phrase: form for _, forms in self._found_by_text(facts) for phrase, form in forms.items()}

    def _found_by_text(self, facts: RuleFacts) -> list[tuple[SearchedText, dict[str, str]]]:
        """Return each keyword with the first text that contains it, in the shortest form if there are several."""
        by_text: list[tuple[SearchedText, dict[str, str]]] = []
        seen: set[str] = set()
        for text in self._texts(facts):
            if not text.words:
                continue
            found = {form: self._words[form] for form in text.words.intersection(self._words)}
            for first, form, phrase in self._phrases:
                if first in text.words and form in text.normal:
                    found[form.strip()] = phrase
            if found:
                forms = sorted(found, key=lambda form: (found[form], -len(form)))
                new = {found[form]: form for form in forms if found[form] not in seen}
                by_text.append((text, new))
                seen.update(new)
        return by_text

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found."""
        return ", ".join(
            f"{text.says} {_quoted(list(forms.values()))}" for text, forms in self._found_by_text(facts) if forms
        )

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        found = self.hits(facts)
        texts = self._texts(facts)
        there = [text.name for text in texts if text.normal]
        nothing = f"not in the {' or the '.join(there)}" if there else f"no {' and no '.join(t.name for t in texts)}"
        return tuple(_part(f'"{phrase}"', found.get(phrase), nothing) for phrase in self.normal())

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return [keyword.phrase for keyword in self.keywords]


@dataclass(frozen=True)
class ConditionsBlock(Block):
    """Matches if all conditions of one of its groups hold."""

    groups: tuple[tuple[Condition, ...], ...]
    name: str = "metadata_conditions"

    @classmethod
    def parse(cls, sources: list[dict[str, Any]]) -> ConditionsBlock:
        """Return the block for these groups. Raises ValueError."""
        groups = {str(_normal_group(group)): group for group in map(parse_conditions, sources) if group}
        return cls(tuple(groups[key] for key in sorted(groups)))

    def matches(self, facts: RuleFacts) -> bool:
        """Return whether the block matches."""
        for group in self.groups:
            for condition in group:
                if not condition.holds(facts):
                    break
            else:
                return True
        return False

    def hits(self, facts: RuleFacts) -> list[tuple[Condition, ...]]:
        """Return the groups of which all conditions hold."""
        return [group for group in self.groups if all(condition.holds(facts) for condition in group)]

    def evidence(self, facts: RuleFacts) -> str:
        """`duration is 725.3 s (asked: above 600 s), resolution is 4K (asked: 4K)`."""
        asked: dict[tuple[str, str], dict[str, None]] = {}
        for group in self.hits(facts):
            for condition in group:
                asked.setdefault((condition.label, condition.found(facts)), {})[condition.asks] = None
        return ", ".join(f"{label} is {found} (asked: {' and '.join(asks)})" for (label, found), asks in asked.items())

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        several = len(self.groups) > 1
        return tuple(
            PartExplanation(
                asks=f"{condition.label}: {condition.asks}" + (f" [alternative {number}]" if several else ""),
                found=condition.found(facts),
                matched=condition.holds(facts),
            )
            for number, group in enumerate(self.groups, 1)
            for condition in group
        )

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
        found = _quoted(self.hits(facts))
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

    def hits(self, facts: RuleFacts) -> dict[str, str]:
        """Return the labels found: key -> label as written."""
        given = dict(zip(facts.label, facts.labels, strict=True))
        return {key: given[key] for key in self.wanted if key in given}

    def evidence(self, facts: RuleFacts) -> str:
        """Return a clause on what was found."""
        found = [_safe(label) for label in self.hits(facts).values()]
        return f"the list or user that added it labels it {_quoted(found)}"

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        found = self.hits(facts)
        nothing = "not among the labels" if facts.labels else "there are no labels"
        return tuple(_part(f'"{key}"', found.get(key), nothing) for key in self.wanted)

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
            f'the {self._what} "{_safe(subject)}" matches "{text}"' for subject, text in self.hits(facts)[:_MAX_SHOWN]
        )

    def parts(self, facts: RuleFacts) -> tuple[PartExplanation, ...]:
        """Return each alternative with what was found."""
        subjects = self._subjects(facts)
        nothing = f"no {self._what} matches" if subjects else f"there is no {self._what}"
        return tuple(_part(pattern.text, pattern.first(subjects), nothing) for pattern in self.patterns)

    def normal(self) -> Any:
        """Return the block as in a rules file."""
        return [pattern.text for pattern in self.patterns]


#: Key in the rules file -> makes a block of its list. Blocks are checked in this order.
BLOCKS: dict[str, Callable[[list[Any]], Block]] = {
    "metadata_conditions": ConditionsBlock.parse,
    "description_keywords": lambda texts: KeywordBlock.parse("description_keywords", texts),
    "subtitle_keywords": lambda texts: KeywordBlock.parse("subtitle_keywords", texts),
    "ai_generated_tags": lambda texts: TagBlock.parse("ai_generated_tags", texts),
    "labels": LabelBlock.parse,
    "filename_patterns": lambda texts: PatternBlock.parse("filename_patterns", texts),
    "source_patterns": lambda texts: PatternBlock.parse("source_patterns", texts),
}


@lru_cache(4096)  # rules give the same tags to every video
def tag_key(tag: str) -> str:
    """Return what tags are compared by: case, hyphens and spaces do not matter."""
    return normalize(tag).strip() or tag.casefold()


def _part(asks: str, found: str | None, nothing: str) -> PartExplanation:
    return PartExplanation(
        asks=asks, found=nothing if found is None else f'"{_safe(found)}"', matched=found is not None
    )


def _quoted(texts: list[str]) -> str:
    shown = ", ".join(f'"{text}"' for text in texts[:_MAX_SHOWN])
    return shown + (f" and {len(texts) - _MAX_SHOWN} more" if len(texts) > _MAX_SHOWN else "")


def _safe(text: str) -> str:
    """Return an untrusted file name or URL for a message: on one line, printable, not too long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= _MAX_SHOWN_LENGTH else printable[: _MAX_SHOWN_LENGTH - 1] + "…"
