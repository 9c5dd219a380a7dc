"""Sends what waits, where it is not quiet; keeps what could not be delivered."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from vidpipe.alerts.message import BudgetReached, FailedRun, HighRate, Message, compose
from vidpipe.alerts.quiet import quiet_until
from vidpipe.alerts.ways import Way, send_by_all, ways_of
from vidpipe.library.library import Library
from vidpipe.pipeline.alerting.failures import failed_runs, newest_event
from vidpipe.pipeline.alerting.page import run_addresses
from vidpipe.pipeline.alerting.rates import high_rates
from vidpipe.pipeline.alerting.state import AlertState, Waiting
from vidpipe.settings import Settings, audit

log = logging.getLogger(__name__)

_MOST_BATCHES = 5


def state_of(instance: dg.DagsterInstance, library: Library) -> AlertState:
    storage = instance.run_storage
    owner = storage.get_run_storage_id() if isinstance(storage, SqlRunStorage) else "dagster"
    return AlertState(library.collections["meta"], owner)


def take_in_failures(instance: dg.DagsterInstance, library: Library, settings: Settings) -> int:
    """Reads which runs have failed since the last look, writes a log line about each, and has them wait for being
    told. Gives their number."""
    state, ways = state_of(instance, library), [way.name for way in ways_of(settings.alerts)]
    address = run_addresses(settings)
    newest = newest_event(instance)
    after = state.after(newest)
    number = 0
    for _ in range(_MOST_BATCHES):
        runs, until = failed_runs(instance, after, address)
        if until == after:
            break
        if not state.add_runs(runs, ways, after=after, until=until):
            break
        for run in runs:
            _log_run(run)
        number += len(runs)
        after = until
    return number


def take_in_rates(instance: dg.DagsterInstance, library: Library, settings: Settings) -> list[HighRate]:
    """Has rates of failure that are too high wait for being told; those in which nothing has failed since they were
    told last are not told again. Gives the new ones."""
    state, ways = state_of(instance, library), [way.name for way in ways_of(settings.alerts)]
    state.after(newest_event(instance))
    found = []
    for rate, newest in high_rates(library.collections["runs"], settings.alerts, datetime.now(UTC)):
        if state.add_rate(rate, ways, newest=newest):
            log.warning("alert: %s", rate.sentence())
            audit("failure rate", what=rate.what, failed=rate.failed, tried=rate.tried, minutes=rate.minutes)
            found.append(rate)
    return found


def take_in_budget(instance: dg.DagsterInstance, library: Library, settings: Settings, sentence: str) -> bool:
    """Has it wait for being told that the budget is reached; once a day. Gives whether it was news."""
    state, ways = state_of(instance, library), [way.name for way in ways_of(settings.alerts)]
    state.after(newest_event(instance))
    news = state.add_budget(BudgetReached(sentence=sentence, at=datetime.now(UTC)), ways)
    if news:
        log.warning("alert: %s", sentence)
        audit("budget reached", sentence=sentence)
    return news


def tell(instance: dg.DagsterInstance, library: Library, settings: Settings, now: datetime | None = None) -> list[str]:
    """Sends what waits, by each way that is not quiet; one message of everything a way. Gives sentences on it.

    now: aware, in local time
    """
    state = state_of(instance, library)
    ways = ways_of(settings.alerts)
    state.forget_other_ways(way.name for way in ways)
    if not any(state.waiting(way.name) for way in ways):
        return []
    if not state.take_turn():
        return ["Somebody else is sending."]
    try:
        return _tell(state, ways, settings, now or datetime.now().astimezone())
    finally:
        state.end_turn()


def _tell(state: AlertState, ways: Sequence[Way], settings: Settings, now: datetime) -> list[str]:
    said: list[str] = []
    due: list[tuple[Way, Waiting, Message]] = []
    for way in ways:
        waiting = state.waiting(way.name)
        quiet = quiet_until(settings.alerts, waiting.sent_at, now) if waiting else None
        if quiet is not None:
            said.append(f"By {way.name} quiet until {quiet.astimezone():%H:%M}; what waits is told then.")
        elif waiting and waiting.next_try_at is not None and waiting.next_try_at > now:
            said.append(f"{waiting.last_error} Next try at {waiting.next_try_at.astimezone():%H:%M}.")
        elif waiting:
            message = compose(
                waiting.runs, waiting.rates, waiting.jobs,
                host=socket.gethostname(), home=str(settings.home), budget=waiting.budget,
            )  # fmt: skip
            due.append((way, waiting, message))
    results = send_by_all([(way, message) for way, _, message in due])
    for way, waiting, message in due:
        error = results[way.name]
        if error is None or error.delivered:
            state.delivered(way.name, waiting, now.astimezone(UTC))
            audit("alert sent", way=way.name, runs=message.fields["failed_runs"], rates=len(waiting.rates))
            said.append(f"Told by {way.name}.")
        if error is not None:
            if not error.delivered:
                state.not_delivered(way.name, str(error), now.astimezone(UTC), error.after_s)
            log.warning("alert: %s", error)
            audit("alert not sent", way=way.name, error=str(error))
            said.append(str(error))
    return said


def _log_run(run: FailedRun) -> None:
    log.warning("alert: run %s of job %s failed: %s", run.id, run.job, " ".join(run.sentences[:2]))
    audit("run failed", run=run.id, job=run.job, failed_at=run.at.isoformat(), sentences=run.sentences[:5])
