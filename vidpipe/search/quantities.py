"""Numbers, durations and dates as they are written in a query: `>60`, `1:30..2m`, `2026-11`."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from vidpipe.search.query import Between
from vidpipe.stages.search_fields import SearchField

_COMPARED = re.compile(r"(>=|<=|>|<)(.*)", re.DOTALL)
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,9})?")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-5][0-9](?:\.[0-9]{1,9})?)")
_DECIMAL = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_UNITS = re.compile(rf"(?:({_DECIMAL})h)?(?:({_DECIMAL})m(?:in)?)?(?:({_DECIMAL})s)?", re.IGNORECASE)
_DATE = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?Z?)?)?)?", re.IGNORECASE
)


class _Quantity(NamedTuple):
    """What was written: everything from `low` up to, not including, `high` is the same as written.

    Of a date, comparisons are with its begin and end; of a number, with `exact`.
    """

    low: float
    high: float
    exact: float | None = None


def between(field: SearchField, text: str) -> Between:
    """Return the condition that `text` states on a field of kind number.

    Args:
        field: The field; its unit decides how values are written.
        text: A value, a comparison (`>60`) or a range with its ends (`1..5`), one of which may be missing.

    Raises:
        ValueError: It states none; the text says what is allowed.
    """
    read = _READERS[field.unit]
    if compared := _COMPARED.fullmatch(text):
        operator, value = compared[1], read(compared[2].strip())
        if operator in (">", ">="):
            if value.exact is None:
                return Between(field.name, low=value.low if operator == ">=" else value.high)
            return Between(field.name, low=value.exact, with_low=operator == ">=")
        if value.exact is None:
            return Between(field.name, high=value.high if operator == "<=" else value.low, with_high=False)
        return Between(field.name, high=value.exact, with_high=operator == "<=")
    first, dots, last = (part.strip() for part in text.partition(".."))
    if not dots:
        value = read(text.strip())
        return Between(field.name, value.low, value.high, with_high=False)
    if not first and not last:
        raise ValueError("A range needs a value: 1..5, 1.. or ..5.")
    low = between(field, f">={first}") if first else Between(field.name)
    high = between(field, f"<={last}") if last else Between(field.name)
    if low.low is not None and high.high is not None and low.low > high.high:
        raise ValueError(f"The range ends before it begins: write {last}..{first}.")
    return Between(field.name, low.low, high.high, with_high=high.with_high)


def _number(text: str) -> _Quantity:
    if not _NUMBER.fullmatch(text):
        raise ValueError("Write a number: 30, 29.97, >24, <=60 or 24..30.")
    return _rounded(Decimal(text), text)


def _duration(text: str) -> _Quantity:
    """Parse seconds, a clock's time or units; `2m` means the minutes and 2:00 the seconds."""
    if _NUMBER.fullmatch(text):
        return _rounded(Decimal(text), text)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups(default="0")
        if not clock[1] or int(minutes) < 60:
            return _rounded(int(hours) * 3600 + int(minutes) * 60 + Decimal(seconds), seconds)
    units = _UNITS.fullmatch(text)
    written = (
        [(part, unit_s) for part, unit_s in zip(units.groups(), (3600, 60, 1), strict=True) if part] if units else []
    )
    if not written:
        raise ValueError("Write a duration: 90 (seconds), 1:30, 1:02:03, 2m, 1h30m, >60 or 1m..5m.")
    last, last_unit_s = written[-1]
    return _rounded(sum((Decimal(part) * unit_s for part, unit_s in written), Decimal()), last, last_unit_s)


def _rounded(value: Decimal, digits: str, unit: int = 1) -> _Quantity:
    """Return everything that is rounded to `value`, whose last part was written as `digits`, in `unit`."""
    half = unit * Decimal("0.5") / 10 ** len(digits.partition(".")[2])
    return _Quantity(float(value - half), float(value + half), float(value))


def _date(text: str) -> _Quantity:
    try:
        found = _DATE.fullmatch(text)
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(part) if part else None for part in found.groups())
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=UTC)
        if month is None:
            end = start.replace(year=start.year + 1)
        elif day is None:
            end = (start + timedelta(days=31)).replace(day=1)
        elif minute is None:
            end = start + timedelta(days=1)
        else:
            end = start + (timedelta(minutes=1) if second is None else timedelta(seconds=1))
    except (ValueError, OverflowError):
        raise ValueError(
            "Write a date: 2026, 2026-11, 2026-11-01, 2026-11-01T12:00 (UTC), >2026-11-01 or 2026-11..2027-02."
        ) from None
    return _Quantity(start.timestamp(), end.timestamp())


_READERS: dict[str, Callable[[str], _Quantity]] = {"": _number, "s": _duration, "date": _date}
