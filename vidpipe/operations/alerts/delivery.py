"""Sends what waits in the alert queue, unless it is a quiet time, and reports an outage of the library itself."""

import logging
import socket
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel
from pymongo.collection import Collection

from vidpipe.errors import VidpipeError
from vidpipe.library.schema import Document
from vidpipe.operations.alerts.alert_queue import AlertQueue, PendingAlerts
from vidpipe.operations.alerts.channels import Channel, configured_channels, send_through
from vidpipe.operations.alerts.message import AlertMessage, BudgetReached, FailedRun, HighFailureRate, compose, one_line
from vidpipe.operations.services.state import read_json
from vidpipe.settings import Settings, audit
from vidpipe.settings.operation import Alerts

log = logging.getLogger(__name__)

_MAX_BATCHES = 5
#: A server that restarts, or elects a new primary, is not an outage.
_OUTAGE_AFTER_S = 120.0
#: Runs that began longer before the window of failure rates than this are ignored, even if they are still running.
_LONGEST_RUN = timedelta(days=7)


def quiet_until(alerts: Alerts, last_sent: datetime | None, now: datetime) -> datetime | None:
    """Return when the next alert may be sent; None if it may be sent now.

    Args:
        alerts: QuietMinutes after the last alert and QuietHours apply.
        last_sent: When the last alert was sent.
        now: Aware; QuietHours are in its time zone (local time).
    """
    ends = []
    if last_sent is not None and last_sent + timedelta(minutes=alerts.quiet_minutes) > now >= last_sent:
        ends.append(last_sent + timedelta(minutes=alerts.quiet_minutes))
    if alerts.quiet_hours:  # 22:00-07:00, across midnight or not
        begin, end = (time.fromisoformat(part) for part in alerts.quiet_hours.split("-"))
        at = now.time()
        inside = begin <= at < end if begin < end else (at >= begin or at < end)
        if inside and begin != end:
            day = now.date() + timedelta(days=1) if at >= end else now.date()
            ends.append(datetime.combine(day, end, now.tzinfo))
    return max(ends, default=None)


def queue_failed_runs(
    queue: AlertQueue, alerts: Alerts, newest: int, read: Callable[[int], tuple[list[FailedRun], int]]
) -> int:
    """Queue and log the runs that failed since the last call.

    Args:
        queue: The alert queue.
        alerts: Names the channels.
        newest: Storage id of the newest event of a failed run; where the very first call starts.
        read: Reads a batch of failed runs after a storage id; returns them and the storage id up to which it read.

    Returns:
        Their number.
    """
    channels = _names(alerts)
    after, number = queue.last_event_id(newest), 0
    for _ in range(_MAX_BATCHES):
        runs, until = read(after)
        if until == after or not queue.add_runs(runs, channels, after=after, until=until):
            break
        for run in runs:
            log.warning("alert: run %s of job %s failed: %s", run.id, run.job, " ".join(run.sentences[:2]))
            audit("run failed", run=run.id, job=run.job, failed_at=run.at.isoformat(), sentences=run.sentences[:5])
        number += len(runs)
        after = until
    return number


def queue_high_rates(queue: AlertQueue, alerts: Alerts, runs: Collection[Document]) -> list[HighFailureRate]:
    """Queue and log stages, and sources, of which more than FailureRate failed within RateWindow.

    A run counts as a whole if it wrote its figures last within the window: figures have no times of their own. Rates
    with fewer tries than RateMinimum are ignored, and those without a failure since the last alert about them.

    Returns:
        Those that were queued.
    """
    now = datetime.now(UTC)
    begin = now - timedelta(minutes=alerts.rate_window)
    failed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    newest: dict[str, datetime] = {}
    wanted = {"stages": 1, "sources": 1, "ended_at": 1, "updated_at": 1}
    for run in runs.find({"began_at": {"$gte": begin - _LONGEST_RUN}}, wanted):
        at = run.get("ended_at") or run.get("updated_at")
        if at is None or at < begin:
            continue
        stages, sources = run.get("stages") or {}, run.get("sources") or {}
        counts = [(stage, found.get("failed", 0), found.get("computed", 0)) for stage, found in stages.items()]
        not_added = sum(sources.get(state, 0) for state in ("failed", "refused", "gone"))
        counts.append(("sources", not_added, sources.get("stored", 0)))
        for what, bad, good in counts:
            failed[what] += int(bad)
            tried[what] += int(bad + good)
            if bad:
                newest[what] = max(newest.get(what, at), at)
    queued = []
    limits = {"minutes": alerts.rate_window, "limit": alerts.failure_rate}
    for what, at in newest.items():
        rate = HighFailureRate(what=what, failed=failed[what], tried=tried[what], at=now, **limits)
        is_high = rate.tried >= alerts.rate_minimum and rate.failed > rate.limit * rate.tried
        if is_high and queue.add_rate(rate, _names(alerts), newest=at):
            log.warning("alert: %s", rate.sentence())
            audit("failure rate", what=rate.what, failed=rate.failed, tried=rate.tried, minutes=rate.minutes)
            queued.append(rate)
    return queued


def queue_budget(queue: AlertQueue, alerts: Alerts, sentence: str) -> bool:
    """Queue and log that the budget is used up, once a day.

    Returns:
        Whether it was queued.
    """
    queued = queue.add_budget(BudgetReached(sentence=sentence, at=datetime.now(UTC)), _names(alerts))
    if queued:
        log.warning("alert: %s", sentence)
        audit("budget reached", sentence=sentence)
    return queued


def _names(alerts: Alerts) -> list[str]:
    return [channel.name for channel in configured_channels(alerts)]


def send_alerts(queue: AlertQueue, settings: Settings, now: datetime | None = None) -> list[str]:
    """Send what waits through each channel, in one message a channel, unless it is a quiet time.

    Args:
        queue: The alert queue.
        settings: Of the home.
        now: Aware, in local time.

    Returns:
        Sentences about what was done.
    """
    channels = configured_channels(settings.alerts)
    queue.drop_other_channels(channel.name for channel in channels)
    if not any(queue.waiting(channel.name) for channel in channels):
        return []
    if not queue.acquire():
        return ["Another process is sending alerts."]
    try:
        return _send(queue, channels, settings, now or datetime.now().astimezone())
    finally:
        queue.release()


def _send(queue: AlertQueue, channels: list[Channel], settings: Settings, now: datetime) -> list[str]:
    sentences: list[str] = []
    due: list[tuple[Channel, PendingAlerts, AlertMessage]] = []
    for channel in channels:
        waiting = queue.waiting(channel.name)
        quiet = quiet_until(settings.alerts, waiting.sent_at, now) if waiting else None
        if quiet is not None:
            sentences.append(f"No alerts by {channel.name} before {quiet.astimezone():%H:%M} (quiet time).")
        elif waiting and waiting.next_try_at is not None and waiting.next_try_at > now:
            sentences.append(f"{waiting.last_error} Next attempt at {waiting.next_try_at.astimezone():%H:%M}.")
        elif waiting:
            host, home = socket.gethostname(), str(settings.home)
            message = compose(waiting.runs, waiting.rates, waiting.jobs, host=host, home=home, budget=waiting.budget)
            due.append((channel, waiting, message))
    results = send_through([(channel, message) for channel, _, message in due])
    for channel, waiting, message in due:
        name, error = channel.name, results[channel.name]
        if error is None or error.delivered:
            queue.mark_delivered(name, waiting, now.astimezone(UTC))
            audit("alert sent", way=name, runs=message.fields["failed_runs"], rates=len(waiting.rates))
            sentences.append(f"Sent by {name}.")
        if error is not None:
            if not error.delivered:
                queue.schedule_retry(name, str(error), now.astimezone(UTC), error.retry_after_s)
            log.warning("alert: %s", error)
            audit("alert not sent", way=name, error=str(error))
            sentences.append(str(error))
    return sentences


class _Outage(BaseModel):
    """The contents of a small file in data/run: since when the library is unreachable, and the last alert."""

    since: AwareDatetime
    told_at: AwareDatetime | None = None


def report_outage(settings: Settings, error: VidpipeError, now: datetime | None = None) -> list[str]:
    """Send an alert if the library, which holds the alert queue, has been unreachable for a while.

    Args:
        settings: Of the home.
        error: Why the library is unreachable.
        now: Aware, in local time.

    Returns:
        Sentences about what was done.
    """
    now = now or datetime.now().astimezone()
    outage = read_json(_outage_file(settings), _Outage) or _Outage(since=now)
    since = outage.since.astimezone()
    quiet = quiet_until(settings.alerts, outage.told_at, now)
    channels = configured_channels(settings.alerts)
    if (now - since).total_seconds() < _OUTAGE_AFTER_S or quiet is not None or not channels:
        _write_outage(settings, outage)
        return [str(error)]
    host, reason = socket.gethostname(), one_line(str(error), 600)
    title = one_line(f"vidpipe on {host}: the library is unreachable", 150)
    text = (
        f"{title}\n\nNothing can be processed since {since:%Y-%m-%d %H:%M}: {reason}\n\n"
        f"Failed runs are reported when it is back. For details, run `vidpipe doctor` (home {settings.home})"
    )
    fields = {"host": host, "outage": reason, "since": since.isoformat()}
    message = AlertMessage(title=title, text=text, fields=fields)
    results = send_through([(channel, message) for channel in channels])
    outage.told_at = now  # even if it failed: the next attempt follows after the quiet time
    _write_outage(settings, outage)
    log.warning("alert: the library is unreachable: %s", error)
    audit("library out of reach", error=str(error), told=[name for name, failure in results.items() if failure is None])
    return [str(error), *(str(failure) if failure else f"Sent by {name}." for name, failure in results.items())]


def end_outage(settings: Settings) -> None:
    """Record that the library is reachable."""
    _outage_file(settings).unlink(missing_ok=True)


def _outage_file(settings: Settings) -> Path:
    return settings.data_directory / "run" / "alert-outage.json"


def _write_outage(settings: Settings, outage: _Outage) -> None:
    file = _outage_file(settings)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(outage.model_dump_json(exclude_none=True), encoding="utf-8")
    except OSError as error:  # a full disk may be the cause of the outage
        log.warning("the quiet time of alerts cannot be saved: %s", error)
