"""Progress displays: downloads, stages of a run, and parts of a backup or check."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from vidpipe.cli.output import clean, err, say, words
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord
from vidpipe.sources.urls import readable_url
from vidpipe.stages.events import StageEvent

#: Lines for running stages; more would push the bars off the screen.
_MOST_ACTIVE = 8
#: Without a terminal, seconds between progress lines.
_LINE_EVERY_S = 15.0
_NAME_WIDTH = 40

_STYLES = {"failed": "red", "refused": "red", "gone": "yellow", "cancelled": "yellow"}
_ENDS = {"computed", "failed", "discarded"}


class _Display:
    """A live display on a terminal, plain lines elsewhere. Use as a context manager."""

    def __init__(self, console: Console | None) -> None:
        self.console = console or err()
        self._live: Live | Progress
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.pause()

    def pause(self) -> None:
        """Hide the display, e.g. while a question is asked."""
        if self.console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the display."""
        self.console.print(words(text, "yellow"), soft_wrap=True)

    def _line_is_due(self) -> bool:
        """Return whether to print a progress line: without a terminal, every `_LINE_EVERY_S` seconds."""
        if self.console.is_terminal or time.monotonic() - self._last_line < _LINE_EVERY_S:
            return False
        self._last_line = time.monotonic()
        return True


class RunDisplay(_Display):
    """Shows the progress of a run (`vidpipe.stages.contract.Observer`). Use as a context manager.

    Args:
        stages: Names of the run's stages.
        videos: Expected number of videos; the bars grow if there are more.
        console: Where to print; stderr by default.
    """

    def __init__(self, stages: Sequence[str], videos: int, console: Console | None = None) -> None:
        super().__init__(console)
        self._stages = stages
        self._seen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._videos = videos
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("[red]{task.fields[failed]}"), TimeElapsedColumn(), console=self.console,
        )  # fmt: skip
        self._active = Progress(
            TextColumn("  {task.fields[what]}"), BarColumn(bar_width=20), TextColumn("{task.percentage:>3.0f} %"),
            console=self.console,
        )  # fmt: skip
        self._bar_of: dict[str, TaskID] = {
            stage: self._bars.add_task(stage, total=max(videos, 1), failed="") for stage in stages
        }
        self._active_of: dict[tuple[str, str], TaskID] = {}
        self._live = Live(Group(self._bars, self._active), console=self.console, refresh_per_second=5, transient=True)

    def on_event(self, event: StageEvent) -> None:
        """Update the bars; print failures."""
        if event.state == "started":
            self._start(event)
            return
        if event.state in _ENDS:
            self._end(event)
        if event.state == "failed":
            self._failed[event.stage] += 1
            self._print_failure(event)
        for stage in self._stages if event.state == "busy" else (event.stage,):
            self._count(stage)
        if self._line_is_due():
            done = ", ".join(f"{name} {self._seen[name]}" for name in self._stages)
            self.console.print(words(f"of {self._videos} videos: {done}"), soft_wrap=True)

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """Update the bar of a running stage. fraction: 0 to 1."""
        task = self._active_of.get((sha256, stage))
        if task is not None:
            self._active.update(task, completed=fraction)

    def _start(self, event: StageEvent) -> None:
        if self.console.is_terminal and len(self._active_of) < _MOST_ACTIVE:
            what = clean(f"{event.stage:<13} {_short(event.name or event.sha256[:12])}")
            task = self._active.add_task("", total=1.0, what=escape(what))
            self._active_of[(event.sha256, event.stage)] = task

    def _end(self, event: StageEvent) -> None:
        task = self._active_of.pop((event.sha256, event.stage), None)
        if task is not None:
            self._active.remove_task(task)

    def _count(self, stage: str) -> None:
        self._seen[stage] += 1
        bar = self._bar_of.get(stage)
        if bar is None:
            return
        failed = f"{self._failed[stage]} failed" if self._failed[stage] else ""
        total = max(self._videos, self._seen[stage], 1)
        self._bars.update(bar, completed=self._seen[stage], total=total, failed=failed)

    def _print_failure(self, event: StageEvent) -> None:
        message = event.error.message if event.error else f"{event.name}, stage {event.stage} failed."
        line = words("failed ", "red")
        line.append_text(words(message))
        self.console.print(line, soft_wrap=True)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"


class AddDisplay(_Display):
    """Shows the progress of adding videos (`vidpipe.sources.records.IngestObserver`). Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._live = self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._bar_of: dict[str, TaskID] = {}
        self._printed: set[int] = set()
        self.notes: list[IngestNote] = []

    def on_note(self, note: IngestNote) -> None:
        """Keep the note and print it."""
        self.notes.append(note)
        self.say(note.sentence)

    def on_start(self, source: SourceRecord) -> None:
        """Add a bar for the source."""
        self._bar_of[source.id] = self._bars.add_task(
            escape(_shortened_url(clean(readable_url(source.url)))), total=None
        )

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        """Update a source's bar."""
        task = self._bar_of.get(source_id)
        if task is not None:
            self._bars.update(task, completed=done, total=total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        """Remove the source's bar and print its outcome."""
        task = self._bar_of.pop(outcome.source.id, None) if outcome.source else None
        if task is not None:
            self._bars.remove_task(task)
        self.print_outcome(outcome)

    def print_outcome(self, outcome: IngestOutcome) -> None:
        """Print one line about a source, once."""
        if id(outcome) in self._printed:
            return
        self._printed.add(id(outcome))
        line = words(f"{outcome.state:<15}", _STYLES.get(outcome.state, "green"))
        line.append_text(words(f"{outcome.video[:12]}  " if outcome.video else " " * 14, "cyan"))
        line.append_text(words(outcome.sentence or outcome.input))
        if outcome.note:
            line.append_text(words(f" ({outcome.note.rstrip('.')})", "dim"))
        say(self.console, line)
        data = outcome.source.data if outcome.source else None
        if data and data.chosen and outcome.stored:
            say(self.console, words(f"took {data.chosen}: {data.reason}", "dim"), " " * 15)


def _shortened_url(url: str) -> str:
    """Return the end of a long URL, which tells one file from another."""
    return url if len(url) <= _NAME_WIDTH else f"…{url[1 - _NAME_WIDTH :]}"


class PartsDisplay(_Display):
    """Shows the parts of a backup or restore, or the videos of a command. Use as a context manager."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        super().__init__(console)
        self._title = title
        self._live = self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self.console, transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task(title, total=None)

    def progress(self, part: str, done: float, total: int | None) -> None:
        """Show how much of a part is done."""
        self._bars.update(self._task, description=f"{self._title}: {part}", completed=done, total=total)
        if self._line_is_due():
            self.say(f"{self._title}: {part} {done:.0f}" + (f" of {total}" if total else ""))

    def shares(self, part: str, total: int) -> Callable[[Any, float], None]:
        """Return what shows the progress of work on several things at once, given one and how much of it is done."""
        shares: dict[Any, float] = {}

        def progress(one: Any, share: float) -> None:
            shares[one] = share
            self.progress(part, sum(shares.copy().values()), total)

        return progress
