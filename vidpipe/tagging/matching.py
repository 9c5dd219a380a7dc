"""Finds the rules that can be true of a video by the words in its texts, all words of all rules at once.

Most rules ask for words, and most words do not occur. A rule that cannot be true without one of its words is evaluated
only where one of them occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vidpipe.tagging.field_conditions import TextFieldBlock
from vidpipe.tagging.keyword_block import KeywordBlock
from vidpipe.tagging.logic import AtLeast, RuleSelection, Statement

if TYPE_CHECKING:
    from vidpipe.tagging.facts import RuleFacts
    from vidpipe.tagging.rule import Rule


class Sought(NamedTuple):
    """A word that must occur in the texts of a field.

    Attributes:
        name: The text field.
        how: "word": in this form. "prefix": a word that begins so. "stem": its stem, in the language of the text.
        word: The word; for "stem" all that is searched.
    """

    name: str
    how: str
    word: str


def needed_words(term: Statement) -> frozenset[Sought] | None:
    """Return words of which at least one occurs wherever the term is true; None: it may be true without any."""
    match term:
        case RuleSelection():
            return needed_words(term.term)
        case KeywordBlock():
            forms = (form.split() for keyword in term.keywords for form in keyword.forms)
            return frozenset(Sought(term.searched, "word", max(form, key=len)) for form in forms)
        case TextFieldBlock(matches_line=None):
            *whole, last = term.form.split()
            how = {"word": "stem", "phrase": "word"}.get(term.modifier, "word" if whole else "prefix")
            return frozenset({Sought(term.name, how, term.value if how == "stem" else max(whole or [last], key=len))})
        case AtLeast():
            return _of_several(term)
    return None


def _of_several(term: AtLeast) -> frozenset[Sought] | None:
    parts = [needed_words(part) for part in term.terms]
    needing = sorted((part for part in parts if part is not None), key=len)
    # so many of them must be true, however many of the others are
    least = term.least - (len(parts) - len(needing))
    return frozenset().union(*needing[: len(needing) - least + 1]) if least > 0 else None


@dataclass
class _Words:
    """Word -> numbers of the rules that need it."""

    rules: dict[str, set[int]] = field(default_factory=dict)
    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, int]]) -> _Words:
        made = cls()
        for word, number in pairs:
            made.rules.setdefault(word, set()).add(number)
        made.known = frozenset(made.rules)
        return made

    def add_to(self, found: set[int], words: Iterable[str]) -> None:
        for word in self.known.intersection(words):
            found |= self.rules[word]


class WordIndex:
    """The words that rules need.

    Args:
        rules: The rules; they are numbered in this order.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._always: set[int] = set()
        sought: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for number, rule in enumerate(rules):
            # `then` asks for its selections, whether or not the rule itself is true
            needed = None if rule.hold.then else needed_words(rule.condition)
            if needed is None:
                self._always.add(number)
            for name, how, word in needed or ():
                sought.setdefault((name, how), []).append((word, number))
        self._names = tuple(dict.fromkeys(name for name, _ in sought))
        self._words = {name: _Words.of(pairs) for (name, how), pairs in sought.items() if how == "word"}
        self._prefixes: dict[str, Mapping[int, _Words]] = {
            name: {length: _Words.of(pair for pair in pairs if len(pair[0]) == length)
                   for length in {len(prefix) for prefix, _ in pairs}}
            for (name, how), pairs in sought.items() if how == "prefix"
        }  # fmt: skip
        self._stems = {name: pairs for (name, how), pairs in sought.items() if how == "stem"}
        self._stems_by_language: dict[tuple[str, str], _Words] = {}

    def possible(self, facts: RuleFacts) -> list[int]:
        """Return the numbers of the rules that may be true of a video or scene, in order."""
        found = set(self._always)
        for name in self._names:
            for text in facts.known_texts(name):
                if not text.text:
                    continue
                if name in self._words:
                    self._words[name].add_to(found, text.words)
                for length, words in self._prefixes.get(name, {}).items():
                    words.add_to(found, {word[:length] for word in text.words})
                if name in self._stems:
                    self._of_language(name, text.language).add_to(found, text.stemmed.split())
        return sorted(found)

    def _of_language(self, name: str, language: str) -> _Words:
        """Return the longest stem of each value: reduced to stems once for a language."""
        key = (name, language)
        if key not in self._stems_by_language:
            forms = ((TextFieldBlock(name, "word", value).stem_form(language).split(), number)
                     for value, number in self._stems[name])  # fmt: skip
            self._stems_by_language[key] = _Words.of((max(form, key=len), number) for form, number in forms if form)
        return self._stems_by_language[key]
