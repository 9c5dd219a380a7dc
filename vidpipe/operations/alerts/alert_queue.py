"""The alert queue: what waits to be sent through each channel, and how far Dagster's failures have been read.

It is one document in MongoDB, so that nothing is lost by a restart, a dead webhook or a mail outage. Nothing is sent
twice unless a process dies between sending and recording that.

    after           storage id of the last event of a failed run that was read
    told.<what>     time up to which failures were counted in the last alert about this failure rate
    told_budget     time of the last alert about the budget
    ways.<channel>  waiting   the first of the failed runs, high failure rates, a budget that is used up
                    jobs      job -> number of failed runs that wait, including those beyond `waiting`
                    sent_at, failures, next_try_at, last_error
    busy_until      a process is sending
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from vidpipe.library.runs import key_of
from vidpipe.library.schema import Document
from vidpipe.operations.alerts.message import BudgetReached, FailedRun, HighFailureRate

#: Number of failed runs kept in full for each channel; the others are counted.
_MAX_KEPT = 50
_SENDING_LIMIT_S = 90.0
#: At most one alert about the budget in this time, however often it frees up and is used up again.
_BUDGET_QUIET = timedelta(hours=24)
#: Waits after a failed delivery: doubling, in minutes.
_FIRST_WAIT_MINUTES, _MAX_WAIT_MINUTES = 1.0, 60.0


@dataclass
class PendingAlerts:
    """What waits to be sent through one channel.

    Attributes:
        runs: The first of the failed runs.
        jobs: Job -> number of failed runs.
        failures: Failed deliveries in a row.
    """

    runs: list[FailedRun] = field(default_factory=list)
    rates: list[HighFailureRate] = field(default_factory=list)
    budget: BudgetReached | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    sent_at: datetime | None = None
    next_try_at: datetime | None = None
    failures: int = 0
    last_error: str = ""

    def __bool__(self) -> bool:
        return bool(self.rates) or self.budget is not None or any(self.jobs.values())


class AlertQueue:
    """The queue of one Dagster history; two of them may share a library.

    Args:
        meta: The library's collection `meta`.
        history_id: Identifies the Dagster history.
    """

    def __init__(self, meta: Collection[Document], history_id: str) -> None:
        self._meta = meta
        self._id = f"alerts {history_id}"

    def last_event_id(self, newest: int) -> int:
        """Return the storage id of the last event that was read.

        Args:
            newest: Recorded and returned on the very first call: earlier failures are history.
        """
        document = self._meta.find_one({"_id": self._id}, {"after": 1}) or {}
        if "after" not in document and not self._update({"after": {"$exists": False}}, {"$set": {"after": newest}}):
            return self.last_event_id(newest)
        return int(document.get("after", newest))

    def add_runs(self, runs: Sequence[FailedRun], channels: Iterable[str], *, after: int, until: int) -> bool:
        """Queue failed runs and record that the events from `after` to `until` are read, in one step.

        Returns:
            False if another process has just read them.
        """
        change: Document = {"$set": {"after": until}}
        ways, jobs = [f"ways.{channel}" for channel in channels], Counter(key_of(run.job) for run in runs)
        if ways and runs:
            kept = {"$each": [run.model_dump() for run in runs], "$slice": _MAX_KEPT}
            change["$push"] = {f"{way}.waiting": kept for way in ways}
            change["$inc"] = {f"{way}.jobs.{job}": number for way in ways for job, number in jobs.items()}
        return self._meta.update_one({"_id": self._id, "after": after}, change).modified_count == 1

    def add_rate(self, rate: HighFailureRate, channels: Iterable[str], *, newest: datetime) -> bool:
        """Queue a high failure rate; it replaces an older one of the same stage.

        Args:
            rate: The failure rate.
            channels: Names of the channels.
            newest: End of the last run with a failure in it.

        Returns:
            False if there was no failure since the last alert about this rate.
        """
        sent = f"told.{key_of(rate.what)}"
        same = {"kind": "rate", "what": rate.what}
        return self._add_once({sent: newest}, {"$lt": newest}, rate, same, channels)

    def add_budget(self, reached: BudgetReached, channels: Iterable[str]) -> bool:
        """Queue that the budget is used up.

        Returns:
            False if that was queued less than a day ago.
        """
        long_ago = {"$lt": reached.at - _BUDGET_QUIET}
        return self._add_once({"told_budget": reached.at}, long_ago, reached, {"kind": "budget"}, channels)

    def _add_once(
        self, mark: Document, older: Document, event: BaseModel, same: dict[str, str], channels: Iterable[str]
    ) -> bool:
        """Set `mark` if its field is missing or `older`, and then put `event` first, in place of the `same` one."""
        (name,) = mark
        if not self._update({"$or": [{name: {"$exists": False}}, {name: older}]}, {"$set": mark}):
            return False
        entry = {**event.model_dump(), "id": " ".join(same.values())}
        for channel in channels:
            waiting = f"ways.{channel}.waiting"
            self._meta.update_one({"_id": self._id}, {"$pull": {waiting: same}})
            self._meta.update_one({"_id": self._id}, {"$push": {waiting: {"$each": [entry], "$position": 0}}})
        return True

    def drop_other_channels(self, channels: Iterable[str]) -> None:
        """Drop what waits for channels that are no longer configured."""
        others = self._channels().keys() - set(channels)
        if others:
            self._meta.update_one({"_id": self._id}, {"$unset": {f"ways.{channel}": "" for channel in others}})

    def waiting(self, channel: str) -> PendingAlerts:
        """Return what waits to be sent through a channel."""
        stored = self._channels().get(channel, {})
        pending = PendingAlerts(
            jobs={job: int(number) for job, number in stored.get("jobs", {}).items() if number > 0},
            **{name: stored[name] for name in ("sent_at", "next_try_at", "failures", "last_error") if name in stored},
        )
        for entry in stored.get("waiting", ()):
            if entry.get("kind") == "rate":
                pending.rates.append(HighFailureRate.model_validate(entry))
            elif entry.get("kind") == "budget":
                pending.budget = BudgetReached.model_validate(entry)
            else:
                pending.runs.append(FailedRun.model_validate(entry))
        return pending

    def mark_delivered(self, channel: str, sent: PendingAlerts, now: datetime) -> None:
        """Remove what was `sent`; what was queued meanwhile stays."""
        place = f"ways.{channel}"
        removed: list[Document] = [{"kind": "run", "id": {"$in": [run.id for run in sent.runs]}}]
        removed += [{"kind": "rate", "what": rate.what, "at": {"$lte": rate.at}} for rate in sent.rates]
        removed += [{"kind": "budget", "at": {"$lte": sent.budget.at}}] if sent.budget is not None else []
        change: Document = {
            "$set": {f"{place}.sent_at": now},
            "$unset": {f"{place}.{name}": "" for name in ("failures", "next_try_at", "last_error")},
            "$pull": {f"{place}.waiting": {"$or": removed}},
        }
        if sent.jobs:
            change["$inc"] = {f"{place}.jobs.{job}": -number for job, number in sent.jobs.items()}
        self._meta.update_one({"_id": self._id}, change)

    def schedule_retry(self, channel: str, error: str, now: datetime, retry_after_s: float | None) -> datetime:
        """Record a failed delivery.

        Returns:
            The time of the next attempt.
        """
        failures = self.waiting(channel).failures + 1
        wait_s = 60 * min(_FIRST_WAIT_MINUTES * 2.0 ** (failures - 1), _MAX_WAIT_MINUTES)
        next_try_at = now + timedelta(seconds=max(wait_s, min(retry_after_s or 0.0, 60 * _MAX_WAIT_MINUTES)))
        values = {"failures": failures, "next_try_at": next_try_at, "last_error": error}
        self._meta.update_one({"_id": self._id}, {"$set": {f"ways.{channel}.{name}": v for name, v in values.items()}})
        return next_try_at

    def acquire(self) -> bool:
        """Reserve the sending for this process for a while, unless another one is sending. End it with `release`."""
        now = datetime.now(UTC)
        free = {"$or": [{"busy_until": {"$exists": False}}, {"busy_until": {"$lt": now}}]}
        until = {"$set": {"busy_until": now + timedelta(seconds=_SENDING_LIMIT_S)}}
        return self._meta.update_one({"_id": self._id, **free}, until).modified_count == 1

    def release(self) -> None:
        """Let other processes send."""
        self._meta.update_one({"_id": self._id}, {"$unset": {"busy_until": ""}})

    def _update(self, condition: Document, change: Document) -> bool:
        """Change the document, creating it if needed. Returns whether it met the condition."""
        try:
            self._meta.update_one({"_id": self._id, **condition}, change, upsert=True)
        except DuplicateKeyError:  # it exists, but does not meet the condition
            return False
        return True

    def _channels(self) -> Mapping[str, Any]:
        stored: Mapping[str, Any] = (self._meta.find_one({"_id": self._id}, {"ways": 1}) or {}).get("ways", {})
        return stored
