"""Lists of sources: plain text with one URL a line, and CSV with a url column."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from vidpipe.errors import VidpipeError

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
LIST_SUFFIXES = frozenset({".txt", ".list", ".urls", ".lst"})
URL_COLUMNS = ("url", "urls", "video_url", "link", "address")
#: What a line can say of its source, besides the address.
OPTIONS = ("priority", "labels", "title")
#: `${VIDPIPE_SOURCE_...}` in a list stands for a variable of the environment: secrets stay out of the file. Only
#: variables of this name are read, so that a list from elsewhere cannot send other secrets to its own server.
_VARIABLE = re.compile(r"\$\{(VIDPIPE_SOURCE_[A-Z0-9_]+)\}")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_OPTION = re.compile(rf'\s(?P<name>[A-Za-z]+)=(?P<value>{_QUOTED}|[^\s"]*)$')
_LIKE_OPTION = re.compile(rf"\s(?P<name>{'|'.join(OPTIONS)})=", re.IGNORECASE)
#: A quoted value, in which # is a character like others; or a comment.
_QUOTED_OR_COMMENT = re.compile(rf"\s[A-Za-z]+={_QUOTED}|(?P<comment>(?:^|\s)#.*$)")
_PRIORITY = re.compile(r"[+-]?\d{1,9}(?:\.0+)?")
_LONGEST_LINE = 8192
_LONGEST_TITLE = 500
_KEY_BYTES = 16


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
    """A line that cannot be read, and why. line: 0 where it is not known."""

    line: int
    sentence: str


Row = ListEntry | ListProblem


@dataclass(frozen=True)
class Lines:
    """What a list says, without blank lines and comments.

    keys: a digest of each line, in order; equal lines have equal ones
    row:  reads the line at a position of `keys`
    """

    keys: Sequence[bytes]
    row: Callable[[int], Row]

    def __iter__(self) -> Iterator[Row]:
        return map(self.row, range(len(self.keys)))


def read_url_list(path: Path) -> Iterator[Row]:
    """The entries of a text list: one URL or path a line; `#` after a blank or at the start begins a comment.

    Behind the address may stand `priority=5`, `labels=cats,dogs` and `title="My film"`.
    Errors: VidpipeError where the file is not text.
    """
    return iter(text_lines(_bytes(path), path.name))


def read_csv(path: Path) -> Iterator[Row]:
    """The entries of a CSV file: a column `url` (or video_url, link), and title, labels and priority where present.

    Separated by commas, semicolons or tabs; several labels are separated by `|` or `;` (`,` too, inside quotes).
    Errors: VidpipeError where there is no such column or the file is no table.
    """
    return iter(csv_lines(_bytes(path), path.name))


def text_lines(data: bytes, name: str) -> Lines:
    """The lines of a text list in UTF-8 (or UTF-16 with its mark). Errors: VidpipeError where it is not text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16", "replace").encode()
    if b"\0" in data:
        raise _no_text(name)
    keys: list[bytes] = []
    numbers: list[int] = []
    lines: list[bytes] = []
    with_variables = b"${" in data
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith(b"#"):
            numbers.append(number)
            lines.append(text)
            keys.append(blake2b(_filled(text) if with_variables else text, digest_size=_KEY_BYTES).digest())

    return Lines(keys, lambda position: _text_row(numbers[position], lines[position]))


def csv_lines(data: bytes, name: str) -> Lines:
    """The rows of a CSV file that have an address. Errors: VidpipeError as of `read_csv`."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _no_text(name) from None
    rows = list(_csv_rows(text, name))
    keys = [blake2b(repr(_said(row)).encode(), digest_size=_KEY_BYTES).digest() for row in rows]
    return Lines(keys, rows.__getitem__)


def _said(row: Row) -> object:
    return row.sentence if isinstance(row, ListProblem) else (row.text, row.title, row.labels, row.priority)


def _text_row(number: int, line: bytes) -> Row:
    if len(line) > _LONGEST_LINE:
        return ListProblem(number, f"the line has {len(line)} bytes; the longest that is read has {_LONGEST_LINE}")
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        return ListProblem(number, "the line is not in UTF-8")
    comment = next((found for found in _QUOTED_OR_COMMENT.finditer(text) if found["comment"] is not None), None)
    if comment is not None:
        text = text[: comment.start()].rstrip()
    given: dict[str, str] = {}
    while found := _OPTION.search(text):
        name, value = found["name"].lower(), found["value"]
        if name not in OPTIONS:
            if "://" not in text:
                break  # a path may hold blanks and equals signs
            return ListProblem(
                number, f"{name} is no option; there are {', '.join(OPTIONS)} (a blank inside a URL is written %20)"
            )
        if name in given:
            return ListProblem(number, f"{name} is there twice")
        given[name] = re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value.startswith('"') else value
        text = text[: found.start()].rstrip()
    odd = _LIKE_OPTION.search(text)
    if odd is not None:
        return ListProblem(number, f'the value of {odd["name"].lower()} has to be in quotes: {odd["name"]}="…"')
    return _entry(number, text, given)


def _csv_rows(text: str, name: str) -> Iterator[Row]:
    import pandas as pd  # a third of a second, which commands that read no CSV need not wait

    header = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=header.count)
    broken: list[ListProblem] = []

    def too_many(fields: list[str]) -> None:
        broken.append(ListProblem(0, f"a row has {len(fields)} fields, more than there are columns; it is left out"))

    try:
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, engine="python",
            on_bad_lines=too_many, skipinitialspace=True,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise VidpipeError(f"{name} is not a table that can be read: {error}.") from None
    table.columns = pd.Index([str(column).strip().lower() for column in table.columns])
    column = next((name for name in URL_COLUMNS if name in table.columns), None)
    if column is None:
        found = ", ".join(map(str, table.columns))
        raise VidpipeError(f"{name} has no column url; its columns are: {found}.", "Name the column url.")
    yield from broken
    for number, row in enumerate(table.fillna("").to_dict("records"), start=2):
        cells = {str(name): str(value).strip() for name, value in row.items()}
        if cells[column]:
            yield _entry(number, cells[column], cells)


def _entry(number: int, text: str, said: Mapping[str, str]) -> Row:
    """The entry of an address and what is said of it, with variables of the environment filled in."""
    priority = said.get("priority", "")
    if priority and not _PRIORITY.fullmatch(priority):
        return ListProblem(number, f"priority {priority[:40]!r} is not a whole number")
    missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
    if missing:
        return ListProblem(number, f"the environment has no variable {missing[0]}")
    labels = (_printable(label) for label in re.split(r"[|;,]", said.get("labels", "")))
    return ListEntry(
        number,
        _VARIABLE.sub(lambda found: os.environ[found[1]], text),
        title=_printable(said.get("title", ""))[:_LONGEST_TITLE] or None,
        labels=tuple(dict.fromkeys(label for label in labels if label)),
        priority=int(float(priority)) if priority else None,
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()


def _filled(line: bytes) -> bytes:
    """What tells lines apart: with another value of its variable, a line is another one."""
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], found[0]), line.decode("utf-8", "replace")).encode()


def _no_text(name: str) -> VidpipeError:
    return VidpipeError(f"{name} is not a text file in UTF-8.", "Save it as UTF-8.")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VidpipeError(f"{path} cannot be read: {error.strerror}.") from None
