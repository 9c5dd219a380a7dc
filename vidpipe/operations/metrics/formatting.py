"""Formats durations, rates and names for people. A module of its own, since every command loads it."""

from __future__ import annotations

from vidpipe.errors import UNSAFE


def printable_name(name: str, max_length: int = 200) -> str:
    """Replace control characters in a name and cut it to `max_length`."""
    clean = UNSAFE.sub("\N{REPLACEMENT CHARACTER}", name)
    return clean if len(clean) <= max_length else f"{clean[: max_length - 1]}…"


def format_duration(duration_s: float | None) -> str:
    """Format a duration as 12 ms, 3.4 s, 5.6 min or 2.1 h; empty for None."""
    if duration_s is None:
        return ""
    if duration_s < 0.1:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 100:
        return f"{duration_s:.1f} s"
    return f"{duration_s / 60:.1f} min" if duration_s < 6000 else f"{duration_s / 3600:,.1f} h"


def format_percent(rate: float | None) -> str:
    """Format a rate from 0 to 1 as 12 %; empty for None."""
    return "" if rate is None else f"{100 * rate:.0f} %"
