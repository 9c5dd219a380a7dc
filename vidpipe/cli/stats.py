"""vidpipe stats: stage times, hit rates, failures and growth, as tables, JSON or plots."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vidpipe.cli.context import open_library
from vidpipe.cli.options import Json, time_span
from vidpipe.cli.output import counted, note, out, print_json, size, table, words
from vidpipe.errors import SettingsError
from vidpipe.operations.metrics.statistics import (
    LibraryStatistics,
    collect_statistics,
    format_duration,
    format_percent,
    statistics_json,
)
from vidpipe.safe_files import replace_file

_MOST_DAYS = 14


def stats(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", help="24h, 7d, 4w, 6m, 1y, or a date (2026-11-01). Default: all time.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=1000, help="Number of slowest videos to show.")] = 10,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also write plots to FILE.png or FILE.html.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show stage times, hit rates, failures, growth by day, and the slowest videos."""
    moment = moment_of(since, datetime.now(UTC)) if since is not None else None
    draw = _drawing(plot) if plot is not None else None

    with open_library(context) as opened:
        found = collect_statistics(opened.library, opened.plan, moment, limit)
    if plot is not None and draw is not None:
        replace_file(plot, draw(found))
    if as_json:
        print_json(statistics_json(found) | ({"plot": plot} if plot else {}))
    else:
        _show(found)
        if plot is not None:
            note(f"Plots: {plot}")


def moment_of(text: str, now: datetime) -> datetime:
    """Parse --since. A date is in local time. Raises SettingsError."""
    try:
        if (span := time_span(text)) is not None:
            return now - span
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise SettingsError(
            f"--since {text}: not a duration or date.", "Use 24h, 7d, 4w, 6m, 1y or 2026-11-01."
        ) from None


def _drawing(plot: Path) -> Callable[[LibraryStatistics], bytes]:
    """Return the function that draws the plot file; checked before anything is read."""
    from vidpipe.operations.metrics import plots

    drawings: dict[str, Callable[[LibraryStatistics], bytes]] = {
        ".png": plots.png, ".html": plots.html, ".htm": plots.html,
    }  # fmt: skip
    draw = drawings.get(plot.suffix.lower())
    if draw is None:
        raise SettingsError(f"--plot {plot}: unsupported file type.", "Use .png or .html.")
    if not plot.absolute().parent.is_dir():
        raise SettingsError(f"--plot {plot}: folder {plot.absolute().parent} does not exist.", "Create it first.")
    plots.require_matplotlib()
    return draw


def _show(found: LibraryStatistics) -> None:
    console = out()
    hours = found.footage_s / 3600
    console.print(words(f"{counted(found.videos, 'video')}, {hours:,.1f} h of footage, {size(found.size_bytes)}."))
    _stages(console, found)
    _slowest(console, found)
    _days(console, found)
    ended = ", ".join(f"{number} {status}" for status, number in sorted(found.runs.items()))
    if ended:
        hour = found.results_per_hour
        rate = f"; {hour:,.0f} results per hour of work" if hour is not None else ""
        console.print(
            words(f"Runs: {ended}; {format_duration(found.busy_s)} busy{rate}; {size(found.bytes_in)} added.")
        )
    _model(console, found)


def _model(console: Console, found: LibraryStatistics) -> None:
    use = found.model_use
    if use.asked or use.reused:
        console.print(words(
            f"Describing model ({', '.join(found.models)}): {use.asked:,} answers, {use.reused:,} reused; "
            f"{use.prompt_tokens:,} prompt tokens, {use.output_tokens:,} output tokens; "
            f"{format_duration(use.model_seconds)}."
        ))  # fmt: skip


def _stages(console: Console, found: LibraryStatistics) -> None:
    names = ("videos", "median", "95 %", "longest", "total", "× real time", "computed", "current", "hit rate",
             "failed attempts", "failing now")  # fmt: skip
    made = table("stage", *names, right=names)
    for stage in found.stages:
        made.add_row(
            words(stage.stage),
            f"{stage.videos:,}",
            format_duration(stage.median_s),
            format_duration(stage.p95_s),
            format_duration(stage.longest_s),
            format_duration(stage.total_s),
            "" if stage.speed is None else f"{stage.speed:,.1f}",
            f"{stage.computed:,}",
            f"{stage.current:,}",
            format_percent(stage.hit_rate),
            words(f"{stage.failed:,}", "red" if stage.failed else "dim"),
            words(f"{stage.failing:,}", "red" if stage.failing else "dim"),
        )
    console.print(made)


def _slowest(console: Console, found: LibraryStatistics) -> None:
    if not found.slowest:
        return
    figures = ("time", "per minute of video", "length")
    made = table("slowest videos", *figures, "slowest stage", right=figures)
    for video in found.slowest:
        stage = max(video.stages, key=lambda name: video.stages[name])
        made.add_row(
            words(video.name),
            format_duration(video.seconds),
            format_duration(video.seconds_per_minute),
            format_duration(video.duration_s),
            words(f"{stage} {format_duration(video.stages[stage])}"),
        )
    console.print(made)


def _days(console: Console, found: LibraryStatistics) -> None:
    if not found.days:
        return
    names = ("videos in", "footage", "bytes", "runs", "computed", "current", "hit rate", "failed")
    made = table("day", *names, right=names)
    for day in found.days[-_MOST_DAYS:]:
        made.add_row(
            day.day.isoformat(),
            f"{day.videos:,}",
            format_duration(day.footage_s),
            size(day.size_bytes),
            f"{day.runs:,}",
            f"{day.computed:,}",
            f"{day.current:,}",
            format_percent(day.hit_rate),
            words(f"{day.failed:,}", "red" if day.failed else "dim"),
        )
    console.print(made)
    left_out = len(found.days) - _MOST_DAYS
    if left_out > 0:
        note(f"{counted(left_out, 'earlier day')}: see --json.")
