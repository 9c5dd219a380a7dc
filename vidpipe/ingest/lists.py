"""Lists of sources: plain text with one URL a line, and CSV with a url column."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidpipe.errors import VidpipeError

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
LIST_SUFFIXES = frozenset({".txt", ".list", ".urls", ".lst"})
URL_COLUMNS = ("url", "urls", "video_url", "link", "address")
#: `${VIDPIPE_SOURCE_...}` in a list stands for a variable of the environment: secrets stay out of the file. Only
#: variables of this name are read, so that a list from elsewhere cannot send other secrets to its own server.
_VARIABLE = re.compile(r"\$\{(VIDPIPE_SOURCE_[A-Z0-9_]+)\}")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


@dataclass(frozen=True)
class ListEntry:
    """One line of a list. `text` is a URL or a path; secrets may be in it."""

    line: int
    text: str
    title: str | None = None
    labels: tuple[str, ...] = ()
    priority: int | None = None


@dataclass(frozen=True)
class ListProblem:
    """A line that cannot be read, and why."""

    line: int
    sentence: str


def read_url_list(path: Path) -> Iterator[ListEntry | ListProblem]:
    """The entries of a text list: one URL or path a line; `#` after a blank or at the start begins a comment.

    Errors: VidpipeError where the file is not text.
    """
    for number, line in enumerate(_text(path).splitlines(), start=1):
        text = _COMMENT.sub("", line).strip()
        if text:
            yield _entry(ListEntry(number, text))


def read_csv(path: Path) -> Iterator[ListEntry | ListProblem]:
    """The entries of a CSV file: a column `url` (or video_url, link), and title, labels and priority where present.

    Separated by commas, semicolons or tabs; several labels are separated by `|` or `;` (`,` too, inside quotes).
    Errors: VidpipeError where there is no such column or the file is no table.
    """
    import pandas as pd  # a third of a second, which commands that read no CSV need not wait

    text = _text(path)
    header = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=header.count)
    broken: list[ListProblem] = []

    def too_many(fields: list[str]) -> None:
        broken.append(ListProblem(0, f"a row has {len(fields)} fields, more than there are columns; it is left out"))

    try:
        table = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", engine="python",
            on_bad_lines=too_many, skipinitialspace=True,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise VidpipeError(f"{path.name} is not a table that can be read: {error}.") from None
    table.columns = pd.Index([str(column).strip().lower() for column in table.columns])
    column = next((name for name in URL_COLUMNS if name in table.columns), None)
    if column is None:
        found = ", ".join(map(str, table.columns))
        raise VidpipeError(f"{path.name} has no column url; its columns are: {found}.", "Name the column url.")
    yield from broken
    for number, row in enumerate(table.fillna("").to_dict("records"), start=2):
        cells = {str(name): str(value).strip() for name, value in row.items()}
        if not cells[column]:
            continue
        labels = tuple(dict.fromkeys(part.strip() for part in re.split(r"[|;,]", cells.get("labels", ""))))
        priority = cells.get("priority", "")
        if priority and not re.fullmatch(r"[+-]?\d{1,9}(?:\.0+)?", priority):
            yield ListProblem(number, f"priority {priority[:40]!r} is not a whole number")
            continue
        yield _entry(
            ListEntry(
                number,
                cells[column],
                title=cells.get("title") or None,
                labels=tuple(label for label in labels if label),
                priority=int(float(priority)) if priority else None,
            )
        )


def _entry(entry: ListEntry) -> ListEntry | ListProblem:
    """`entry` with variables of the environment filled in."""
    missing = [name for name in _VARIABLE.findall(entry.text) if name not in os.environ]
    if missing:
        return ListProblem(entry.line, f"the environment has no variable {missing[0]}")
    text = _VARIABLE.sub(lambda found: os.environ[found[1]], entry.text)
    return ListEntry(entry.line, text, entry.title, entry.labels, entry.priority)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise VidpipeError(f"{path.name} is not a text file in UTF-8.", "Save it as UTF-8.") from None
    except OSError as error:
        raise VidpipeError(f"{path} cannot be read: {error.strerror}.") from None
