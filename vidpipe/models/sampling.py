"""Some of many, spread evenly over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def spread(items: Sequence[ItemT], most: int) -> list[ItemT]:
    """At most `most` of `items`, evenly chosen, the first and the last among them; of one the middle one."""
    if len(items) <= most:
        return list(items)
    if most == 1:
        return [items[len(items) // 2]]
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
