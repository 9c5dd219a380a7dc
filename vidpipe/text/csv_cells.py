"""Texts in CSV, which spreadsheets open."""

import re

_FORMULA = re.compile(r"^'*[\s\0]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")


def csv_text(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs as a formula, and whose newlines do not end a row."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # the writer does not quote a \r, which ends a row, too
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_csv(cell: str) -> str:
    """Return the text of a cell that `csv_text` made, without the apostrophe before a formula."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
