"""Even samples of frames, subtitles and scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def sample_evenly(items: Sequence[ItemT], limit: int) -> list[ItemT]:
    """Return at most `limit` evenly spaced items, including the first and the last; the middle one if `limit` is 1."""
    if len(items) <= limit:
        return list(items)
    if limit == 1:
        return [items[len(items) // 2]]
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]


def sample_within_budget(items: Sequence[ItemT], limit: int, budget: int, cost: Callable[[ItemT], int]) -> list[ItemT]:
    """Return at most `limit` evenly spaced items whose `cost` is at most `budget` in total."""
    count = min(limit, len(items))
    while count > 0:
        chosen = sample_evenly(items, count)
        total = sum(map(cost, chosen))
        if total <= budget:
            return chosen
        count = min(count - 1, count * budget // total)
    return []
