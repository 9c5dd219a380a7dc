"""Levenshtein's distance, for character and word error rates."""

from collections.abc import Hashable, Sequence


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The fewest insertions, deletions and replacements that make one sequence of characters or words the other."""
    row = list(range(len(other) + 1))
    for place, item in enumerate(one, start=1):
        before, row[0] = row[0], place
        for column, wanted in enumerate(other, start=1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (item != wanted))
    return row[-1]
