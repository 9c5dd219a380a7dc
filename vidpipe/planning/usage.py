"""What the describing model was used for lately, by whomever: from the figures of runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection

from vidpipe.library.schema import Document
from vidpipe.planning.amounts import Prices

WINDOW = timedelta(hours=24)
#: Runs that began longer ago than this before the window are not looked for.
_LONGEST_RUN = timedelta(days=7)


@dataclass(frozen=True)
class Used:
    """seconds: of the model's time; cost: by the prices of today, 0 without any"""

    seconds: float = 0.0
    cost: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True)
class Span:
    """What one run used, evenly from its beginning to its end or last figures."""

    began: datetime
    ended: datetime
    used: Used

    def within(self, begin: datetime, end: datetime) -> float:
        """The share of it that lies between two moments."""
        length = (self.ended - self.began).total_seconds()
        if length <= 0:
            return 1.0 if begin <= self.ended <= end else 0.0
        covered = (min(self.ended, end) - max(self.began, begin)).total_seconds()
        return max(0.0, covered / length)


def spans(runs: Collection[Document], prices: Prices, now: datetime | None = None) -> list[Span]:
    """The runs that asked the model within the last 24 hours."""
    begin = (now or datetime.now(UTC)) - WINDOW
    found = runs.find({"began_at": {"$gte": begin - _LONGEST_RUN}}, {"stages": 1, "began_at": 1, "updated_at": 1})
    return list(_spans(found, prices, begin))


def _spans(runs: Iterable[Mapping[str, Any]], prices: Prices, begin: datetime) -> Iterator[Span]:
    for run in runs:
        ended = run.get("updated_at") or run["began_at"]
        stages = [figures for figures in (run.get("stages") or {}).values() if figures.get("model_seconds")]
        if not stages or ended < begin:
            continue
        seconds, read, written = (
            float(sum(figures.get(name, 0) for figures in stages))
            for name in ("model_seconds", "prompt_tokens", "output_tokens")
        )
        yield Span(run["began_at"], ended, Used(seconds, prices.cost(read, written, seconds) or 0.0, read, written))


def used(spans: Sequence[Span], now: datetime | None = None) -> Used:
    """What was used within the 24 hours before `now`."""
    now = now or datetime.now(UTC)
    shares = [(span.within(now - WINDOW, now), span.used) for span in spans]
    return Used(
        seconds=sum(share * used.seconds for share, used in shares),
        cost=sum(share * used.cost for share, used in shares),
        prompt_tokens=sum(share * used.prompt_tokens for share, used in shares),
        output_tokens=sum(share * used.output_tokens for share, used in shares),
    )
