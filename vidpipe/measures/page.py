"""Statistics as one HTML file that needs nothing else: pictures and tables. Names in it are escaped; no script runs."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from vidpipe import __version__
from vidpipe.measures.plots import heading, svgs
from vidpipe.measures.statistics import Statistics
from vidpipe.measures.wording import brief, percent, shown

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.about { color: #666; margin-top: 0 }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.tile { border: 1px solid #ddd; border-radius: .5rem; padding: .6rem 1rem; min-width: 8rem }
.tile b { display: block; font-size: 1.3rem }
.tile span { color: #666; font-size: .85rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem }
.plots img { width: 100%; border: 1px solid #eee; border-radius: .5rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th { text-align: left; border-bottom: 2px solid #ccc } th, td { padding: .25rem .6rem; white-space: nowrap }
td { border-bottom: 1px solid #eee } .n { text-align: right }
td:first-child { max-width: 30rem; overflow: hidden; text-overflow: ellipsis }
.wide { overflow-x: auto }
"""
_MOST_DAYS = 400

#: A column's heading, and whether it holds numbers.
Column = tuple[str, bool]


def html(statistics: Statistics) -> bytes:
    """The file. Raises UnavailableError where matplotlib is not installed."""
    pictures = "".join(
        f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'
        for title, svg in svgs(statistics).items()
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>vidpipe: statistics</title><style>{_STYLE}</style></head><body>",
        f'<h1>vidpipe: statistics</h1><p class="about">{escape(heading(statistics))}</p>',
        f'<div class="tiles">{"".join(_tiles(statistics))}</div>',
        f'<div class="plots">{pictures}</div>',
        _stages(statistics),
        _slowest(statistics),
        _days(statistics),
        f'<p class="about">Made by vidpipe {escape(__version__)}.</p></body></html>',
    ]
    return "\n".join(parts).encode()


def _tiles(statistics: Statistics) -> Iterable[str]:
    ended = ", ".join(f"{number:,} {status}" for status, number in sorted(statistics.runs.items()))
    hour = statistics.results_per_hour
    for value, meaning in (
        (f"{statistics.videos:,}", "videos in the library"),
        (f"{statistics.footage_s / 3600:,.1f} h", "of footage"),
        (f"{statistics.size_bytes / 1e9:,.1f} GB", "of files"),
        (f"{sum(statistics.runs.values()):,}", f"runs: {ended}" if ended else "runs"),
        (brief(statistics.busy_s), "with a run at work"),
        (f"{hour:,.0f}" if hour is not None else "-", "results an hour of work"),
    ):
        yield f'<div class="tile"><b>{escape(value)}</b><span>{escape(meaning)}</span></div>'


def _stages(statistics: Statistics) -> str:
    columns = _numbers("stage", "videos", "median", "95 %", "longest", "together", "× real time", "computed",
                       "current", "hit rate", "failed tries", "failing now")  # fmt: skip
    rows = [
        (
            stage.stage, f"{stage.videos:,}", brief(stage.median_s), brief(stage.p95_s), brief(stage.longest_s),
            brief(stage.total_s), "" if stage.speed is None else f"{stage.speed:,.1f}", f"{stage.computed:,}",
            f"{stage.current:,}", percent(stage.hit_rate), f"{stage.failed:,}", f"{stage.failing:,}",
        )
        for stage in statistics.stages
    ]  # fmt: skip
    return _table("Stages", columns, rows)


def _slowest(statistics: Statistics) -> str:
    columns = _numbers("video", "time", "per minute of video", "length")
    rows = [
        (shown(video.name), brief(video.seconds), brief(video.seconds_per_minute), brief(video.duration_s))
        for video in statistics.slowest
    ]
    return _table("Slowest videos", columns, rows)


def _days(statistics: Statistics) -> str:
    columns = _numbers("day", "videos in", "footage", "bytes", "runs", "computed", "current", "hit rate", "failed")
    rows = [
        (
            day.day.isoformat(), f"{day.videos:,}", brief(day.footage_s), f"{day.size_bytes / 1e9:,.2f} GB",
            f"{day.runs:,}", f"{day.computed:,}", f"{day.current:,}", percent(day.hit_rate), f"{day.failed:,}",
        )
        for day in reversed(statistics.days[-_MOST_DAYS:])
    ]  # fmt: skip
    return _table("Days", columns, rows)


def _numbers(first: str, *others: str) -> list[Column]:
    return [(first, False), *((heading_, True) for heading_ in others)]


def _table(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> str:
    def cell(tag: str, text: str, number: bool) -> str:
        mark = ' class="n"' if number else ""
        return f"<{tag}{mark}>{escape(text)}</{tag}>"

    head = "".join(cell("th", text, number) for text, number in columns)
    body = "\n".join(
        "<tr>" + "".join(cell("td", text, column[1]) for text, column in zip(row, columns, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<h2>{escape(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
