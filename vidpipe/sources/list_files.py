"""List files: their encoding, and whether they are text lists or tables."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from vidpipe.errors import VidpipeError, readable
from vidpipe.safe_files import read_regular
from vidpipe.settings.operation import Lists
from vidpipe.sources.characters import has_bytes
from vidpipe.sources.csv_tables import csv_lines
from vidpipe.sources.lists import Lines, physical_lines, text_lines

CSV_SUFFIXES = frozenset({".csv", ".tsv"})
LIST_SUFFIXES = frozenset({".txt", ".list", ".urls", ".lst"})
#: The mark of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


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
    name = readable(path.name)
    text = decoded(data, name)
    notes = _encoding_notes(text, name)
    if path.suffix.lower() in CSV_SUFFIXES:
        return csv_lines(text, name, columns, notes)
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


def _encoding_notes(text: str, name: str) -> tuple[str, ...]:
    if not has_bytes(text):
        return ()
    number = next(number for number, line in enumerate(physical_lines(text), start=1) if has_bytes(line))
    return (
        f"{name} is not UTF-8 (line {number}); titles and labels are decoded as Windows-1252. "
        "If that is wrong, save the list as UTF-8.",
    )
