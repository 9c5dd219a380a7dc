"""Numbers, durations and dates as they are written in a query: `>60`, `1:30..2m`, `2026-11`."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from vidpipe.search.query import Between
from vidpipe.stages.search_fields import SearchField

_OPERATORS = (">=", "<=", ">", "<", "")
_DECIMAL = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_NUMBER = re.compile(rf"-?{_DECIMAL}")
#: Hours, minutes and seconds of a duration.
_CLOCK = re.compile(rf"(?:(?:([0-9]{{1,4}}):)?([0-9]{{1,4}}):)?({_DECIMAL})")
_UNITS = re.compile(rf"(?:({_DECIMAL})h)?(?:({_DECIMAL})m(?:in)?)?(?:({_DECIMAL})s)?", re.IGNORECASE)
#: Form -> at least how long it lasts, and less than a day longer.
_DATES = {
    "%Y": timedelta(days=366), "%Y-%m": timedelta(days=31), "%Y-%m-%d": timedelta(days=1),
    "%Y-%m-%dT%H:%M": timedelta(minutes=1), "%Y-%m-%dT%H:%M:%S": timedelta(seconds=1),
}  # fmt: skip


class _Quantity(NamedTuple):
    """What was written.

    Attributes:
        low: The same as written is everything from here …
        high: … up to, not including, here.
        begin: What comparisons are with: a number itself, or where a date begins …
        end: … and ends.
    """

    low: float
    high: float
    begin: float
    end: float


def between(field: SearchField, text: str) -> Between:
    """Return the condition that `text` states on a field of kind number.

    Args:
        field: The field; its unit decides how values are written.
        text: A value, a comparison (`>60`) or a range with its ends (`1..5`), one of which may be missing.

    Raises:
        ValueError: It states none; the text says what is allowed.
    """
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots:
        return _compared(field, first)
    if not first and not last:
        raise ValueError("A range has a beginning or an end: 1..5, 1.. or ..5.")
    low = _compared(field, f">={first}").low if first else None
    high = _compared(field, f"<={last}") if last else Between(field.name)
    if low is not None and high.high is not None and low > high.high:
        raise ValueError(f"A range begins with the lower value: {last}..{first}.")
    return replace(high, low=low)


def _compared(field: SearchField, text: str) -> Between:
    operator = next(operator for operator in _OPERATORS if text.startswith(operator))
    low, high, begin, end = _READERS[field.unit](text.removeprefix(operator).strip())
    return {
        ">": Between(field.name, low=end, with_low=begin != end),
        ">=": Between(field.name, low=begin),
        "<": Between(field.name, high=begin, with_high=False),
        "<=": Between(field.name, high=end, with_high=begin == end),
        "": Between(field.name, low, high, with_high=False),
    }[operator]


def _number(text: str) -> _Quantity:
    if not _NUMBER.fullmatch(text):
        raise ValueError("Write a number: 30, 29.97, >24, <=60 or 24..30.")
    return _rounded(Decimal(text))


def _duration(text: str) -> _Quantity:
    found = _CLOCK.fullmatch(text) or _UNITS.fullmatch(text)
    if not text or not found:
        raise ValueError("Write a duration: 90 (seconds), 1:30, 1:02:03, 2m, 1h30m, >60 or 1m..5m.")
    hours, minutes, seconds = (Decimal(part) for part in found.groups(default="0"))
    return _rounded(hours * 3600 + minutes * 60 + seconds)


def _rounded(value: Decimal) -> _Quantity:
    """Return what rounds to `value`, to as many decimals as it has."""
    half = Decimal("0.5").scaleb(int(value.as_tuple().exponent))
    return _Quantity(float(value - half), float(value + half), float(value), float(value))


def _date(text: str) -> _Quantity:
    for form, length in _DATES.items():
        with suppress(ValueError, OverflowError):
            begin = datetime.strptime(text.upper().removesuffix("Z"), form).replace(tzinfo=UTC)
            end = begin + length if length <= timedelta(days=1) else (begin + length).replace(day=1)
            return _Quantity(begin.timestamp(), end.timestamp(), begin.timestamp(), end.timestamp())
    raise ValueError(
        "Write a date: 2026, 2026-11, 2026-11-01, 2026-11-01T12:00 (UTC), >2026-11-01 or 2026-11..2027-02."
    )


_READERS: dict[str, Callable[[str], _Quantity]] = {"": _number, "s": _duration, "date": _date}
