"""How `vidpipe search` and `vidpipe list` show what was found."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vidpipe.cli.output import STATE_STYLES, clean, duration, out, say, table, words

_MOST_SHOWN = 5
#: Column -> minimum terminal width at which it is shown.
_MIN_WIDTHS = {"state": 50, "resolution": 64, "category": 80, "scenes": 120, "tags": 120, "labels": 160}
_MOST_MATCHES = 3


def show_videos(hits: Sequence[dict[str, Any]]) -> None:
    """Print the table of videos."""
    console = out()
    if not hits:
        console.print("No videos.")
        return
    wide: dict[str, Any] = {"min_width": 12, "overflow": "fold"}
    whole: dict[str, Any] = {"no_wrap": True}
    roomy = console.width >= max(_MIN_WIDTHS.values())
    columns: dict[str, dict[str, Any]] = {
        "video": whole, "name": wide, "duration": {"justify": "right", **whole}, "resolution": whole,
        "scenes": {"justify": "right"}, "category": whole,
        "labels": {"min_width": 6, "overflow": "fold"}, "tags": wide, "state": whole,
    }  # fmt: skip
    shown_columns = [name for name in columns if console.width >= _MIN_WIDTHS.get(name, 0)]
    if roomy and not any(hit["labels"] for hit in hits):
        shown_columns.remove("labels")
    made = table(*((name, columns[name]) for name in shown_columns))
    for hit in hits:
        size = f"{hit['width']}x{hit['height']}" if hit["width"] else ""
        labels = _some(hit["labels"])
        name = words(hit["name"])
        for below in (hit["title"], f"labels: {labels}" if labels and not roomy else ""):
            if below:
                name.append("\n").append_text(words(below, "dim"))
        state = hit.get("state", "")
        cells = {
            "video": words(hit["video"][:12], "cyan"), "name": name,
            "duration": words(duration(hit["duration_s"])),
            "resolution": words(f"{hit['resolution'] or ''} {size if roomy else ''}".strip()),
            "scenes": words(hit["scenes"]), "category": words(hit["category"]),
            "labels": words(labels), "tags": words(_some(hit["tags"])),
            "state": words(state, STATE_STYLES.get(state, "")),
        }  # fmt: skip
        made.add_row(*(cells[name] for name in shown_columns))
    console.print(made)


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_MOST_SHOWN]) + (f" +{len(texts) - _MOST_SHOWN}" if len(texts) > _MOST_SHOWN else "")


def show_hits(hits: Sequence[dict[str, Any]], *, moments: bool) -> None:
    """Print what was found: a line for each video, and below it which texts match, and when.

    Args:
        hits: Videos, or moments of which those of one video are adjacent.
        moments: Whether they are moments.
    """
    console = out()
    if not hits:
        console.print("No moments.")
        return
    found = [(video, list(of_video)) for video, of_video in groupby(hits, lambda hit: hit["video"])]
    shown = {video: same if moments else same[0]["matches"][:_MOST_MATCHES] for video, same in found}
    every = [match for matches in shown.values() for match in matches]
    widths = [max(map(len, texts), default=0) for texts in zip(*map(_place, every), strict=True)]
    for video, (hit, *_) in found:
        details = [duration(hit["duration_s"]), hit["category"], hit["state"] if hit["state"] != "current" else ""]
        head = Text.assemble(words(video[:12], "cyan"), "  ", words(hit["name"], "bold"))
        head.append_text(words("".join(f" · {clean(part)}" for part in details if part), "dim"))
        say(console, head)
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(min_width=widths[0], no_wrap=True, justify="right")
        rows.add_column(min_width=widths[1], no_wrap=True)
        rows.add_column(overflow="fold")
        for match in shown[video]:
            when, where = _place(match)
            similar = match["text"] is None
            text = words("similar in meaning", "dim") if similar else highlighted(match["text"], match["highlights"])
            rows.add_row(when, words(where, "dim"), text)
        left = 0 if moments else len(hit["matches"]) - _MOST_MATCHES
        if left > 0:
            rows.add_row("", "", words(f"… and {left} more", "dim"))
        console.print(Padding(rows, (0, 0, 0, 2), expand=False))


def _place(match: Mapping[str, Any]) -> tuple[str, str]:
    return duration(match["start_s"]), match["matched_in"] or ""


def highlighted(text: str, places: Iterable[Sequence[int]]) -> Text:
    """Return `text` for the terminal with the characters from `start` to before `end` of each place in bold."""
    shown = words(text)
    for start, end in places:
        shown.stylize("bold yellow", len(clean(text[:start])), len(clean(text[:end])))
    return shown


def show_facets(facets: Mapping[str, Mapping[str, int]], total: int) -> None:
    """Print a line for each facet: its most frequent values that not all of the `total` results have."""
    console = out()
    lines = {
        name: {value: count for value, count in counts.items() if count < total} for name, counts in facets.items()
    }
    width = max((len(name) for name, counts in lines.items() if counts), default=0)
    if width:
        console.print()
    for name, counts in lines.items():
        if counts:
            frequent = sorted(counts.items(), key=lambda one: -one[1])[:_MOST_SHOWN]
            left = f" · +{len(counts) - _MOST_SHOWN}" if len(counts) > _MOST_SHOWN else ""
            told = " · ".join(f"{value} {count}" for value, count in frequent) + left
            say(console, words(told), f"{name:<{width}}  ")
