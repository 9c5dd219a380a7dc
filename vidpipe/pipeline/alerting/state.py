"""What waits to be told, by each way, and how far Dagster's failures have been read: one document in MongoDB.

So nothing is lost by a restart, a dead webhook or an outage of mail, and nothing is told twice but where a process dies
between sending and noting it.

    after           number of the last event of a failed run that was read
    told.<what>     until when failures were counted in the rate that was told last
    told_budget     when it was last taken in that the budget is reached
    ways.<way>      waiting   the first of the failed runs, high rates, a budget that is reached
                    jobs      job -> number of failed runs that wait, those beyond `waiting` too
                    sent_at, failures, next_try_at, last_error
    busy_until      somebody is sending
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from vidpipe.alerts.message import BudgetReached, FailedRun, HighRate
from vidpipe.library.schema import Document

#: So many failed runs are kept for each way in full; the others are counted.
_MOST_KEPT = 50
_BUSY_S = 90.0
#: A budget that is reached is told once in this time, however often it frees up and is reached again.
_BUDGET_QUIET = timedelta(hours=24)
#: Waits after a failed delivery: doubling, in minutes.
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0


@dataclass
class Waiting:
    """What one way has to tell. jobs: job -> number of failed runs"""

    runs: list[FailedRun] = field(default_factory=list)
    rates: list[HighRate] = field(default_factory=list)
    budget: BudgetReached | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    sent_at: datetime | None = None
    next_try_at: datetime | None = None
    failures: int = 0
    last_error: str = ""

    def __bool__(self) -> bool:
        return bool(self.rates) or self.budget is not None or any(self.jobs.values())


class AlertState:
    """meta: the library's collection `meta`; owner: names one Dagster history, since two may share a library"""

    def __init__(self, meta: Collection[Document], owner: str) -> None:
        self._meta = meta
        self._id = f"alerts {owner}"

    def after(self, newest: int) -> int:
        """The number of the last event that was read. At the very first call `newest`: what was before is history."""
        document = self._meta.find_one({"_id": self._id}, {"after": 1})
        if document is not None and "after" in document:
            return int(document["after"])
        try:
            self._meta.update_one({"_id": self._id, "after": {"$exists": False}}, {"$set": {"after": newest}}, True)
        except DuplicateKeyError:  # another process was quicker
            return self.after(newest)
        return newest

    def add_runs(self, runs: Sequence[FailedRun], ways: Iterable[str], *, after: int, until: int) -> bool:
        """Takes failed runs in for all `ways`, and notes that events from `after` to `until` are read, in one step.
        False where another process has just read them."""
        change: Document = {"$set": {"after": until}}
        kept = [run.model_dump() for run in runs]
        for way in ways if runs else ():
            change.setdefault("$push", {})[f"ways.{way}.waiting"] = {"$each": kept, "$slice": _MOST_KEPT}
            for run in runs:
                place = f"ways.{way}.jobs.{_key(run.job)}"
                change.setdefault("$inc", {}).setdefault(place, 0)
                change["$inc"][place] += 1
        return self._meta.update_one({"_id": self._id, "after": after}, change).modified_count == 1

    def add_rate(self, rate: HighRate, ways: Iterable[str], *, newest: datetime) -> bool:
        """Takes a high rate in; it takes the place of an older one of the same. newest: end of the last run in which
        something of it failed. False where just that was taken in before."""
        told = f"told.{_key(rate.what)}"
        fresh = {"$or": [{told: {"$exists": False}}, {told: {"$lt": newest}}]}
        if not self._meta.update_one({"_id": self._id, **fresh}, {"$set": {told: newest}}).modified_count:
            return False
        self._put_first({**rate.model_dump(), "id": rate.id}, {"kind": "rate", "what": rate.what}, ways)
        return True

    def add_budget(self, reached: BudgetReached, ways: Iterable[str]) -> bool:
        """Takes in that the budget is reached. False where that was taken in less than a day ago."""
        long_ago = {"$or": [{"told_budget": {"$exists": False}}, {"told_budget": {"$lt": reached.at - _BUDGET_QUIET}}]}
        noted = {"$set": {"told_budget": reached.at}}
        if not self._meta.update_one({"_id": self._id, **long_ago}, noted).modified_count:
            return False
        self._put_first({**reached.model_dump(), "id": reached.id}, {"kind": "budget"}, ways)
        return True

    def _put_first(self, entry: Document, same: Document, ways: Iterable[str]) -> None:
        """`entry` waits for all `ways`, in the place of what is the `same`."""
        for way in ways:
            waiting = f"ways.{way}.waiting"
            self._meta.update_one({"_id": self._id}, {"$pull": {waiting: same}})
            self._meta.update_one({"_id": self._id}, {"$push": {waiting: {"$each": [entry], "$position": 0}}})

    def forget_other_ways(self, ways: Iterable[str]) -> None:
        """Drops what waits for ways that are not configured any more."""
        known = set(ways)
        others = [way for way in self._ways() if way not in known]
        if others:
            self._meta.update_one({"_id": self._id}, {"$unset": {f"ways.{way}": "" for way in others}})

    def waiting(self, way: str) -> Waiting:
        """What is to be told by `way`."""
        stored = self._ways().get(way, {})
        found = Waiting(
            jobs={job: int(number) for job, number in stored.get("jobs", {}).items() if number > 0},
            sent_at=stored.get("sent_at"), next_try_at=stored.get("next_try_at"),
            failures=stored.get("failures", 0), last_error=stored.get("last_error", ""),
        )  # fmt: skip
        for entry in stored.get("waiting", ()):
            if entry.get("kind") == "rate":
                found.rates.append(HighRate.model_validate(entry))
            elif entry.get("kind") == "budget":
                found.budget = BudgetReached.model_validate(entry)
            else:
                found.runs.append(FailedRun.model_validate(entry))
        return found

    def delivered(self, way: str, told: Waiting, now: datetime) -> None:
        """`told` has arrived; what came in meanwhile stays."""
        place = f"ways.{way}"
        change: Document = {
            "$set": {f"{place}.sent_at": now},
            "$unset": {f"{place}.{name}": "" for name in ("failures", "next_try_at", "last_error")},
            "$pull": {f"{place}.waiting": {"$or": [
                {"kind": "run", "id": {"$in": [run.id for run in told.runs]}},
                {"kind": "rate", "$or": [{"what": rate.what, "at": {"$lte": rate.at}} for rate in told.rates]
                 or [{"what": None}]},
                {"kind": "budget", "at": {"$lte": told.budget.at if told.budget else datetime.min}},
            ]}},
        }  # fmt: skip
        if told.jobs:
            change["$inc"] = {f"{place}.jobs.{job}": -number for job, number in told.jobs.items()}
        self._meta.update_one({"_id": self._id}, change)

    def not_delivered(self, way: str, error: str, now: datetime, after_s: float | None) -> datetime:
        """It did not arrive, and is tried again at the time that is given back."""
        failures = self.waiting(way).failures + 1
        minutes = min(_FIRST_WAIT * 2.0 ** (failures - 1), _LONGEST_WAIT)
        next_try_at = now + timedelta(seconds=max(60 * minutes, min(after_s or 0.0, 60 * _LONGEST_WAIT)))
        values = {"failures": failures, "next_try_at": next_try_at, "last_error": error}
        self._meta.update_one({"_id": self._id}, {"$set": {f"ways.{way}.{name}": v for name, v in values.items()}})
        return next_try_at

    def take_turn(self) -> bool:
        """Whether nobody else is sending; for some time it is this process then. End it with `end_turn`."""
        now = datetime.now(UTC)
        free = {"$or": [{"busy_until": {"$exists": False}}, {"busy_until": {"$lt": now}}]}
        until = {"$set": {"busy_until": now + timedelta(seconds=_BUSY_S)}}
        return self._meta.update_one({"_id": self._id, **free}, until).modified_count == 1

    def end_turn(self) -> None:
        self._meta.update_one({"_id": self._id}, {"$unset": {"busy_until": ""}})

    def _ways(self) -> Mapping[str, Any]:
        stored: Mapping[str, Any] = (self._meta.find_one({"_id": self._id}, {"ways": 1}) or {}).get("ways", {})
        return stored


def _key(name: str) -> str:
    """`name` as the key of a document."""
    return name.replace(".", "_").replace("$", "_") or "_"
