"""What is seen while stages run: a bar a stage, what is at work now, and failures as they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from vidpipe.cli.output import clean, err, words
from vidpipe.stages.contract import StageEvent

#: Lines for what is at work; more would push the bars off the screen.
_MOST_ACTIVE = 8
#: Without a terminal, how often a line tells how far the run is.
_LINE_EVERY_S = 15.0
_NAME_WIDTH = 40

_ENDS = {"computed", "failed", "discarded"}


class RunDisplay:
    """Follows a run (`vidpipe.stages.contract.Observer`); a context manager around it.

    videos: how many the run will go over, as far as known; the bars grow where there are more.
    """

    def __init__(self, stages: Sequence[str], videos: int, console: Console | None = None) -> None:
        self.console = console or err()
        self._live_display = self.console.is_terminal
        self._stages = stages
        self._seen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._videos = videos
        self._last_line = time.monotonic()
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

    def __enter__(self) -> RunDisplay:
        if self._live_display:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live_display:
            self._live.stop()

    def say(self, text: str) -> None:
        self.console.print(words(text, "yellow"), soft_wrap=True)

    def on_event(self, event: StageEvent) -> None:
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
        self._maybe_line()

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        task = self._active_of.get((sha256, stage))
        if task is not None:
            self._active.update(task, completed=fraction)

    def _start(self, event: StageEvent) -> None:
        if self._live_display and len(self._active_of) < _MOST_ACTIVE:
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

    def _maybe_line(self) -> None:
        if self._live_display or time.monotonic() - self._last_line < _LINE_EVERY_S:
            return
        self._last_line = time.monotonic()
        done = ", ".join(f"{stage} {self._seen[stage]}" for stage in self._stages)
        self.console.print(words(f"of {self._videos} videos: {done}"), soft_wrap=True)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
