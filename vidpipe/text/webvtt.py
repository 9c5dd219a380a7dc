"""Subtitles: WebVTT as browsers read them, and SubRip."""

import html
from collections.abc import Iterable


def webvtt(cues: Iterable[tuple[float, float, str]]) -> str:
    """Return a WebVTT file of (start_s, end_s, text); texts are shown as they are, without markup."""
    return "\n".join(["WEBVTT", "", *(block for cue in cues for block in _block(*cue))])


def subrip(cues: Iterable[tuple[float, float, str]]) -> str:
    """Return a SubRip file of (start_s, end_s, text); an arrow in a text could be taken for times."""
    blocks = (_block(start_s, end_s, text.replace("-->", "→")) for start_s, end_s, text in cues)
    numbered = enumerate(filter(None, blocks), 1)
    return "\n".join(line for number, (times, *lines) in numbered
                     for line in (str(number), times.replace(".", ","), *map(html.unescape, lines)))  # fmt: skip


def _block(start_s: float, end_s: float, text: str) -> tuple[str, ...]:
    # A line that is blank ends a cue.
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip()]
    times = f"{timestamp(start_s)} --> {timestamp(max(end_s, start_s + 0.001))}"
    return (times, *(html.escape(line, quote=False) for line in lines), "") if lines else ()


def timestamp(time_s: float) -> str:
    """Return a time as WebVTT writes it: 01:02:03.450."""
    milliseconds = round(max(0.0, time_s) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest / 1000:06.3f}"
