"""Phrases that sentences are put together from: durations, lists of words, suggestions for misspelled names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def duration_in_words(duration_s: float) -> str:
    """Return a duration in words: "9.7 seconds", "3 minutes 20 seconds", "1 hour 12 minutes"."""
    rounded_s = round(duration_s, 1) or round(duration_s, 2)
    if rounded_s < 60:
        return _count(rounded_s, "second")
    whole = round(duration_s)
    hours, minutes, seconds = whole // 3600, whole % 3600 // 60, whole % 60
    parts = (
        [_count(hours, "hour"), _count(minutes, "minute")]
        if hours
        else [_count(minutes, "minute"), _count(seconds, "second")]
    )
    return " ".join(part for part in parts if not part.startswith("0 "))


def join_words(words: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?`, or "" if no known name is similar to `found`."""
    near = difflib.get_close_matches(found, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"
