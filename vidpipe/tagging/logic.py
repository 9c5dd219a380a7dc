"""Three-valued logic: what is unknown is neither true nor false (Kleene), and the conditions of rules.

A condition combines the selections of a rule by name: `dark and (road or spoken) and not 1 of filter_*`.
"""

from __future__ import annotations

import fnmatch
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vidpipe.text.messages import did_you_mean

if TYPE_CHECKING:
    from vidpipe.tagging.facts import RuleFacts

#: True, False or None: unknown.
Truth = bool | None

_LONGEST_CONDITION = 2000
_DEEPEST = 40
_TOKEN = re.compile(r"\s*(?:([()])|([\w.*?-]+))")
_RESERVED = {"and", "or", "not", "of", "all", "any", "them"}


class Statement(ABC):
    """A statement about a video that is true, false or unknown."""

    @abstractmethod
    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it is true of a video or scene; None: unknown."""

    @abstractmethod
    def deciding(self, facts: RuleFacts) -> Iterator[Leaf]:
        """Yield the leaves that make it what it is; of alternatives that hold, only the first ones needed."""

    @abstractmethod
    def leaves(self) -> Iterator[Leaf]:
        """Yield all leaves in it, in order."""


class Leaf(Statement):
    """A term without parts."""

    def deciding(self, facts: RuleFacts) -> Iterator[Leaf]:
        """Yield itself."""
        yield self

    def leaves(self) -> Iterator[Leaf]:
        """Yield itself."""
        yield self


class Wrapper(Statement):
    """A term that consists of one other."""

    term: Statement

    def deciding(self, facts: RuleFacts) -> Iterator[Leaf]:
        """Yield what decides the other."""
        return self.term.deciding(facts)

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves of the other."""
        return self.term.leaves()


@dataclass(frozen=True)
class Negation(Wrapper):
    """True if the other is false."""

    term: Statement

    def truth(self, facts: RuleFacts) -> Truth:
        """Return the opposite of the other; unknown stays unknown."""
        found = self.term.truth(facts)
        return None if found is None else not found


@dataclass(frozen=True)
class AtLeast(Statement):
    """True if so many of the terms are; false if so many cannot be true, whatever the unknown ones are."""

    least: int
    terms: tuple[Statement, ...]

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether enough terms are true."""
        missing, possible = self.least, len(self.terms)
        if missing <= 0:
            return True
        for term in self.terms:
            found = term.truth(facts)
            if found:
                missing -= 1
                if missing == 0:
                    return True
            elif found is False:
                possible -= 1
                if possible < self.least:
                    return False
        return None

    def deciding(self, facts: RuleFacts) -> Iterator[Leaf]:
        """Yield the leaves of the first terms that make it true; else those of the terms that do not hold."""
        truths = [term.truth(facts) for term in self.terms]
        if truths.count(True) >= self.least:
            chosen = [term for term, found in zip(self.terms, truths, strict=True) if found][: self.least]
        else:
            overall = self.truth(facts)
            chosen = [term for term, found in zip(self.terms, truths, strict=True) if found is overall]
        for term in chosen:
            yield from term.deciding(facts)

    def leaves(self) -> Iterator[Leaf]:
        """Yield the leaves of all terms."""
        for term in self.terms:
            yield from term.leaves()


def any_of(terms: Sequence[Statement]) -> Statement:
    """Return a term that is true if one of `terms` is; one term stays itself."""
    return terms[0] if len(terms) == 1 else AtLeast(1, tuple(terms))


def all_of(terms: Sequence[Statement]) -> Statement:
    """Return a term that is true if all of `terms` are; one term stays itself."""
    return terms[0] if len(terms) == 1 else AtLeast(len(terms), tuple(terms))


@dataclass(frozen=True)
class RuleSelection(Wrapper):
    """A named part of a rule."""

    name: str
    term: Statement

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it holds."""
        return self.term.truth(facts)


def parse_condition_text(text: str, selections: Mapping[str, RuleSelection]) -> Statement:
    """Return the condition that `text` spells.

    Grammar: `a or b`, `a and b`, `not a`, parentheses, names of selections, and `1 of them`, `all of them`,
    `2 of road_*`. `and` binds more tightly than `or`, `not` more tightly than `and`.

    Args:
        text: The condition.
        selections: Name -> selection of the rule.

    Raises:
        ValueError: It is invalid; the message is for the user.
    """
    if len(text) > _LONGEST_CONDITION:
        raise ValueError(f"a condition has at most {_LONGEST_CONDITION} characters; found {len(text)}")
    return _ConditionParser(text, selections).parse()


class _ConditionParser:
    def __init__(self, text: str, selections: Mapping[str, RuleSelection]) -> None:
        self._selections = selections
        self._tokens: list[str] = []
        self._depth = 0
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise ValueError(f'unexpected "{text[position:].strip()[:20]}" in the condition')
            self._tokens.append(match[1] or match[2])
            position = match.end()

    def parse(self) -> Statement:
        term = self._joined("or")
        if self._tokens:
            raise ValueError(f'unexpected "{self._tokens[0]}" in the condition; "and" or "or" is expected there')
        return term

    def _next_is(self, word: str) -> bool:
        if self._tokens and self._tokens[0].lower() == word:
            self._tokens.pop(0)
            return True
        return False

    def _joined(self, word: Literal["or", "and"]) -> Statement:
        terms = [self._joined("and") if word == "or" else self._one()]
        while self._next_is(word):
            terms.append(self._joined("and") if word == "or" else self._one())
        return any_of(terms) if word == "or" else all_of(terms)

    def _one(self) -> Statement:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError(f"the condition is nested more than {_DEEPEST} levels deep")
        try:
            return self._primary()
        finally:
            self._depth -= 1

    def _primary(self) -> Statement:
        if self._next_is("not"):
            return Negation(self._one())
        if self._next_is("("):
            term = self._joined("or")
            if not self._next_is(")"):
                raise ValueError('")" is missing in the condition')
            return term
        if not self._tokens:
            raise ValueError("the condition ends too early; a name of a selection is expected")
        word = self._tokens.pop(0)
        if (word.isdecimal() or word.lower() in ("all", "any")) and self._next_is("of"):
            return self._some_of(word.lower())
        if word in self._selections:
            return self._selections[word]
        if word.lower() in _RESERVED or word in "()":
            raise ValueError(f'unexpected "{word}" in the condition; a name of a selection is expected')
        known = ", ".join(self._selections)
        near = did_you_mean(word, self._selections) or f"; selections are {known}"
        raise ValueError(f'the condition names "{word}", which is not a selection{near}')

    def _some_of(self, number: str) -> Statement:
        if not self._tokens:
            raise ValueError(f'"{number} of" is not finished: write "{number} of them" or "{number} of name_*"')
        pattern = self._tokens.pop(0)
        found = [
            selection
            for name, selection in self._selections.items()
            if pattern.lower() == "them" or fnmatch.fnmatchcase(name, pattern)
        ]
        if not found:
            raise ValueError(f'no selection is called "{pattern}"; selections are {", ".join(self._selections)}')
        least = {"all": len(found), "any": 1}.get(number) or int(number[:4])
        if not 1 <= least <= len(found):
            raise ValueError(f'"{number} of {pattern}": {len(found)} selections match')
        return AtLeast(least, tuple(found))
