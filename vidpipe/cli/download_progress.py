"""What is seen while sources are taken in: a bar each, and a line for each one that is through."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from vidpipe.cli.output import clean, err, say, words
from vidpipe.sources.records import IngestNote, IngestOutcome, SourceRecord
from vidpipe.sources.urls import readable_url

_NAME_WIDTH = 40
_STYLES = {"failed": "red", "refused": "red", "cancelled": "yellow"}


class AddDisplay:
    """Follows an ingest (`vidpipe.sources.records.IngestObserver`); a context manager around it."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or err()
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._bar_of: dict[str, TaskID] = {}
        self.told: set[int] = set()
        self.notes: list[IngestNote] = []

    def __enter__(self) -> AddDisplay:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        self.console.print(words(text, "yellow"), soft_wrap=True)

    def on_note(self, note: IngestNote) -> None:
        self.notes.append(note)
        self.say(note.sentence)

    def on_start(self, source: SourceRecord) -> None:
        self._bar_of[source.id] = self._bars.add_task(escape(_short(clean(readable_url(source.url)))), total=None)

    def on_bytes(self, source_id: str, done: int, total: int | None) -> None:
        task = self._bar_of.get(source_id)
        if task is not None:
            self._bars.update(task, completed=done, total=total)

    def on_outcome(self, outcome: IngestOutcome) -> None:
        task = self._bar_of.pop(outcome.source.id, None) if outcome.source else None
        if task is not None:
            self._bars.remove_task(task)
        self.tell(outcome)

    def tell(self, outcome: IngestOutcome) -> None:
        """One line about one source, once."""
        if id(outcome) in self.told:
            return
        self.told.add(id(outcome))
        line = words(f"{outcome.state:<15}", _STYLES.get(outcome.state, "green"))
        line.append_text(words(f"{outcome.video[:12]}  " if outcome.video else " " * 14, "cyan"))
        line.append_text(words(outcome.sentence or outcome.input))
        if outcome.note:
            line.append_text(words(f" ({outcome.note.rstrip('.')})", "dim"))
        say(self.console, line)


def _short(address: str) -> str:
    """The end of an address tells one file from another."""
    return address if len(address) <= _NAME_WIDTH else f"…{address[1 - _NAME_WIDTH :]}"
