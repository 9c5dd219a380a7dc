"""Tables of any format: what their columns mean, their rows as entries of a list, JSON Lines and Parquet.

CSV is read in `list_files`. An invalid row becomes a problem with its number, which reveals nothing of it.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists, column_name
from vidpipe.sources.lists import ColumnMeaning, Lines, ListProblem, ListRow, entry, physical_lines, table_lines

#: Longest list of records; they are held in memory.
MOST_ROWS = 2_000_000
_LONGEST_LINE = 1 << 20
_BATCH = 1024
#: Largest column of a row group once it is decompressed, as the file declares it.
_MOST_COLUMN_BYTES = 512 << 20

#: The number of a record, from 1, and its fields; or what is wrong with it.
Record = tuple[int, Mapping[str, object]] | ListProblem
_SINGLE: tuple[ColumnMeaning, ...] = ("url", "title", "priority", "licence", "start", "end")
_LABEL_ENDS = "[]'\" "
#: As in CSV: `csv.field_size_limit()`.
_LONGEST_TEXT = 131_072


@lru_cache(maxsize=1000)
def column_meanings(names: tuple[str, ...], columns: Lists) -> Sequence[ColumnMeaning]:
    """Return the meaning of each column; a name that `columns` gives two meanings keeps the first of them."""
    known = list(map(column_name, names))
    meanings: list[ColumnMeaning] = ["labels" if name in columns.label_columns else "ignored" for name in known]
    for meaning in _SINGLE:
        place = next((known.index(name) for name in getattr(columns, f"{meaning}_columns") if name in known), None)
        if place is not None and meanings[place] == "ignored":
            meanings[place] = meaning
    return meanings


def row_entry(number: int, cells: Iterable[tuple[ColumnMeaning, object]]) -> ListRow:
    """Return the entry of a row. A text of labels is split at `|`, `;` and `,`; each element of a list is one label."""
    texts: dict[str, str] = {}
    labels: list[str] = []
    for meaning, value in cells:
        try:
            if meaning == "labels":
                labels += _labels(value)
            elif meaning != "ignored":
                texts[meaning] = _text(value)
        except ValueError as error:
            return ListProblem(number, f"the column {meaning} {error}")
    if not (url := texts.pop("url", "")):
        return ListProblem(number, "the column url is empty")
    return entry(number, url, labels=labels, **texts)


def _text(value: object) -> str:
    """Return a value as text; empty for a missing one. Raises ValueError that says what it is instead."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise ValueError(f"has more than {_LONGEST_TEXT} characters")
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError("is neither a text nor a number")
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def _labels(value: object) -> list[str]:
    """Return the labels of a cell, which may also be a list of Python or JSON as text: ['cats', 'dogs']."""
    if isinstance(value, list | tuple):
        return [_text(label) for label in value]
    cell = _text(value)
    labels = re.split("[|;,]", cell)
    return [label.strip(_LABEL_ENDS) for label in labels] if cell[:1] == "[" and cell[-1:] == "]" else labels


def record_lines(records: Iterable[Record], name: str, columns: Lists, notes: tuple[str, ...] = ()) -> Lines:
    """Return records as the lines of a list.

    Args:
        records: The records.
        name: Of the list, for messages.
        columns: Names of the fields.
        notes: Messages about the list as a whole.

    Raises:
        VidpipeError: No record has a field with a URL.
    """
    rows: list[ListRow] = []
    shown: dict[str, ColumnMeaning] = {}
    for record in records:
        if isinstance(record, ListProblem):
            rows.append(record)
            continue
        number, fields = record
        meanings = column_meanings(tuple(fields), columns)
        if len(shown) < 1000:
            shown.update(zip(fields, meanings, strict=True))
        rows.append(row_entry(number, zip(meanings, fields.values(), strict=True)))
    if shown and "url" not in shown.values():
        hint = f"Name it {columns.url_columns[0]}, or add its name to UrlColumns (section [Lists] of config.ini)."
        raise VidpipeError(f"{name} has no column with URLs.", hint)
    return table_lines(rows, shown, name, notes)


def json_records(text: str) -> Iterator[Record]:
    """Yield the objects of JSON Lines: one on each line; blank lines are skipped."""
    for number, line in enumerate(physical_lines(text), start=1):
        if len(line) > _LONGEST_LINE:
            yield ListProblem(number, f"the line has more than {_LONGEST_LINE} characters")
        elif line.strip():
            try:
                yield number, {**json.loads(line)}
            except (ValueError, TypeError, RecursionError):  # an integer may have too many digits as well
                yield ListProblem(number, "the line is not a JSON object")


def parquet_records(data: bytes, name: str, columns: Lists) -> Iterator[Record]:
    """Yield the rows of a Parquet file, read in small batches; of columns without a meaning, only one has a value.

    Raises:
        VidpipeError: It is not a valid Parquet file, or too large once it is decompressed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(pa.BufferReader(data))
        meanings = zip(schema, column_meanings(tuple(schema.names), columns), strict=True)
        read = {field.name: field.type for field, meaning in meanings if meaning != "ignored"}
        # a text that occurs in each row takes its memory once
        texts = [one for one, kind in read.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
        with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
            groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
            sizes = [one.column(place).total_uncompressed_size for one in groups for place in range(one.num_columns)]
            if file.metadata.num_rows > MOST_ROWS or max(sizes, default=0) > _MOST_COLUMN_BYTES:
                raise VidpipeError(f"{name} has more than {MOST_ROWS} rows, or too long ones.", "Split it.")
            rows = (row for batch in file.iter_batches(_BATCH, columns=list(read)) for row in batch.to_pylist())
            yield from enumerate(({**dict.fromkeys(schema.names), **row} for row in rows), start=1)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise VidpipeError(f"{name} is not a valid Parquet file ({type(error).__name__}).", "Write it again.") from None
