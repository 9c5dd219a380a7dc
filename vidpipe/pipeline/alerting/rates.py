"""Shares of videos and sources that failed in the last while, from the figures of each run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo.collection import Collection

from vidpipe.alerts.message import HighRate
from vidpipe.library.schema import Document
from vidpipe.settings.operation import Alerts

#: Runs that began longer ago than this before the window are not looked for; one that is still at work has figures.
_LONGEST_RUN = timedelta(days=7)


@dataclass
class _Count:
    failed: int = 0
    tried: int = 0
    newest: datetime | None = None

    def add(self, failed: int, good: int, at: datetime) -> None:
        self.failed += failed
        self.tried += failed + good
        if failed:
            self.newest = at if self.newest is None else max(self.newest, at)


def high_rates(runs: Collection[Document], alerts: Alerts, now: datetime) -> list[tuple[HighRate, datetime]]:
    """(rate, when the last run that added a failure to it was heard of) of each stage, and of the sources, of which
    more than FailureRate failed within RateWindow, at RateMinimum tries or more.

    A run counts as a whole, where it wrote its figures last within the window: figures have no times of their own.
    """
    begin = now - timedelta(minutes=alerts.rate_window)
    query = {"began_at": {"$gte": begin - _LONGEST_RUN}}
    wanted = {"stages": 1, "sources": 1, "ended_at": 1, "updated_at": 1}
    return list(_too_high(runs.find(query, wanted), alerts, begin, now))


def _too_high(
    documents: Iterable[Mapping[str, Any]], alerts: Alerts, begin: datetime, now: datetime
) -> Iterator[tuple[HighRate, datetime]]:
    counts: dict[str, _Count] = {}
    for run in documents:
        at = run.get("ended_at") or run.get("updated_at")
        if at is None or at < begin:
            continue
        for stage, figures in (run.get("stages") or {}).items():
            count = counts.setdefault(stage, _Count())
            count.add(int(figures.get("failed", 0)), int(figures.get("computed", 0)), at)
        sources = run.get("sources") or {}
        failed = int(sources.get("failed", 0)) + int(sources.get("refused", 0))
        counts.setdefault("sources", _Count()).add(failed, int(sources.get("stored", 0)), at)
    for what, count in counts.items():
        if count.newest is None or count.tried < alerts.rate_minimum:
            continue
        if count.failed > alerts.failure_rate * count.tried:
            yield HighRate(
                what=what, failed=count.failed, tried=count.tried, minutes=alerts.rate_window,
                limit=alerts.failure_rate, at=now,
            ), count.newest  # fmt: skip
