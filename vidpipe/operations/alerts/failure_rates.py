"""Failure rates of stages and sources within a time window, from the figures of each run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from pymongo.collection import Collection

from vidpipe.library.schema import Document
from vidpipe.operations.alerts.message import HighFailureRate
from vidpipe.settings.operation import Alerts

#: Runs that began longer before the window than this are ignored, even if they are still running.
_LONGEST_RUN = timedelta(days=7)


def high_failure_rates(
    runs: Collection[Document], alerts: Alerts, now: datetime
) -> Iterator[tuple[HighFailureRate, datetime]]:
    """Find the stages, and the sources, of which more than FailureRate failed within RateWindow.

    A run counts as a whole if it wrote its figures last within the window: figures have no times of their own. Rates
    with fewer tries than RateMinimum are ignored.

    Yields:
        The rate, and when the last run that added a failure to it wrote its figures.
    """
    begin = now - timedelta(minutes=alerts.rate_window)
    failed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    newest: dict[str, datetime] = {}
    wanted = {"stages": 1, "sources": 1, "ended_at": 1, "updated_at": 1}
    for run in runs.find({"began_at": {"$gte": begin - _LONGEST_RUN}}, wanted):
        at = run.get("ended_at") or run.get("updated_at")
        if at is None or at < begin:
            continue
        counts = {
            stage: (int(figures.get("failed", 0)), int(figures.get("computed", 0)))
            for stage, figures in (run.get("stages") or {}).items()
        }
        sources = run.get("sources") or {}
        rejected = int(sources.get("failed", 0)) + int(sources.get("refused", 0))
        counts["sources"] = (rejected, int(sources.get("stored", 0)))
        for what, (bad, good) in counts.items():
            failed[what] += bad
            tried[what] += bad + good
            if bad:
                newest[what] = max(newest.get(what, at), at)
    for what, at in newest.items():
        if tried[what] >= alerts.rate_minimum and failed[what] > alerts.failure_rate * tried[what]:
            rate = HighFailureRate(
                what=what,
                failed=failed[what],
                tried=tried[what],
                minutes=alerts.rate_window,
                limit=alerts.failure_rate,
                at=now,
            )
            yield rate, at
