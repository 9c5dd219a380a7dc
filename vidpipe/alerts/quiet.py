"""When nothing is sent: for a while after an alert, and in the hours that people sleep."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from vidpipe.settings.operation import Alerts


def quiet_until(alerts: Alerts, last_sent: datetime | None, now: datetime) -> datetime | None:
    """The time until which no alert is sent; None where one may be sent now.

    now: aware; quiet hours are meant in its zone (local time).
    """
    ends = []
    if last_sent is not None and last_sent + timedelta(minutes=alerts.quiet_minutes) > now >= last_sent:
        ends.append(last_sent + timedelta(minutes=alerts.quiet_minutes))
    hours = _end_of_hours(alerts.quiet_hours, now)
    if hours is not None:
        ends.append(hours)
    return max(ends, default=None)


def _end_of_hours(span: str, now: datetime) -> datetime | None:
    """The end of the quiet hours that `now` lies in. span: 22:00-07:00, over midnight or not; empty: none."""
    if not span:
        return None
    begin, end = (time.fromisoformat(part) for part in span.split("-"))
    at = now.time()
    inside = begin <= at < end if begin < end else (at >= begin or at < end)
    if not inside or begin == end:
        return None
    day = now.date() + timedelta(days=1) if at >= end else now.date()
    return datetime.combine(day, end, now.tzinfo)
