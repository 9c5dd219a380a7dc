"""What is seen while a back-up is made or restored: one bar, for the part that is at work."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from vidpipe.cli.output import err, words

#: Without a terminal, how often a line tells how far it is.
_LINE_EVERY_S = 15.0


class PartsDisplay:
    """Told of parts by `progress`; a context manager around the work."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._console = console or err()
        self._title = title
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=self._console, transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task(title, total=None)
        self._last_line = time.monotonic()

    def __enter__(self) -> PartsDisplay:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def progress(self, part: str, done: int, total: int | None) -> None:
        self._bars.update(self._task, description=f"{self._title}: {part}", completed=done, total=total)
        if not self._console.is_terminal and time.monotonic() - self._last_line > _LINE_EVERY_S:
            self._last_line = time.monotonic()
            self.say(f"{self._title}: {part} {done}" + (f" of {total}" if total else ""))

    def say(self, text: str) -> None:
        self._console.print(words(text, "yellow"), soft_wrap=True)

    def pause(self) -> None:
        """Before a question is asked."""
        if self._console.is_terminal:
            self._bars.stop()
