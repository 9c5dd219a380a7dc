"""Quiet after an alert, and at night."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from vidpipe.operations.alerts.delivery import quiet_until
from vidpipe.settings.operation import Alerts

ZONE = ZoneInfo("Europe/Berlin")


def at(hour: int, minute: int = 0, day: int = 21) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=ZONE)


def test_after_an_alert_the_next_waits() -> None:
    alerts = Alerts(quiet_minutes=30)
    assert quiet_until(alerts, None, at(12)) is None
    assert quiet_until(alerts, at(11, 45), at(12)) == at(12, 15)
    assert quiet_until(alerts, at(11, 30), at(12)) is None
    assert quiet_until(Alerts(quiet_minutes=0), at(12), at(12)) is None


def test_a_clock_that_was_set_back_does_not_silence_for_long() -> None:
    assert quiet_until(Alerts(quiet_minutes=30), at(12, day=25), at(12)) is None


@pytest.mark.parametrize(
    ("span", "now", "end"),
    [
        ("22:00-07:00", at(23), at(7, day=22)),
        ("22:00-07:00", at(3), at(7)),
        ("22:00-07:00", at(7), None),
        ("22:00-07:00", at(21, 59), None),
        ("12:00-13:30", at(13, 29), at(13, 30)),
        ("12:00-13:30", at(11), None),
        ("08:00-08:00", at(8), None),
        ("", at(3), None),
    ],
)
def test_in_quiet_hours_nothing_is_sent(span: str, now: datetime, end: datetime | None) -> None:
    assert quiet_until(Alerts(quiet_hours=span), None, now) == end


def test_the_later_of_both_ends_counts() -> None:
    alerts = Alerts(quiet_hours="22:00-07:00", quiet_minutes=600)
    assert quiet_until(alerts, at(23), at(23) + timedelta(hours=1)) == at(9, day=22)
