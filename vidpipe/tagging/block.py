"""What every block of a rule is: it checks one kind of fact of a video and explains what it found."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from vidpipe.tagging.facts import RuleFacts
from vidpipe.tagging.logic import Leaf, Truth
from vidpipe.text.messages import clock_time, join_words

#: Most entries that evidence lists.
MAX_SHOWN = 5
_MAX_SHOWN_LENGTH = 120


class Explanation(BaseModel):
    """Base of what explains a rule or category to the user."""

    model_config = ConfigDict(frozen=True)


class Extract(Explanation):
    """Words that were found, in their context.

    Attributes:
        before: The words before them.
        found: The words.
        after: The words after them.
        start_s: When they are said or shown, in seconds; None: they have no time.
    """

    before: str
    found: str
    after: str
    start_s: float | None


class PartExplanation(Explanation):
    """One keyword, condition, tag or pattern.

    Attributes:
        asks: What it requires.
        found: What was found; "not known" if the fact is unknown.
        matched: Whether that satisfies it; None: unknown.
        field: The fact that it checks.
        unknown: The facts that are not known and could satisfy it.
        extracts: The first places of the words that it found.
    """

    asks: str
    found: str
    matched: bool | None
    field: str = ""
    unknown: tuple[str, ...] = ()
    extracts: tuple[Extract, ...] = ()


class Block(Leaf):
    """One kind of condition on the facts of a video.

    Attributes:
        name: Its key in the rules file.
    """

    name: str

    def truth(self, facts: RuleFacts) -> Truth:
        """Return whether it matches. Blocks of the short form of rules take what is unknown for false."""
        return self.matches(facts)

    @property
    def measured(self) -> bool:
        """Whether it checks nothing but metadata and measurements."""
        return self.name == "metadata_conditions"

    @property
    def fields(self) -> frozenset[str]:
        """Names of the facts that it checks (see `vidpipe.tagging.fields`)."""
        return frozenset()

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


def explained(asks: Mapping[str, str], found: Mapping[str, str], nothing: str) -> tuple[PartExplanation, ...]:
    """Return the alternatives of a block.

    Args:
        asks: Key -> what an alternative requires.
        found: Key -> what was found, of those that hold.
        nothing: What was found of the others.
    """
    return tuple(
        PartExplanation(asks=text, found=found.get(key, nothing), matched=key in found) for key, text in asks.items()
    )


def spelled_times(times_s: Sequence[float]) -> str:
    """Return the first few times, and how many more there are: `0:12 and 0:40`."""
    shown = [clock_time(time_s) for time_s in times_s[:MAX_SHOWN]]
    more = len(times_s) - len(shown)
    return join_words([*shown, *([f"{more} more times"] if more else [])])


def listed(texts: Sequence[str]) -> str:
    """Return the first few texts, and how many more there are."""
    shown = ", ".join(texts[:MAX_SHOWN])
    return shown + (f" and {len(texts) - MAX_SHOWN} more" if len(texts) > MAX_SHOWN else "")


def quoted(texts: Collection[str]) -> str:
    """Return `listed` texts between quotation marks."""
    return listed([f'"{text}"' for text in texts])


def safe(text: str) -> str:
    """Return an untrusted file name or URL for a message: on one line, printable, not too long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= _MAX_SHOWN_LENGTH else printable[: _MAX_SHOWN_LENGTH - 1] + "…"
