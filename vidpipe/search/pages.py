"""Orders of the videos found, and pages of them: each begins where the one before ended, whatever lies between."""

import base64
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import starmap
from typing import Any, Literal, NamedTuple, Self

import tantivy
from tantivy import DocAddress, Query, Searcher

from vidpipe.errors import SettingsError
from vidpipe.search.documents import number_path

Order = Literal["relevance", "date", "duration", "name"]

_COLUMNS = {"relevance": None, "date": number_path("added"), "duration": number_path("duration"), "name": "name"}
#: Fetched beyond a page, so that its last hit rarely has the rank of the last one fetched.
_SLACK = 50


class Row(NamedTuple):
    """A video found.

    Attributes:
        rank: Sorts it among the others: whether it lacks what they are ordered by, and that.
        tie: Sorts videos of equal rank: the `id_head`, or, by relevance, the place in the index.
        address: Its document.
    """

    rank: tuple[bool, Any]
    tie: int
    address: DocAddress


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: after the video with `rank` and `tie`; rank None: with the first one.

    Attributes:
        order: The order.
        rank: See `Row`.
        tie: See `Row`.
        position: How many videos are before it, roughly.
        moments: The page begins with that video, without so many of its moments; 0: after it.
    """

    order: Order
    rank: tuple[bool, Any] | None = None
    tie: int = 0
    position: int = 0
    moments: int = 0

    def encoded(self) -> str:
        """Return it as an opaque text."""
        return base64.urlsafe_b64encode(json.dumps(list(asdict(self).values())).encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str, order: Order) -> Self:
        """Return the cursor that `encoded` made.

        Raises:
            SettingsError: It did not, or for another order.
        """
        try:
            stated, rank, *numbers = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            made = cls(order, rank and (bool(rank[0]), str(rank[1]) if order == "name" else float(rank[1])))
            tie, position, moments = map(int, numbers)
            if stated == order and min(tie, position, moments) >= 0:
                return replace(made, tie=tie, position=position, moments=moments)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
            pass
        raise SettingsError("This cursor is not from a page in this order.", "Start with the first page.")

    def after(self, row: Row, count: int = 1) -> Self:
        """Return the cursor of what follows `row`, the last of `count` videos."""
        return replace(self, rank=row.rank, tie=row.tie, position=self.position + count, moments=0)

    def begins_with(self, row: Row) -> bool:
        """Return whether some moments of `row` are on pages before, and others are not."""
        return self.moments > 0 and _place(self) == _place(row)


def ranked(searcher: Searcher, query: Query, cursor: Cursor, offset: int, limit: int) -> tuple[list[Row], bool]:
    """Return the videos from `cursor` on, without the first `offset`, at most `limit`; and whether more follow.

    Args:
        searcher: The state of the index.
        query: Finds videos.
        cursor: Where to begin.
        offset: Videos to skip.
        limit: Most videos; 0 for all.
    """
    by = tantivy.Order.Asc if cursor.order == "name" else tantivy.Order.Desc
    everything = max(searcher.num_docs, 1)
    size = min(cursor.position + offset + limit + _SLACK, everything) if limit else everything
    skipped = max(0, min(cursor.position, everything) - _SLACK) if cursor.rank else 0
    while True:
        hits = searcher.search(query, size - skipped, False, _COLUMNS[cursor.order], skipped, by).hits
        rows = _rows(searcher, hits, cursor.order)
        first = _first(rows, cursor) + offset
        end = first + limit if limit else len(rows)
        complete = len(hits) < size - skipped or size == everything
        if skipped and not (rows and _is_fetched_before(cursor.order, rows[0], cursor)):
            skipped = 0
        elif complete or (end < len(rows) and _is_fetched_before(cursor.order, rows[end - 1], rows[-1])):
            return rows[first:end], end < len(rows)
        else:
            size = min(4 * size, everything)


def page_of(
    found: Iterable[tuple[float, DocAddress]], cursor: Cursor, offset: int, limit: int
) -> tuple[list[Row], bool]:
    """Return the same of videos with these scores."""
    rows = sorted(starmap(_scored, found), key=_place)
    first = _first(rows, cursor) + offset
    end = first + limit if limit else len(rows)
    return rows[first:end], end < len(rows)


def _first(rows: Sequence[Row], cursor: Cursor) -> int:
    bisect = bisect_left if cursor.moments else bisect_right
    return bisect(rows, _place(cursor), key=_place) if cursor.rank else 0


def _scored(score: float, address: DocAddress) -> Row:
    return Row((False, -score), address.segment_ord << 32 | address.doc, address)


def _rows(searcher: Searcher, hits: Sequence[tuple[Any, DocAddress]], order: Order) -> list[Row]:
    if order == "relevance":
        # Very many may be equal. tantivy has them in this order, so that a page needs no more than its own.
        return list(starmap(_scored, hits))
    heads = searcher.fast_field_values("id_head", [address for _, address in hits])
    rows = [
        Row((value is None, value or "" if order == "name" else -(value or 0.0)), int(head or 0), address)
        for (value, address), head in zip(hits, heads, strict=True)
    ]
    return sorted(rows, key=_place)


def _is_fetched_before(order: Order, one: Row, other: Row | Cursor) -> bool:
    """Return whether all between them are fetched: tantivy orders those of equal rank by their place in the index."""
    return _place(one) < _place(other) if order == "relevance" else _place(one)[0] < _place(other)[0]


def _place(row: Row | Cursor) -> tuple[Any, int]:
    return row.rank, row.tie
