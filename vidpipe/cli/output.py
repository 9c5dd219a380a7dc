"""Terminal output: results to stdout, everything else to stderr.

Titles, file names and model texts are untrusted: control characters are escaped and nothing is parsed as markup.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any, BinaryIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidpipe.errors import VidpipeError, visible
from vidpipe.library.queries.json_encoding import to_json

#: State of a stage, or the worst of a video -> its style.
STATE_STYLES = {"current": "green", "due": "yellow", "blocked": "yellow", "failed": "red", "quarantined": "red"}
#: Without a terminal, table rows are not wrapped.
_PIPE_WIDTH = 1000


def clean(text: object) -> str:
    r"""Return `text` on one line with control characters escaped, e.g. \\x1b."""
    return visible(re.sub("[\n\r\t]", " ", str(text)))


def words(text: object, style: str = "") -> Text:
    """Return `text` as Rich text, cleaned and without markup. None is empty."""
    return Text("" if text is None else clean(text), style=style)


def out() -> Console:
    """Return the console for results."""
    return _console(stderr=False)


def err() -> Console:
    """Return the console for progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)


def table(
    *columns: str | tuple[str, Mapping[str, Any]],
    right: Collection[str] = (),
    fold: Collection[str] = (),
    title: str | None = None,
) -> Table:
    """Return an empty table.

    Args:
        columns: Headings, or (heading, options of `Table.add_column`).
        right: Headings of columns that are aligned right.
        fold: Headings of columns whose texts go on in the next line; others are cut off.
        title: Shown above the table.
    """
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        heading, options = column if isinstance(column, tuple) else (column, {})
        aligned, long = "right" if heading in right else "left", "fold" if heading in fold else "ellipsis"
        settings: dict[str, Any] = {"justify": aligned, "overflow": long, **options}
        made.add_column(heading, **settings)
    return made


def print_json(value: object) -> None:
    """Print `value` to stdout as indented JSON in UTF-8, never wrapped or coloured."""
    write_bytes(to_json(value, indent=2) + b"\n")


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout unchanged."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def exact_stdout() -> BinaryIO | EscapingWriter:
    """Return stdout as a binary file; a terminal gets escaped text."""
    sys.stdout.flush()
    return EscapingWriter(sys.stdout.buffer) if sys.stdout.isatty() else sys.stdout.buffer


class EscapingWriter:
    """Writes UTF-8 text to a terminal with control characters escaped. Each write holds whole lines."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal

    def write(self, data: bytes) -> int:
        """Write whole lines of UTF-8 text."""
        text = "\n".join(map(visible, data.decode("utf-8", "replace").split("\n")))
        return self._terminal.write(text.encode())

    def writelines(self, lines: Iterable[bytes]) -> None:
        """Write several blocks of whole lines."""
        for line in lines:
            self.write(line)


def note(text: str, style: str = "dim") -> None:
    """Print a line to stderr."""
    say(err(), words(text, style))


def say(console: Console, text: Text, label: str = "") -> None:
    """Print sentences after their label, wrapped between words on a terminal.

    Text with a word longer than a line is not wrapped, so that a URL can still be copied.
    """
    width = console.width - len(label)
    if console.is_terminal and all(len(word) < width for word in text.plain.split()):
        text = Text("\n" + " " * len(label)).join(text.wrap(console, width))
    console.print(Text.assemble((label, "dim"), text), soft_wrap=True)


def say_problem(label: str, message: str, hint: str = "") -> None:
    """Print to stdout what is wrong, and below it what to do."""
    console = out()
    say(console, words(label, "red").append_text(words(message)))
    if hint:
        say(console, words(f"  {hint}", "dim"))


def print_error(error: VidpipeError) -> None:
    """Print an error: one sentence, and below it what to do."""
    console = err()
    for number, line in enumerate(error.message.splitlines() or [""]):
        said = words("Error: " if number == 0 else "       ", "bold red")
        said.append_text(words(line))
        say(console, said)
    if error.hint:
        say(console, words(error.hint))


def counted(number: int, noun: str) -> str:
    """Return e.g. 1 video, 2,000 videos."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def answered(value: Any) -> str:
    """Return the value of a model's answer as text: yes, no, a number or words."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def duration(seconds: float | None) -> str:
    """Format as 1:02:03, 2:03 or 0:03.5; empty for None."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(size_bytes: float | None) -> str:
    """Format e.g. as 12.3 MB; empty for None."""
    if size_bytes is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"
