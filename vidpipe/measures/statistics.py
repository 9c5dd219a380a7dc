"""What the library and its runs tell when one looks back: times, hit rates, failures, growth.

Times of stages and growth are read from the videos (the last result of each), one pass over all, in memory that holds
a number per result; hit rates and throughput from the figures of runs.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from vidpipe.library.library import Library
from vidpipe.library.runs import ModelUse, Runs, model_figures, status_of
from vidpipe.library.schema import Document
from vidpipe.runner.plan import Plan

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class StageStatistics:
    """One stage.

    videos, median_s, p95_s, longest_s, total_s, speed:
                     of the results and failures in force that were made in the span; speed is seconds of video per
                     second (None: no video's length is known)
    computed, current, failed:
                     of the runs in the span; failed are tries
    failing:         videos that are failed or quarantined now
    """

    stage: str
    videos: int = 0
    median_s: float = 0.0
    p95_s: float = 0.0
    longest_s: float = 0.0
    total_s: float = 0.0
    speed: float | None = None
    computed: int = 0
    current: int = 0
    failed: int = 0
    failing: int = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of what runs looked at that needed no work."""
        return share(self.current, self.computed + self.failed)

    @property
    def failure_rate(self) -> float | None:
        """Share of the tries that failed."""
        return share(self.failed, self.computed)


@dataclass(frozen=True)
class SlowVideo:
    """seconds_per_minute: of work per minute of video (None: its length is not known)"""

    sha256: str
    name: str
    seconds: float
    duration_s: float | None
    stages: Mapping[str, float]

    @property
    def seconds_per_minute(self) -> float | None:
        return self.seconds / self.duration_s * 60 if self.duration_s else None


@dataclass
class Day:
    """What came in, and what runs did, on one day of local time. A run belongs to the day on which it began."""

    day: date
    videos: int = 0
    footage_s: float = 0.0
    size_bytes: int = 0
    runs: int = 0
    computed: int = 0
    current: int = 0
    failed: int = 0
    seconds: float = 0.0
    bytes_in: int = 0

    @property
    def hit_rate(self) -> float | None:
        return share(self.current, self.computed + self.failed)


@dataclass
class Statistics:
    """
    since:   beginning of the span; None: all there is
    videos, footage_s, size_bytes: of the library as it is, whatever the span
    days:    those on which something was, in order
    runs:    how they ended -> number
    busy_s:  time within which at least one run was at work
    model_use, models: what the describing models did in the runs, and their names
    """

    since: datetime | None
    until: datetime
    videos: int = 0
    footage_s: float = 0.0
    size_bytes: int = 0
    stages: list[StageStatistics] = field(default_factory=list)
    slowest: list[SlowVideo] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    busy_s: float = 0.0
    stage_seconds: float = 0.0
    results: int = 0
    bytes_in: int = 0
    model_use: ModelUse = field(default_factory=ModelUse)
    models: list[str] = field(default_factory=list)

    @property
    def results_per_hour(self) -> float | None:
        """Results computed per hour of work."""
        return self.results / self.busy_s * 3600 if self.busy_s else None


def share(part: float, rest: float) -> float | None:
    """part / (part + rest); None for nothing of nothing."""
    return part / (part + rest) if part + rest else None


def gather(library: Library, plan: Plan, since: datetime | None = None, slowest: int = 10) -> Statistics:
    """The statistics since a moment (None: all). slowest: how many of the slowest videos are named."""
    statistics = Statistics(since, datetime.now(UTC))
    days: defaultdict[date, Day] = defaultdict(lambda: Day(date.min))
    times = _Times(library.graph.names, since or _EARLIEST, slowest)
    for row in _rows(library):
        _add_growth(statistics, days, row, since or _EARLIEST)
        times.add(row)
    done: dict[str, Counter[str]] = {name: Counter() for name in library.graph.names}
    _add_runs(statistics, days, done, Runs(library.collections["runs"]).since(since))
    states = library.states.counts(plan.specs)
    statistics.stages = [times.stage(name, done[name], states.get(name, {})) for name in library.graph.names]
    statistics.slowest = times.slowest()
    for when, day in days.items():
        day.day = when
    statistics.days = [days[when] for when in sorted(days)]
    return statistics


def _rows(library: Library) -> Iterator[Document]:
    wanted: Document = {
        "added_at": 1, "ingest.size_bytes": 1, "ingest.names": {"$slice": 1}, "metadata.duration_s": 1,
    }  # fmt: skip
    for name in library.graph.names:
        wanted |= {f"stages.{name}.seconds": 1, f"stages.{name}.at": 1}
    yield from library.collections["videos"].find({}, wanted, batch_size=2000)


def _add_growth(statistics: Statistics, days: Mapping[date, Day], row: Document, since: datetime) -> None:
    duration_s = _duration(row) or 0.0
    size_bytes = int((row.get("ingest") or {}).get("size_bytes") or 0)
    statistics.videos += 1
    statistics.footage_s += duration_s
    statistics.size_bytes += size_bytes
    added_at = row.get("added_at")
    if added_at is not None and added_at >= since:
        day = days[_day(added_at)]
        day.videos += 1
        day.footage_s += duration_s
        day.size_bytes += size_bytes


def _duration(row: Document) -> float | None:
    found = (row.get("metadata") or {}).get("duration_s")
    return float(found) if found else None


def _day(moment: datetime) -> date:
    return moment.astimezone().date()


class _Times:
    """Collects seconds by stage, and the slowest videos."""

    def __init__(self, stages: Sequence[str], since: datetime, slowest: int) -> None:
        self._since = since
        self._most = slowest
        self._seconds = {stage: array("d") for stage in stages}
        self._footage_s = dict.fromkeys(stages, 0.0)
        self._timed_s = dict.fromkeys(stages, 0.0)
        self._slowest: list[tuple[float, str, SlowVideo]] = []

    def add(self, row: Document) -> None:
        duration_s = _duration(row)
        spent: dict[str, float] = {}
        for stage, seconds in self._seconds.items():
            entry = (row.get("stages") or {}).get(stage) or {}
            at, took = entry.get("at"), entry.get("seconds")
            if at is None or took is None or at < self._since:
                continue
            seconds.append(took)
            spent[stage] = float(took)
            if duration_s:
                self._footage_s[stage] += duration_s
                self._timed_s[stage] += took
        total = sum(spent.values())
        full = len(self._slowest) >= self._most
        if total <= 0 or not self._most or (full and total <= self._slowest[0][0]):
            return
        names = (row.get("ingest") or {}).get("names") or [row["_id"][:12]]
        video = SlowVideo(row["_id"], names[0], total, duration_s, spent)
        (heapq.heapreplace if full else heapq.heappush)(self._slowest, (total, row["_id"], video))

    def slowest(self) -> list[SlowVideo]:
        return [video for _, _, video in sorted(self._slowest, reverse=True)]

    def stage(self, name: str, done: Mapping[str, int], states: Mapping[Any, int]) -> StageStatistics:
        seconds = sorted(self._seconds[name])
        timed_s = self._timed_s[name]
        return StageStatistics(
            stage=name,
            videos=len(seconds),
            median_s=percentile(seconds, 0.5),
            p95_s=percentile(seconds, 0.95),
            longest_s=seconds[-1] if seconds else 0.0,
            total_s=sum(seconds),
            speed=self._footage_s[name] / timed_s if timed_s else None,
            computed=done.get("computed", 0),
            current=done.get("current", 0),
            failed=done.get("failed", 0),
            failing=states.get("failed", 0) + states.get("quarantined", 0),
        )


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value below which `part` of the sorted values lie, between two of them by proportion; 0 of none."""
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * part
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _add_runs(
    statistics: Statistics, days: Mapping[date, Day], done: Mapping[str, Counter[str]], runs: Iterable[Document]
) -> None:
    spans: list[tuple[datetime, datetime]] = []
    ended: Counter[str] = Counter()
    models: set[str] = set()
    for run in runs:
        models.update(run.get("models") or ())
        statistics.model_use += model_figures(run.get("stages") or {})
        ended[status_of(run)] += 1
        began_at = run["began_at"]
        spans.append((began_at, run.get("ended_at") or run.get("updated_at") or began_at))
        day = days[_day(began_at)]
        day.runs += 1
        day.bytes_in += int(run.get("bytes_in", 0))
        statistics.bytes_in += int(run.get("bytes_in", 0))
        for stage, figures in (run.get("stages") or {}).items():
            counts = {name: int(figures.get(name, 0)) for name in ("computed", "current", "failed")}
            day.computed += counts["computed"]
            day.current += counts["current"]
            day.failed += counts["failed"]
            day.seconds += figures.get("seconds", 0.0)
            statistics.results += counts["computed"]
            statistics.stage_seconds += figures.get("seconds", 0.0)
            if stage in done:
                done[stage].update(counts)
    statistics.runs = dict(ended)
    statistics.models = sorted(models)
    statistics.busy_s = covered_s(spans)


def covered_s(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds that are in at least one of the spans."""
    covered = 0.0
    reached = _EARLIEST
    for begin, end in sorted(spans):
        if end > reached:
            covered += (end - max(begin, reached)).total_seconds()
            reached = end
    return covered
