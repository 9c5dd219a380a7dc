"""Columns of tables and fields of records: what each one means, and a row's values as an entry of the list."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from vidpipe.settings.operation import Lists, column_name
from vidpipe.sources.lists import ColumnMeaning, Lines, ListProblem, ListRow, entry, first_few, key_of
from vidpipe.sources.urls import redacted_url

_LABEL_ENDS = "[]'\" "
#: As in CSV: `csv.field_size_limit()`.
_LONGEST_TEXT = 131_072


def column_meanings(names: Sequence[str], columns: Lists) -> list[ColumnMeaning]:
    """Return the meaning of each column; a name that `columns` gives two meanings keeps the first of them."""
    known = list(map(column_name, names))
    meanings: list[ColumnMeaning] = ["labels" if name in columns.label_columns else "ignored" for name in known]
    single: dict[ColumnMeaning, Sequence[str]] = {
        "url": columns.url_columns, "title": columns.title_columns, "priority": columns.priority_columns,
        "licence": columns.licence_columns, "start": columns.start_columns, "end": columns.end_columns,
    }  # fmt: skip
    for meaning, wanted in single.items():
        place = next((known.index(name) for name in wanted if name in known), None)
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
        return ListProblem(number, "the column url is missing or empty")
    return entry(number, url, labels=labels, **texts)


def table_lines(
    rows: Sequence[ListRow], meanings: Mapping[str, ColumnMeaning], name: str, notes: tuple[str, ...] = ()
) -> Lines:
    """Return the rows of the table `name` as the lines of a list, with a note about its ignored columns."""
    if ignored := [column for column, meaning in meanings.items() if meaning == "ignored"]:
        shown = first_few([redacted_url(column)[:60] for column in ignored])
        notes += (f"{name}: ignored columns: {shown}.",)
    return Lines([key_of(repr(_content(row))) for row in rows], rows.__getitem__, notes, meanings)


def _content(row: ListRow) -> object:
    if isinstance(row, ListProblem):
        return row.sentence
    return (row.text, row.title, row.labels, row.priority, *filter(None, (row.licence, row.segment)))


def _text(value: object) -> str:
    """Return a value as text; empty for a missing one. Raises ValueError that says what it is instead."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        if len(value) > _LONGEST_TEXT:
            raise ValueError(f"has more than {_LONGEST_TEXT} characters")
        return value.strip()
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(
            f"is neither a text nor a number but {'true or false' if value in (True, False) else 'nested'}"
        )
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def _labels(value: object) -> list[str]:
    """Return the labels of a cell, which may also be a list of Python or JSON as text: ['cats', 'dogs']."""
    if isinstance(value, list | tuple):
        return [_text(label) for label in value]
    cell = _text(value)
    labels = re.split("[|;,]", cell)
    return [label.strip(_LABEL_ENDS) for label in labels] if cell[:1] == "[" and cell[-1:] == "]" else labels
