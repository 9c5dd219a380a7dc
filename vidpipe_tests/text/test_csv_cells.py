"""Texts in CSV stay texts in spreadsheets, and are the same when they are read back."""

import pytest

from vidpipe.text.csv_cells import csv_text, text_of_csv

FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    " =1",
    "\t=1",
    "\0=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "'=1",
    "''=1",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text_and_read_back_the_same(text: str) -> None:
    cell = csv_text(text)
    assert cell == f"'{text}"
    assert text_of_csv(cell) == text


@pytest.mark.parametrize("text", ["", "sea", "a=b", "'tis a title", "'quoted'", "1-2"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert csv_text(text) == text == text_of_csv(text)
