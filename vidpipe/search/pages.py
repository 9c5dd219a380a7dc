"""Orders of the videos found, and pages of them: each begins where the one before ended, whatever lies between."""

import base64
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Self, get_args

import tantivy
from tantivy import DocAddress, Query, Searcher

from vidpipe.errors import SettingsError
from vidpipe.search.documents import number_path

Order = Literal["relevance", "date", "duration", "name"]
ORDERS: tuple[Order, ...] = get_args(Order)

_COLUMNS = {"relevance": None, "date": number_path("added"), "duration": number_path("duration"), "name": "name"}
#: Fetched beyond a page, so that its last hit rarely has the rank of the last one fetched.
_SLACK = 50
#: Videos that are found by meaning; of those found by words, so many can gain from it.
MOST_SIMILAR = 200
#: Reciprocal rank fusion: the higher, the less the first places of each ranking count (Cormack et al., SIGIR 2009).
_RANK_OFFSET = 60


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
        moments: How many moments of its first video are on pages before.
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
            made = cls(*json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))))
            values = made.rank and (bool(made.rank[0]), str(made.rank[1]) if order == "name" else float(made.rank[1]))
            if made.order == order and made.position >= 0 and made.moments >= 0:
                return replace(made, rank=values, tie=int(made.tie))
        except (ValueError, TypeError, IndexError, RecursionError):
            pass
        raise SettingsError("This cursor is not from a page in this order.", "Start with the first page.")

    def after(self, row: Row, count: int = 1) -> Self:
        """Return the cursor of what follows `row`, the last of `count` videos."""
        return replace(self, rank=row.rank, tie=row.tie, position=self.position + count, moments=0)


def ranked(
    searcher: Searcher,
    query: Query,
    cursor: Cursor,
    offset: int,
    limit: int,
    *,
    similar: Sequence[Sequence[DocAddress]] = (),
) -> tuple[list[Row], bool]:
    """Return the videos from `cursor` on, without the first `offset`, at most `limit`; and whether more follow.

    Args:
        searcher: The state of the index.
        query: Finds videos.
        cursor: Where to begin.
        offset: Videos to skip.
        limit: Most videos; 0 for all.
        similar: Further rankings, by relevance, of up to `MOST_SIMILAR` videos each.
    """
    by = tantivy.Order.Asc if cursor.order == "name" else tantivy.Order.Desc
    everything = max(searcher.num_docs, 1)
    size = (
        min(cursor.position + offset + limit + _SLACK + MOST_SIMILAR * bool(similar), everything)
        if limit
        else everything
    )
    while True:
        hits = searcher.search(query, size, False, _COLUMNS[cursor.order], 0, by).hits
        rows = _rows(searcher, hits, cursor.order)
        if similar:
            rows = _fused(rows, [_rows(searcher, [(0.0, one) for one in ranking], "relevance") for ranking in similar])
        first = (bisect_right(rows, (cursor.rank, cursor.tie), key=_place) if cursor.rank else 0) + offset
        page = rows[first : first + limit] if limit else rows[first:]
        complete = len(hits) < size or size == everything
        # Of those with the rank of the last one fetched, some may be missing.
        end = first + limit
        enough = limit and end < len(rows) and (cursor.order == "relevance" or rows[end - 1].rank < rows[-1].rank)
        if complete or enough:
            return page, first + len(page) < len(rows)
        size = min(4 * size, everything)


def _rows(searcher: Searcher, hits: Sequence[tuple[Any, DocAddress]], order: Order) -> list[Row]:
    if order == "relevance":
        # Very many may be equal. tantivy has them in this order, so that a page needs no more than its own.
        return [Row((False, -score), address.segment_ord << 32 | address.doc, address) for score, address in hits]
    heads = searcher.fast_field_values("id_head", [address for _, address in hits])
    rows = [
        Row((value is None, value or "" if order == "name" else -(value or 0.0)), int(head or 0), address)
        for (value, address), head in zip(hits, heads, strict=True)
    ]
    return sorted(rows, key=_place)


def _fused(by_words: Sequence[Row], similar: Sequence[Sequence[Row]]) -> list[Row]:
    """Return the videos of all rankings by their reciprocal ranks.

    A rank by words below `MOST_SIMILAR` does not count for a similar video, so that no place depends on how many were
    fetched: whatever follows them has a lower score than all of them.
    """
    found: dict[int, tuple[float, DocAddress]] = {}
    for ranking in (*similar, by_words):
        for place, row in enumerate(ranking, 1):
            score = found[row.tie][0] if row.tie in found else 0.0
            if place <= MOST_SIMILAR or not score:
                found[row.tie] = (score + 1 / (_RANK_OFFSET + place), row.address)
    return sorted((Row((False, -score), tie, address) for tie, (score, address) in found.items()), key=_place)


def _place(row: Row) -> tuple[tuple[bool, Any], int]:
    return row.rank, row.tie
