"""List files: their encoding, and tables, which are parsed strictly so that no row is silently shifted or lost."""

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidpipe.errors import VidpipeError, readable
from vidpipe.safe_files import read_regular
from vidpipe.settings.operation import Lists, column_name
from vidpipe.sources.containers import VIDEO_SUFFIXES
from vidpipe.sources.lists import ColumnMeaning, Lines, ListProblem, ListRow, physical_lines, table_lines, text_lines
from vidpipe.sources.tables import column_meanings, json_records, parquet_records, record_lines, row_entry
from vidpipe.sources.urls import has_bytes, windows_1252

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
PARQUET_SUFFIX = ".parquet"
TABLE_SUFFIXES = CSV_SUFFIXES | {".jsonl", ".ndjson", PARQUET_SUFFIX}
LIST_SUFFIXES = frozenset({".txt", ".list", ".urls", ".lst"})
#: The mark of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_SEPARATORS = ",;\t|"
#: Excel's first line, which sets the separator.
_SEP_LINE = re.compile(r'"?sep=([^\r\n" ])"?\s*', re.IGNORECASE)
_PHYSICAL_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_LONGEST_LINE = 1 << 20
#: Each one costs reading up to csv.field_size_limit() characters twice.
_MOST_OPEN_QUOTES = 100
_DOUBLED = 'write a quote inside quotes as ""'
#: Lines below a first row without a URL column that are searched for a header, for the error message.
_MOST_ABOVE_HEADER = 20

#: The first line of a row in the file, from 1, and its cells.
_Cells = tuple[int, list[str]]


def read_list(path: Path, columns: Lists) -> Lines:
    """Return the lines of the list at `path`.

    Args:
        path: The file.
        columns: Names of the columns of tables.

    Raises:
        VidpipeError: It cannot be read, is not text, or is a table without a column of URLs.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise VidpipeError(f"{path} cannot be read: {error.strerror}.") from None
    return list_lines(path, data, columns)


def list_lines(path: Path, data: bytes, columns: Lists) -> Lines:
    """Return the lines of a list's contents, a table or text by its suffix. Raises like `read_list`."""
    name, suffix = readable(path.name), path.suffix.lower()
    if suffix == PARQUET_SUFFIX:
        return record_lines(parquet_records(data, name, columns), name, columns)
    text = decoded(data, name)
    notes = encoding_notes(text, name)
    if suffix in CSV_SUFFIXES:
        return csv_lines(text, name, columns, notes)
    if suffix in TABLE_SUFFIXES:
        return record_lines(json_records(text), name, columns, notes)
    return text_lines(text, notes)


def decoded(data: bytes, name: str) -> str:
    """Decode a list in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Bytes that are not UTF-8 become lone surrogates: in a path they may be right.

    Raises:
        VidpipeError: It is not text.
    """
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    text = data.decode(encoding, "replace") if encoding else data.decode("utf-8", "surrogateescape")
    if "\0" in text:
        line = len(physical_lines(text[: text.index("\0")]))
        raise VidpipeError(
            f"{name} is not a text file in UTF-8: line {line} contains U+0000.",
            "Save it as UTF-8, or as UTF-16 with BOM.",
        )
    # concatenated files have marks in the middle
    return re.sub("(^|[\r\n])\ufeff+", r"\1", text) if "\ufeff" in text else text


def encoding_notes(text: str, name: str) -> tuple[str, ...]:
    """Return the message that a list is not UTF-8, if it is not."""
    if not has_bytes(text):
        return ()
    number = next(number for number, line in enumerate(physical_lines(text), start=1) if has_bytes(line))
    return (
        f"{name} is not UTF-8 (line {number}); titles and labels are decoded as Windows-1252. "
        "If that is wrong, save the list as UTF-8.",
    )


class _LineTooLong(Exception):
    """A line has more than `_LONGEST_LINE` characters."""


@dataclass(frozen=True)
class _Header:
    """The header of a table.

    Attributes:
        separator: Between cells.
        names: Of the columns, as written.
        meanings: Of the columns.
        width: Number of columns up to the last one with a name.
        url: Position of the column of URLs, from 0; None if there is none.
    """

    separator: str
    names: Sequence[str]
    meanings: Sequence[ColumnMeaning]
    width: int
    url: int | None

    @classmethod
    def of(cls, separator: str, cells: Sequence[str], columns: Lists) -> "_Header":
        names = [windows_1252(cell).strip() for cell in cells]
        meanings = column_meanings(tuple(names), columns)
        width = max((place for place, name in enumerate(names, start=1) if name), default=0)
        return cls(separator, names, meanings, width, meanings.index("url") if "url" in meanings else None)


def csv_lines(text: str, name: str, columns: Lists, notes: tuple[str, ...] = ()) -> Lines:
    """Return the rows of a table: a column of URLs, and title, labels, priority, licence, start and end if present.

    Cells are separated by commas, semicolons, tabs or |; several labels in a cell by `|`, `;` or `,`.

    Raises:
        VidpipeError: There is no such column, or the first row is invalid.
    """
    lines = _PHYSICAL_LINE.findall(text)
    header, records = _header(lines, name, columns)
    rows = [row for record in records if (row := _row(record, header)) is not None]
    meanings = {name: meaning for name, meaning in zip(header.names, header.meanings, strict=True) if name}
    return table_lines(rows, meanings, name, notes)


def is_table(text: str, columns: Lists) -> bool:
    """Return whether a list without a suffix is a table: one of its first lines names a column of URLs."""
    return any(_names_url(line, _SEPARATORS, columns) for line in physical_lines(text)[:_MOST_ABOVE_HEADER])


def _header(lines: Sequence[str], name: str, columns: Lists) -> tuple[_Header, Iterator[_Cells | ListProblem]]:
    """Return the header and the rows below it. Raises VidpipeError if none has a column of URLs."""
    position, separators = _start(lines, name, columns)
    best: _Header | None = None
    problem: ListProblem | None = None
    for separator in separators:
        records = _records(lines, position, separator)
        first = next(records)
        if isinstance(first, ListProblem):
            problem = first
            continue
        header = _Header.of(separator, first[1], columns)
        if best is None or (header.url is not None, header.width) > (best.url is not None, best.width):
            best, rest = header, records
    if problem and (best is None or best.url is None):
        raise VidpipeError(f"{name} is not a valid table: line {problem.line}: {problem.sentence}.")
    assert best is not None  # noqa: S101  (each separator gave a header or a problem)
    wanted = columns.url_columns[0]
    below = range(position + 1, min(position + 1 + _MOST_ABOVE_HEADER, len(lines)))
    if best.url is None and (at := next((n for n in below if _names_url(lines[n], separators, columns)), None)):
        raise VidpipeError(
            f"{name} has no column {wanted} in its first row (line {position + 1}); line {at + 1} has one.",
            f"Delete the lines above line {at + 1}, or comment them out with #.",
        )
    _check(best, name, wanted)
    return best, rest


def _start(lines: Sequence[str], name: str, columns: Lists) -> tuple[int, str]:
    """Return the position of the first row, after blank lines, comments and Excel's `sep=;`, and its separators."""
    separators = _SEPARATORS
    for position, line in enumerate(lines):
        if found := _SEP_LINE.fullmatch(line):
            separators = found[1]
        elif line.strip(f"{_SEPARATORS} \r\n") and (line.lstrip()[:1] != "#" or _names_url(line, separators, columns)):
            return position, separators
    raise VidpipeError(f"{name} is not a valid table: it has no rows.")


def _names_url(line: str, separators: str, columns: Lists) -> bool:
    """Return whether a line could be the header, ignoring quotes."""
    cells = re.split(f"[{re.escape(separators)}]", line)
    return any(column_name(cell.replace('"', "")) in columns.url_columns for cell in cells)


def _check(header: _Header, name: str, wanted: str) -> None:
    """Check the columns. Errors reveal nothing of the row, since the file may be private."""
    if header.url is None:
        if any("://" in column or _is_file_name(column) for column in header.names):
            raise VidpipeError(
                f"{name} has no column {wanted}: its first row contains a URL, not column names.",
                f"Add a first line with the column names: {wanted}, or {wanted},title,labels.",
            )
        raise VidpipeError(
            f"{name} has no column {wanted}; its first row has {_counted(header.width, 'other column')}.",
            f"Name the column {wanted}, or add its name to UrlColumns (section [Lists] of config.ini).",
        )
    url = column_name(header.names[header.url])
    if [column_name(column) for column in header.names].count(url) > 1:
        raise VidpipeError(f"{name} has more than one column {url}.", "Keep one of them.")


def _records(lines: Sequence[str], position: int, separator: str) -> Iterator[_Cells | ListProblem]:
    """Yield the rows from line `position` (from 0) on. After a broken row, reading continues with the next line."""
    open_quotes = 0
    while position < len(lines):
        reader = csv.reader(_bounded(lines, position), delimiter=separator, strict=True, skipinitialspace=True)
        first = position
        try:
            for fields in reader:
                yield first + 1, fields
                first = position + reader.line_num
            return
        except (csv.Error, _LineTooLong) as error:
            count = reader.line_num - (first - position)  # lines of the broken row
            position = first + 1
            if count > 1 or (count == 1 and "end of data" in str(error)):
                position += _broken_quote(lines[first : first + count], separator)
                open_quotes += 1
                yield ListProblem(position, f'the quote (") opened here is not closed; {_DOUBLED}')
            elif count == 1 and "limit" not in str(error):
                mended = _mended(lines[first], separator)
                wrong = f"text follows a closing quote; {_DOUBLED}"
                yield (position, mended) if mended else ListProblem(position, wrong)
            elif count:
                yield ListProblem(position, f"a value has more than {csv.field_size_limit()} characters")
            else:
                yield ListProblem(position, f"the line has more than {_LONGEST_LINE} characters")
        if open_quotes > _MOST_OPEN_QUOTES:
            yield ListProblem(position + 1, f"more than {_MOST_OPEN_QUOTES} quotes are not closed; the rest is ignored")
            return


def _bounded(lines: Sequence[str], position: int) -> Iterator[str]:
    for place in range(position, len(lines)):
        if len(lines[place]) > _LONGEST_LINE:
            raise _LineTooLong
        yield lines[place]


def _mended(line: str, separator: str) -> list[str] | None:
    r"""Return the cells of a line with a common quoting mistake; None if it has another one.

    These are spaces after a closing quote, doubled quotes around a value (""a""), and \" for a quote inside.
    """
    sep = re.escape(separator)
    end = rf"(?=[{sep}\r\n]|\Z)"
    no_blanks = re.sub(rf'"[ \t]+{end}', '"', line)
    once = re.sub(rf'(?:\A|(?<=[{sep}])) *""(?![{sep}])([^"\r\n]+)""{end}', r'"\1"', line)
    for text, escape in ((no_blanks, None), (once, None), (line, "\\")):
        if text != line or (escape and '\\"' in line):
            try:
                (fields,) = csv.reader(
                    [text], delimiter=separator, strict=True, skipinitialspace=True, escapechar=escape
                )
            except (csv.Error, ValueError):
                continue
            return fields
    return None


def _broken_quote(lines: Sequence[str], separator: str) -> int:
    """Return the position of the line, among those of a broken row, with the quote that is not closed."""
    text = "".join(lines)
    sep = re.escape(separator)
    whole = re.compile(rf' *+(?:"(?:[^"]|"")*+" *+|[^"{sep}\r\n][^{sep}\r\n]*+)?{sep}')
    position = 0
    while found := whole.match(text, position):
        position = found.end()
    return len(_PHYSICAL_LINE.findall(text[:position] + "x")) - 1


def _row(record: _Cells | ListProblem, header: _Header) -> ListRow | None:
    """Return the entry or problem of a row; None if it is empty."""
    if isinstance(record, ListProblem):
        return record
    line, cells = record
    fields = [cell.strip() for cell in cells]
    while len(fields) > header.width and not fields[-1]:
        fields.pop()
    if not any(fields):
        return None
    if len(fields) > header.width:
        fields = _rejoined(fields, header) or fields
    if len(fields) != header.width:
        hint = f" (quote values that contain {header.separator!r})" if len(fields) > header.width else ""
        return ListProblem(line, f"the row has {_counted(len(fields), 'field')} instead of {header.width}{hint}")
    if not fields[header.url or 0]:
        return ListProblem(line, f"the column {header.names[header.url or 0]} is empty")
    return row_entry(line, zip(header.meanings, fields, strict=False))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _rejoined(fields: list[str], header: _Header) -> list[str] | None:
    """Return the cells of a row whose unquoted URL contains separators; None if that is not certain.

    It is certain if the first part alone is not a video's name but all surplus parts together are, or if there is no
    other column to which they could belong.
    """
    url, surplus = header.url or 0, len(fields) - header.width
    parts = fields[url : url + surplus + 1]
    joined = header.separator.join(parts)
    if any("://" in part for part in parts[1:]) or _is_file_name(parts[0]) or ("://" in joined and " " in joined):
        return None
    if not _is_file_name(joined) and (header.width > 1 or "://" not in joined):
        return None
    return [*fields[:url], joined, *fields[url + surplus + 1 :]]


def _is_file_name(text: str) -> bool:
    return text.partition("?")[0].lower().endswith(tuple(VIDEO_SUFFIXES))
