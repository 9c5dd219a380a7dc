"""A parsed query: a tree of conditions on a video."""

import dataclasses
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vidpipe.errors import VidpipeError, visible

#: Characters of a query that an error shows on either side of the fault: the line fits a terminal of 40 columns.
_SHOWN = 15


class QueryError(VidpipeError):
    """The query cannot be understood. The message shows where.

    Attributes:
        problem: The message's first line.
        query: The query.
        position: Index of the character in it where the fault is; its length: at the end.
    """

    exit_code = 2

    def __init__(self, problem: str, hint: str, query: str, position: int) -> None:
        first = max(0, position - _SHOWN)
        before = "…" * (first > 0) + visible(query[first:position])
        after = visible(query[position : position + _SHOWN]) + "…" * (position + _SHOWN < len(query))
        columns = sum(2 if unicodedata.east_asian_width(character) in ("W", "F") else 1 for character in before)
        super().__init__(f"{problem}\n{before}{after}\n{' ' * columns}^", hint)
        self.problem = problem
        self.query = query
        self.position = position

    def as_json(self) -> dict[str, Any]:
        """Return the error as JSON values."""
        return {**super().as_json(), "query": self.query, "position": self.position}


@dataclass(frozen=True)
class Words:
    """Words in a row, somewhere in one text.

    Attributes:
        text: As written, without quotation marks; it may consist of several words ("close-up"), but has at least one.
        field: The field whose texts are searched; "": all with a weight.
        prefix: The last word may continue (`light*`).
        start: Where it was written in the query, without quotation marks, field and `*`: from here …
        end: … up to, not including, here. (0, 0) if it was not written by the user but is part of a saved search.
    """

    text: str
    field: str = ""
    prefix: bool = False
    start: int = dataclasses.field(default=0, compare=False)
    end: int = dataclasses.field(default=0, compare=False)


@dataclass(frozen=True)
class Term:
    """A name that matches as a whole: a tag, a codec.

    Attributes:
        field: The field.
        key: What is compared, see `SearchField.key`.
        text: As written.
    """

    field: str
    key: str
    text: str


@dataclass(frozen=True)
class Between:
    """A number within bounds; None: unbounded.

    Attributes:
        field: The field.
        low: Lower bound.
        high: Upper bound.
        with_low: Whether the lower bound itself matches.
        with_high: Whether the upper bound itself matches.
    """

    field: str
    low: float | None = None
    high: float | None = None
    with_low: bool = True
    with_high: bool = True


@dataclass(frozen=True)
class InState:
    """The video's overall state, as `vidpipe list` shows it."""

    state: str


@dataclass(frozen=True)
class And:
    """All of `parts`. Without any, everything."""

    parts: "tuple[Node, ...]" = ()


@dataclass(frozen=True)
class Or:
    """At least one of `parts`."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True)
class Not:
    """Everything else."""

    part: "Node"


Node = Words | Term | Between | InState | And | Or | Not
EVERYTHING = And()


def wanted(node: Node) -> Iterator[Words | Term]:
    """Yield the words and names that a hit may contain: those that are not excluded."""
    if isinstance(node, Words | Term):
        yield node
    elif isinstance(node, And | Or):
        for part in node.parts:
            yield from wanted(part)
