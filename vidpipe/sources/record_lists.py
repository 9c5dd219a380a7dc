"""Lists of records, whose fields are named in each one: JSON Lines, Parquet, and what a database gives.

An invalid record becomes a problem with its number, which reveals nothing of it; the others are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from vidpipe.errors import VidpipeError
from vidpipe.settings.operation import Lists
from vidpipe.sources.list_columns import column_meanings, row_entry, table_lines
from vidpipe.sources.lists import ColumnMeaning, Lines, ListProblem, ListRow, physical_lines

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

JSON_SUFFIXES = frozenset({".jsonl", ".ndjson"})
PARQUET_SUFFIX = ".parquet"
#: Longest list of records; they are held in memory.
MOST_ROWS = 2_000_000
_LONGEST_LINE = 1 << 20
_BATCH = 1024
#: Largest column of a row group once it is decompressed, as the file declares it.
_MOST_COLUMN_BYTES = 512 << 20
#: Most different sets of field names that are remembered, and columns that are shown.
_MOST_NAMED = 1000

#: The number of a record, from 1, and its fields; or what is wrong with it.
Record = tuple[int, Mapping[str, object]] | ListProblem


def record_lines(records: Iterable[Record], name: str, columns: Lists, notes: tuple[str, ...] = ()) -> Lines:
    """Return records as the lines of a list.

    Args:
        records: The records.
        name: Of the list, for messages.
        columns: Names of the fields.
        notes: Messages about the list as a whole.

    Raises:
        VidpipeError: No record has a field with a URL, or there are more than `MOST_ROWS`.
    """
    rows: list[ListRow] = []
    shown: dict[str, ColumnMeaning] = {}
    layouts: dict[tuple[str, ...], list[ColumnMeaning]] = {}
    for record in records:
        if len(rows) == MOST_ROWS:
            raise VidpipeError(f"{name} has more than {MOST_ROWS} rows.", "Split it.")
        if isinstance(record, ListProblem):
            rows.append(record)
            continue
        number, fields = record
        names = tuple(fields)
        if names not in layouts:
            if len(layouts) == _MOST_NAMED:
                layouts.clear()
            layouts[names] = column_meanings(names, columns)
            for one, meaning in zip(names, layouts[names], strict=True):
                if meaning != "ignored" or len(shown) < _MOST_NAMED:
                    shown[one[:200]] = meaning if meaning != "ignored" else shown.get(one[:200], meaning)
        rows.append(row_entry(number, zip(layouts[names], fields.values(), strict=True)))
    if shown and "url" not in shown.values():
        wanted = columns.url_columns[0]
        raise VidpipeError(
            f"{name} has no column {wanted}.",
            f"Name the column {wanted}, or add its name to UrlColumns (section [Lists] of config.ini).",
        )
    return table_lines(rows, shown, name, notes)


def json_records(text: str) -> Iterator[Record]:
    """Yield the objects of JSON Lines: one on each line; blank lines are skipped."""
    for number, line in enumerate(physical_lines(text), start=1):
        if len(line) > _LONGEST_LINE:
            yield ListProblem(number, f"the line has more than {_LONGEST_LINE} characters")
        elif line.strip():
            try:
                found = json.loads(line, object_pairs_hook=_object)
            except RecursionError:
                yield ListProblem(number, "the line is nested too deeply")
            except json.JSONDecodeError as error:
                yield ListProblem(number, f"the line is not valid JSON (character {error.colno})")
            except ValueError:  # a field is named twice, or an integer has thousands of digits
                yield ListProblem(number, "the line names a field twice or contains a number that is too long")
            else:
                is_object = isinstance(found, dict)
                yield (number, found) if is_object else ListProblem(number, "the line is not a JSON object")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is named twice")
    return fields


def parquet_records(data: bytes, name: str, columns: Lists) -> Iterator[Record]:
    """Yield the rows of a Parquet file, read in small batches; of columns without a meaning, only one has a value.

    Raises:
        VidpipeError: It is not a valid Parquet file, or too large once it is decompressed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data)) as probe:
            schema, names = probe.schema_arrow, probe.schema_arrow.names
        read = {
            one: schema.field(place).type
            for place, (one, meaning) in enumerate(zip(names, column_meanings(names, columns), strict=True))
            if meaning != "ignored"
        }
        # a text that occurs in each row takes its memory once
        texts = [one for one, kind in read.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
        with pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts) as file:
            _check_size(file.metadata, name)
            number = 0
            unread = dict.fromkeys(names)
            for batch in file.iter_batches(_BATCH, columns=list(read)):
                cells = [_values(column) for column in batch.columns]
                for values in zip(*cells, strict=True):
                    number += 1
                    yield number, {**unread, **dict(zip(batch.schema.names, values, strict=True))}
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise VidpipeError(
            f"{name} is not a valid Parquet file ({type(error).__name__}).", "Write it again, or save it as CSV."
        ) from None


def _check_size(metadata: pq.FileMetaData, name: str) -> None:
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    sizes = [group.column(place).total_uncompressed_size for group in groups for place in range(group.num_columns)]
    if metadata.num_rows > MOST_ROWS or max(sizes, default=0) > _MOST_COLUMN_BYTES:
        raise VidpipeError(
            f"{name} has more than {MOST_ROWS} rows, or more than {_MOST_COLUMN_BYTES >> 20} MiB in a column.",
            "Split it, or write smaller row groups.",
        )


def _values(column: pa.Array) -> Iterator[object]:
    for value in column:
        try:
            yield value.as_py()
        except ValueError:  # not UTF-8, or a time that Python does not have
            yield {}
