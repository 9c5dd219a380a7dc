"""Statistics as pictures: growth by day, time by stage, hit rate by day, the slowest videos.

matplotlib is an optional extra. Its own objects are used, not pyplot: no window, no state that outlives a call. Names
of videos are somebody else's: nothing in them is read as a formula or a control character.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vidpipe.errors import UnavailableError
from vidpipe.measures.statistics import Day, Statistics
from vidpipe.measures.wording import brief, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Told apart by the colour-blind, too: M. Okabe and K. Ito, Color Universal Design.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_BLUE, _ORANGE, _GREEN, _RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[5]
_STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
}
_NAME_LETTERS = 36
_INCHES = (7.2, 3.8)

Panel = Callable[["Axes", Statistics], None]


def require_matplotlib() -> None:
    """Raises UnavailableError, with what to install, where matplotlib is not there."""
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "Plots need matplotlib, which is not installed.", "Install it: pip install 'vidpipe[plots]'."
        ) from error


def png(statistics: Statistics) -> bytes:
    """All four pictures on one page."""
    with _drawing() as new_figure:
        figure = new_figure((2 * _INCHES[0], 2 * _INCHES[1] + 0.4))
        figure.suptitle(heading(statistics), fontsize=13, x=0.01, ha="left")
        for axes, panel in zip(figure.subplots(2, 2).flat, PANELS.values(), strict=True):
            panel(axes, statistics)
        return _saved(figure, "png")


def svgs(statistics: Statistics) -> dict[str, bytes]:
    """title -> picture, each for itself."""
    made = {}
    with _drawing() as new_figure:
        for title, panel in PANELS.items():
            figure = new_figure(_INCHES)
            panel(figure.subplots(), statistics)
            made[title] = _saved(figure, "svg")
    return made


def heading(statistics: Statistics) -> str:
    until = statistics.until.astimezone()
    since = f"{statistics.since.astimezone():%Y-%m-%d %H:%M}" if statistics.since else "the beginning"
    return f"vidpipe: {statistics.videos:,} videos; from {since} to {until:%Y-%m-%d %H:%M}"


@contextmanager
def _drawing() -> Iterator[Callable[[tuple[float, float]], Figure]]:
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # of names in other scripts: shown as boxes
        yield lambda inches: Figure(figsize=inches, layout="constrained", facecolor="white")


def _saved(figure: Figure, file_format: str) -> bytes:
    target = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if file_format == "svg" else {}
    figure.savefig(target, format=file_format, dpi=130, metadata=metadata)
    return target.getvalue()


def _growth(axes: Axes, statistics: Statistics) -> None:
    """Videos of each day as bars, hours of footage so far as a line."""
    axes.set_title("Growth by day")
    days = [day for day in statistics.days if day.videos]
    if not days:
        return _nothing(axes, "No videos came in.")
    places: Any = [day.day for day in days]
    axes.bar(places, [day.videos for day in days], color=_BLUE, width=0.9)
    axes.set_ylabel("videos a day", color=_BLUE)
    hours = 0.0
    so_far = [hours := hours + day.footage_s / 3600 for day in days]
    right = axes.twinx()
    right.plot(places, so_far, color=_ORANGE, linewidth=2, marker="o", markersize=3)
    right.set_ylabel("hours of footage, together", color=_ORANGE)
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    _days(axes)
    return None


def _times(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Time by stage")
    stages = [stage for stage in reversed(statistics.stages) if stage.videos]
    if not stages:
        return _nothing(axes, "Nothing was computed.")
    unit_s, unit = _unit(max(stage.total_s for stage in stages))
    totals = [stage.total_s / unit_s for stage in stages]
    bars = axes.barh([stage.stage for stage in stages], totals, color=_BLUE, height=0.65)
    said = [f" median {brief(stage.median_s)}, 95 % {brief(stage.p95_s)}" for stage in stages]
    axes.bar_label(bars, said, fontsize=8, color="#444444")
    axes.set_xlim(right=max(totals) * 1.45 or 1)
    axes.set_xlabel(f"{unit}, all videos together")
    axes.grid(visible=False, axis="y")
    return None


def _hits(axes: Axes, statistics: Statistics) -> None:
    """Shares of what runs looked at: found current, computed, failed."""
    axes.set_title("Hit rate by day")
    days = [day for day in statistics.days if day.current + day.computed + day.failed]
    if not days:
        return _nothing(axes, "No runs.")
    kinds: tuple[tuple[str, str, Callable[[Day], int]], ...] = (
        ("current (no work)", _GREEN, lambda day: day.current),
        ("computed", _BLUE, lambda day: day.computed),
        ("failed", _RED, lambda day: day.failed),
    )
    places: Any = [day.day for day in days]
    below = [0.0] * len(days)
    for label, color, number in kinds:
        shares = [100 * number(day) / (day.current + day.computed + day.failed) for day in days]
        axes.bar(places, shares, bottom=below, color=color, width=0.9, label=label)
        below = [before + added for before, added in zip(below, shares, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of what runs looked at")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    _days(axes)
    return None


def _slowest(axes: Axes, statistics: Statistics) -> None:
    axes.set_title("Slowest videos")
    videos = list(reversed(statistics.slowest))
    if not videos:
        return _nothing(axes, "Nothing was computed.")
    unit_s, unit = _unit(max(video.seconds for video in videos))
    places = range(len(videos))
    left = [0.0] * len(videos)
    for number, stage in enumerate(stage.stage for stage in statistics.stages):
        parts = [video.stages.get(stage, 0.0) / unit_s for video in videos]
        axes.barh(places, parts, left=left, height=0.7, color=PALETTE[number % len(PALETTE)], label=stage)
        left = [before + part for before, part in zip(left, parts, strict=True)]
    axes.set_yticks(places, [shown(video.name, _NAME_LETTERS) for video in videos])
    axes.set_xlabel(unit)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=4)
    return None


#: title -> what draws it.
PANELS: dict[str, Panel] = {
    "Growth by day": _growth, "Time by stage": _times, "Hit rate by day": _hits, "Slowest videos": _slowest,
}  # fmt: skip


def _nothing(axes: Axes, sentence: str) -> None:
    axes.text(0.5, 0.5, sentence, ha="center", va="center", transform=axes.transAxes, color="#777777")
    axes.set_xticks([])
    axes.set_yticks([])


def _days(axes: Axes) -> None:
    from matplotlib import dates

    untyped: Any = dates
    first, last = axes.get_xlim()
    # Of a few days each is named; the locator for longer spans would name hours of a single one.
    locator = untyped.DayLocator() if last - first < 7 else untyped.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    axes.grid(visible=False, axis="x")


def _unit(longest_s: float) -> tuple[float, str]:
    """(seconds, name) of the unit in which a time of this length reads well."""
    if longest_s >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest_s >= 180 else (1.0, "seconds")
