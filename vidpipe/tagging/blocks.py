"""The blocks of a rule: each asks one kind of question of a video's facts, and can say what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, Protocol

from vidpipe.tagging.conditions import Condition, parse_conditions
from vidpipe.tagging.facts import TagFacts
from vidpipe.tagging.patterns import Pattern, parse_pattern
from vidpipe.tagging.words import Keyword, SearchedText, label_key, normalise

_MOST_SHOWN = 5
_LONGEST_SHOWN = 120


@dataclass(frozen=True)
class Part:
    """One thing that a block asks, what was found, and whether that is enough."""

    asks: str
    found: str
    matched: bool


class Block(Protocol):
    """name: its key in the rules file."""

    @property
    def name(self) -> str: ...

    def matches(self, facts: TagFacts) -> bool: ...

    def count(self, facts: TagFacts) -> int:
        """How many of the alternatives hold; 0 just where `matches` is False."""

    def evidence(self, facts: TagFacts) -> str:
        """One clause on what was found; only of use where the block matches."""

    def parts(self, facts: TagFacts) -> tuple[Part, ...]: ...

    def normal(self) -> Any:
        """As a rules file would hold it, one way for all spellings that mean the same."""


@dataclass(frozen=True)
class KeywordBlock:
    """Matches when the description ("description_keywords"), or the subtitles or the title ("subtitle_keywords"),
    hold one of the keywords.
    """

    name: Literal["description_keywords", "subtitle_keywords"]
    keywords: tuple[Keyword, ...]

    @classmethod
    def parse(cls, name: Literal["description_keywords", "subtitle_keywords"], texts: list[str]) -> KeywordBlock:
        """Keywords that are the plural of another one add nothing and are left out."""
        by_phrase = {keyword.phrase: keyword for keyword in map(Keyword.parse, texts)}
        plurals = {form.strip() for keyword in by_phrase.values() for form in keyword.forms[1:]}
        return cls(name, tuple(by_phrase[phrase] for phrase in sorted(by_phrase) if phrase not in plurals))

    @cached_property
    def _words(self) -> dict[str, str]:
        """Forms of one word -> their keyword."""
        return {
            form.strip(): keyword.phrase
            for keyword in self.keywords
            for form in keyword.forms
            if " " not in form.strip()
        }

    @cached_property
    def _phrases(self) -> tuple[tuple[str, str, str], ...]:
        """(first word, form, keyword) of phrases: most texts do not even hold the first word."""
        return tuple(
            (form.split()[0], form, keyword.phrase)
            for keyword in self.keywords
            for form in keyword.forms
            if " " in form.strip()
        )

    def _texts(self, facts: TagFacts) -> tuple[SearchedText, ...]:
        return facts.described if self.name == "description_keywords" else facts.spoken

    def matches(self, facts: TagFacts) -> bool:
        for text in self._texts(facts):
            words = text.words
            if not words.isdisjoint(self._words):
                return True
            for first, form, _ in self._phrases:
                if first in words and form in text.normal:
                    return True
        return False

    def count(self, facts: TagFacts) -> int:
        return len(self._found(facts))

    def _found(self, facts: TagFacts) -> dict[str, str]:
        """keyword -> the form that is there."""
        return {phrase: form for _, forms in self._found_by_text(facts) for phrase, form in forms.items()}

    def _found_by_text(self, facts: TagFacts) -> list[tuple[SearchedText, dict[str, str]]]:
        """Each keyword with the first text that holds it; in the shortest form where there are several."""
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

    def evidence(self, facts: TagFacts) -> str:
        return ", ".join(
            f"{text.says} {_quoted(list(forms.values()))}" for text, forms in self._found_by_text(facts) if forms
        )

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        found = self._found(facts)
        texts = self._texts(facts)
        there = [text.name for text in texts if text.normal]
        nothing = f"not in the {' or the '.join(there)}" if there else f"no {' and no '.join(t.name for t in texts)}"
        return tuple(
            Part(f'"{phrase}"', f'"{found[phrase]}"' if phrase in found else nothing, phrase in found)
            for phrase in self.normal()
        )

    def normal(self) -> Any:
        return [keyword.phrase for keyword in self.keywords]


@dataclass(frozen=True)
class ConditionsBlock:
    """Matches when all conditions of one of its groups hold."""

    groups: tuple[tuple[Condition, ...], ...]
    name: str = "metadata_conditions"

    @classmethod
    def parse(cls, sources: list[dict[str, Any]]) -> ConditionsBlock:
        groups = {str(_normal_group(group)): group for group in map(parse_conditions, sources) if group}
        return cls(tuple(groups[key] for key in sorted(groups)))

    def matches(self, facts: TagFacts) -> bool:
        for group in self.groups:
            for condition in group:
                if not condition.holds(facts):
                    break
            else:
                return True
        return False

    def count(self, facts: TagFacts) -> int:
        return len(self._holding(facts))

    def _holding(self, facts: TagFacts) -> list[tuple[Condition, ...]]:
        return [group for group in self.groups if all(condition.holds(facts) for condition in group)]

    def evidence(self, facts: TagFacts) -> str:
        """`duration is 725.3 s (asked: above 600 s), resolution is 4K (asked: 4K)`."""
        asked: dict[tuple[str, str], dict[str, None]] = {}
        for group in self._holding(facts):
            for condition in group:
                asked.setdefault((condition.label, condition.found(facts)), {})[condition.asks] = None
        return ", ".join(f"{label} is {found} (asked: {' and '.join(asks)})" for (label, found), asks in asked.items())

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        several = len(self.groups) > 1
        return tuple(
            Part(
                f"{condition.label}: {condition.asks}" + (f" [alternative {number}]" if several else ""),
                condition.found(facts),
                condition.holds(facts),
            )
            for number, group in enumerate(self.groups, 1)
            for condition in group
        )

    def normal(self) -> Any:
        groups = [_normal_group(group) for group in self.groups]
        return groups[0] if len(groups) == 1 else groups


def _normal_group(group: tuple[Condition, ...]) -> dict[str, Any]:
    return {condition.key: condition.value for condition in group}


@dataclass(frozen=True)
class TagBlock:
    """Matches when one of the wanted tags is among the model's own ("ai_generated_tags") or those given ("tags").

    Case and hyphens do not count.
    counted: tags of the model that another block of the same category already counts
    """

    name: Literal["ai_generated_tags", "tags"]
    wanted: tuple[str, ...]
    counted: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls, name: Literal["ai_generated_tags", "tags"], texts: Iterable[str], counted: Iterable[str] = ()
    ) -> TagBlock:
        return cls(name, tuple(sorted({Keyword.parse(text).phrase for text in texts})), frozenset(counted))

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.wanted)

    def _there(self, facts: TagFacts) -> frozenset[str]:
        return facts.tag_words if self.name == "tags" else facts.model_tag_words

    def hits(self, facts: TagFacts) -> list[str]:
        """The wanted tags that the video has; of those derived from the same tags of the model, the first."""
        found = sorted(self._set & self._there(facts))
        if self.name == "ai_generated_tags":
            return found
        counted, hits = set(self.counted & facts.model_tag_words), []
        for tag in found:
            sources = facts.tag_sources.get(tag, frozenset()) or {tag}
            if not counted.issuperset(sources) and tag not in counted:
                hits.append(tag)
                counted |= sources
        return hits

    def matches(self, facts: TagFacts) -> bool:
        return bool(self.hits(facts))

    def count(self, facts: TagFacts) -> int:
        return len(self.hits(facts))

    def evidence(self, facts: TagFacts) -> str:
        found = _quoted(self.hits(facts))
        return f"it is tagged {found}" if self.name == "tags" else f"the model's own tags hold {found}"

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        there = self._there(facts)
        whose = "tags" if self.name == "tags" else "model's own tags"
        nothing = f"not among the {whose}" if there else f"there are no {whose}"
        found = dict.fromkeys(there, "it, already counted as the model's own tag")
        found |= {tag: f'"{tag}"' for tag in self.hits(facts)}
        return tuple(Part(f'"{tag}"', found.get(tag, nothing), found.get(tag) == f'"{tag}"') for tag in self.wanted)

    def normal(self) -> Any:
        return list(self.wanted)


@dataclass(frozen=True)
class LabelBlock:
    """Matches when a list or user that added the video gave it one of the labels: whole labels, see `label_key`."""

    wanted: tuple[str, ...]
    name: str = "labels"

    @classmethod
    def parse(cls, texts: list[str]) -> LabelBlock:
        return cls(tuple(sorted({label_key(text) for text in texts})))

    def _found(self, facts: TagFacts) -> dict[str, str]:
        """key -> the label as it was given."""
        given = dict(zip(facts.label, facts.labels, strict=True))
        return {key: given[key] for key in self.wanted if key in given}

    def matches(self, facts: TagFacts) -> bool:
        return not set(facts.label).isdisjoint(self.wanted)

    def count(self, facts: TagFacts) -> int:
        return len(self._found(facts))

    def evidence(self, facts: TagFacts) -> str:
        found = [_safe(label) for label in self._found(facts).values()]
        return f"the list or user that added it labels it {_quoted(found)}"

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        found = self._found(facts)
        nothing = "not among the labels" if facts.labels else "there are no labels"
        return tuple(
            Part(f'"{key}"', f'"{_safe(found[key])}"' if key in found else nothing, key in found) for key in self.wanted
        )

    def normal(self) -> Any:
        return list(self.wanted)


@dataclass(frozen=True)
class PatternBlock:
    """Matches when one of the file names, or one of the addresses, matches one of the patterns."""

    name: Literal["filename_patterns", "source_patterns"]
    patterns: tuple[Pattern, ...]

    @classmethod
    def parse(cls, name: Literal["filename_patterns", "source_patterns"], texts: list[str]) -> PatternBlock:
        subject: Literal["filename", "source"] = "filename" if name == "filename_patterns" else "source"
        return cls(name, tuple(parse_pattern(text, subject) for text in sorted(set(texts))))

    def _subjects(self, facts: TagFacts) -> tuple[str, ...]:
        return facts.names if self.name == "filename_patterns" else facts.urls

    @property
    def _what(self) -> str:
        return "file name" if self.name == "filename_patterns" else "address"

    def matches(self, facts: TagFacts) -> bool:
        subjects = self._subjects(facts)
        return any(pattern.first(subjects) is not None for pattern in self.patterns)

    def count(self, facts: TagFacts) -> int:
        subjects = self._subjects(facts)
        return sum(pattern.first(subjects) is not None for pattern in self.patterns)

    def evidence(self, facts: TagFacts) -> str:
        subjects = self._subjects(facts)
        found = [(first, one.text) for one in self.patterns if (first := one.first(subjects)) is not None]
        return ", ".join(
            f'the {self._what} "{_safe(subject)}" matches "{text}"' for subject, text in found[:_MOST_SHOWN]
        )

    def parts(self, facts: TagFacts) -> tuple[Part, ...]:
        subjects = self._subjects(facts)
        nothing = f"no {self._what} matches" if subjects else f"there is no {self._what}"
        firsts = [pattern.first(subjects) for pattern in self.patterns]
        return tuple(
            Part(pattern.text, nothing if first is None else f'"{_safe(first)}"', first is not None)
            for pattern, first in zip(self.patterns, firsts, strict=True)
        )

    def normal(self) -> Any:
        return [pattern.text for pattern in self.patterns]


#: key in the rules file -> how its list becomes a block. The order is the one in which evidence is looked for.
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
    """Tags with the same key are one tag: case, hyphens and spaces do not count."""
    return normalise(tag).strip() or tag.casefold()


def _quoted(texts: list[str]) -> str:
    shown = ", ".join(f'"{text}"' for text in texts[:_MOST_SHOWN])
    return shown + (f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else "")


def _safe(text: str) -> str:
    """A stranger's file name or address, fit for a sentence: one line, printable, not too long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= _LONGEST_SHOWN else printable[: _LONGEST_SHOWN - 1] + "…"
