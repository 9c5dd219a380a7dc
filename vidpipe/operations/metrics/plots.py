"""Statistics as a PNG or an HTML file: growth by day, time by stage, hit rate by day, the slowest videos.

matplotlib is an optional extra. Its objects are used without pyplot, which would keep state between calls. Names of
videos are untrusted: nothing in them is interpreted as a formula or a control character.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vidpipe import __version__
from vidpipe.errors import UnavailableError
from vidpipe.operations.metrics.statistics import LibraryStatistics, format_duration, format_percent
from vidpipe.text.messages import single_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Distinguishable for the color-blind: M. Okabe and K. Ito, Color Universal Design.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
_BLUE, _ORANGE, _GREEN, _RED = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[5]
_FOLDER = Path(__file__).parent
_MAX_NAME_LENGTH = 36
_SIZE_INCHES = (7.2, 3.8)


def require_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        UnavailableError: It is not; the hint says how to install it.
    """
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "Plots need matplotlib, which is not installed.", "Install it: pip install 'vidpipe[plots]'."
        ) from error


def png(statistics: LibraryStatistics) -> bytes:
    """Return all four pictures as one PNG."""
    with _drawing() as new_figure:
        figure = new_figure((2 * _SIZE_INCHES[0], 2 * _SIZE_INCHES[1] + 0.4))
        figure.suptitle(heading(statistics), fontsize=13, x=0.01, ha="left")
        for axes, title in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
            _draw(axes, title, statistics)
        return _saved(figure, "png")


def svgs(statistics: LibraryStatistics) -> dict[str, bytes]:
    """Return each picture as an SVG, by its title."""
    made = {}
    with _drawing() as new_figure:
        for title in PANELS:
            figure = new_figure(_SIZE_INCHES)
            _draw(figure.subplots(), title, statistics)
            made[title] = _saved(figure, "svg")
    return made


def panels_png(panels: Mapping[str, Mapping[str, Mapping[str, float]]], matrix: str = "") -> bytes:
    """Return one PNG: title -> name of a line -> place -> number; with a panel `matrix`, points and that matrix."""
    with _drawing() as new_figure:
        figure = new_figure((_SIZE_INCHES[0], _SIZE_INCHES[1] * len(panels)))
        for axes, (title, rows) in zip(figure.subplots(len(panels), squeeze=False).flat, panels.items(), strict=True):
            places = sorted({place for row in rows.values() for place in row})
            numbers = [[row.get(place, 0) for place in places] for row in rows.values()]
            shown, names = ([single_line(one, _MAX_NAME_LENGTH) for one in texts] for texts in (places, rows))
            axes.set_title(title)
            axes.set_xticks(range(len(places)), shown, rotation=45)
            if title == matrix and rows:
                axes.imshow(numbers, "Blues", aspect="auto")
                axes.grid(visible=False)
                axes.set_yticks(range(len(names)), names)
                for y, x in product(range(len(names)), range(len(places))):
                    axes.text(x, y, str(numbers[y][x]), ha="center", va="center", color=_ORANGE, weight="bold")
            for name, row, color in zip(names, numbers, PALETTE if title != matrix else (), strict=False):
                axes.plot(row, "o" if matrix else "o-", color=color, label=name)
                axes.legend()
        return _saved(figure, "png")


def heading(statistics: LibraryStatistics) -> str:
    """Describe the library and the span of time in one line."""
    until = statistics.until.astimezone()
    since = f"{statistics.since.astimezone():%Y-%m-%d %H:%M}" if statistics.since else "the beginning"
    return f"vidpipe: {statistics.videos:,} videos; from {since} to {until:%Y-%m-%d %H:%M}"


@contextmanager
def _drawing() -> Iterator[Callable[[tuple[float, float]], Figure]]:
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(fname=_FOLDER / "statistics.mplstyle"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # names in other scripts: shown as boxes
        yield lambda inches: Figure(figsize=inches, layout="constrained", facecolor="white")


def _saved(figure: Figure, file_format: str) -> bytes:
    target = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if file_format == "svg" else {}
    figure.savefig(target, format=file_format, dpi=130, metadata=metadata)
    return target.getvalue()


def _growth(axes: Axes, statistics: LibraryStatistics) -> str:
    """Videos of each day as bars, hours of footage so far as a line."""
    days = [day for day in statistics.days if day.videos]
    if not days:
        return "No videos were added."
    places: Any = [day.day for day in days]
    axes.bar(places, [day.videos for day in days], color=_BLUE, width=0.9)
    axes.set_ylabel("videos per day", color=_BLUE)
    hours = 0.0
    so_far = [hours := hours + day.footage_s / 3600 for day in days]
    right = axes.twinx()
    right.plot(places, so_far, color=_ORANGE, linewidth=2, marker="o", markersize=3)
    right.set_ylabel("hours of footage, total", color=_ORANGE)
    right.set_ylim(bottom=0)
    right.grid(visible=False)
    _days(axes)
    return ""


def _times(axes: Axes, statistics: LibraryStatistics) -> str:
    stages = [stage for stage in reversed(statistics.stages) if stage.videos]
    if not stages:
        return "Nothing was computed."
    unit_s, unit = _unit(max(stage.total_s for stage in stages))
    totals = [stage.total_s / unit_s for stage in stages]
    bars = axes.barh([stage.stage for stage in stages], totals, color=_BLUE, height=0.65)
    labels = [f" median {format_duration(stage.median_s)}, 95 % {format_duration(stage.p95_s)}" for stage in stages]
    axes.bar_label(bars, labels, fontsize=8, color="#444444")
    axes.set_xlim(right=max(totals) * 1.45 or 1)
    axes.set_xlabel(f"{unit}, all videos")
    axes.grid(visible=False, axis="y")
    return ""


def _hits(axes: Axes, statistics: LibraryStatistics) -> str:
    """Shares of the checked results that were current, computed or failed."""
    days = [day for day in statistics.days if day.current + day.computed + day.failed]
    if not days:
        return "No runs."
    kinds = (("current", "current (no work)", _GREEN), ("computed", "computed", _BLUE), ("failed", "failed", _RED))
    places: Any = [day.day for day in days]
    below = [0.0] * len(days)
    for kind, label, color in kinds:
        shares = [100 * getattr(day, kind) / (day.current + day.computed + day.failed) for day in days]
        axes.bar(places, shares, bottom=below, color=color, width=0.9, label=label)
        below = [before + added for before, added in zip(below, shares, strict=True)]
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of checked results")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    _days(axes)
    return ""


def _slowest(axes: Axes, statistics: LibraryStatistics) -> str:
    videos = list(reversed(statistics.slowest))
    if not videos:
        return "Nothing was computed."
    unit_s, unit = _unit(max(video.seconds for video in videos))
    places = range(len(videos))
    left = [0.0] * len(videos)
    for number, stage in enumerate(stage.stage for stage in statistics.stages):
        parts = [video.stages.get(stage, 0.0) / unit_s for video in videos]
        axes.barh(places, parts, left=left, height=0.7, color=PALETTE[number % len(PALETTE)], label=stage)
        left = [before + part for before, part in zip(left, parts, strict=True)]
    axes.set_yticks(places, [single_line(video.name, _MAX_NAME_LENGTH) for video in videos])
    axes.set_xlabel(unit)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=4)
    return ""


#: Title -> what draws the picture; returns why there is nothing to draw, or an empty string.
PANELS: dict[str, Callable[[Axes, LibraryStatistics], str]] = {
    "Growth by day": _growth,
    "Time by stage": _times,
    "Hit rate by day": _hits,
    "Slowest videos": _slowest,
}


def _draw(axes: Axes, title: str, statistics: LibraryStatistics) -> None:
    axes.set_title(title)
    if reason := PANELS[title](axes, statistics):
        axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes, color="#777777")
        axes.set_xticks([])
        axes.set_yticks([])


def _days(axes: Axes) -> None:
    from matplotlib import dates

    untyped: Any = dates
    first, last = axes.get_xlim()
    # AutoDateLocator would label the hours of a single day.
    locator = untyped.DayLocator() if last - first < 7 else untyped.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))
    axes.grid(visible=False, axis="x")


def _unit(longest_s: float) -> tuple[float, str]:
    """The unit (in seconds, and its name) that suits a time of this length."""
    if longest_s >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if longest_s >= 180 else (1.0, "seconds")


def html(statistics: LibraryStatistics) -> bytes:
    """Return one HTML file with the pictures and tables that needs nothing else. Names are escaped; no script runs.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": format_duration, "percent": format_percent, "single_line": single_line}
    page = environment.get_template("statistics.html.j2").render(
        found=statistics,
        heading=heading(statistics),
        ended=", ".join(f"{number:,} {status}" for status, number in sorted(statistics.runs.items())),
        pictures={title: base64.b64encode(svg).decode() for title, svg in svgs(statistics).items()},
        version=__version__,
    )
    return page.encode()
