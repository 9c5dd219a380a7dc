"""What every block of a rule is: it checks one kind of fact of a video and explains what it found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from vidpipe.tagging.facts import RuleFacts

#: Most entries that evidence lists.
MAX_SHOWN = 5
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


def listed(texts: Sequence[str]) -> str:
    """Return the first few texts, and how many more there are."""
    shown = ", ".join(texts[:MAX_SHOWN])
    return shown + (f" and {len(texts) - MAX_SHOWN} more" if len(texts) > MAX_SHOWN else "")


def quoted(texts: Sequence[str]) -> str:
    """Return `listed` texts between quotation marks."""
    return listed([f'"{text}"' for text in texts])


def safe(text: str) -> str:
    """Return an untrusted file name or URL for a message: on one line, printable, not too long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= _MAX_SHOWN_LENGTH else printable[: _MAX_SHOWN_LENGTH - 1] + "…"
