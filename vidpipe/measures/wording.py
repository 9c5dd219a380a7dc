"""Figures and names as people read them."""

from __future__ import annotations

from vidpipe.errors import UNSAFE


def shown(name: str, letters: int = 200) -> str:
    """`name` as it may be shown: control characters replaced, cut to `letters`."""
    clean = UNSAFE.sub("\N{REPLACEMENT CHARACTER}", name)
    return clean if len(clean) <= letters else f"{clean[: letters - 1]}…"


def brief(seconds: float | None) -> str:
    """12 ms, 3.4 s, 5.6 min, 2.1 h; empty for None."""
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def percent(part: float | None) -> str:
    """12 %; empty for None."""
    return "" if part is None else f"{100 * part:.0f} %"
