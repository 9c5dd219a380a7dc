"""Statistics of the library and its runs: times, hit rates, failures, growth.

Times of stages and growth come from the videos (the last result of each), read in one pass, with one number per result
in memory; hit rates and throughput come from the figures of runs.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from vidpipe.library.library import Library
from vidpipe.library.runs import ModelUse, Runs, model_figures, status_of
from vidpipe.library.schema import Document
from vidpipe.library.videos import name_of
from vidpipe.runner.plan import Plan

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class StageStatistics:
    """Statistics of a stage.

    Attributes:
        videos: Number of current results and failures that were made in the span; the times are theirs.
        speed: Seconds of video per second; None if no video's duration is known.
        computed: Of the runs in the span, like `current` and `failed`.
        failed: Failed tries.
        failing: Videos that are failed or quarantined now.
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
        """Share of the checked results that were up to date."""
        return share(self.current, self.computed + self.failed)

    @property
    def failure_rate(self) -> float | None:
        """Share of failed attempts."""
        return share(self.failed, self.computed)


@dataclass(frozen=True)
class SlowVideo:
    """A video, and the seconds that its stages took."""

    sha256: str
    name: str
    seconds: float
    duration_s: float | None
    stages: Mapping[str, float]

    @property
    def seconds_per_minute(self) -> float | None:
        """Seconds of work per minute of video; None if its duration is unknown."""
        return self.seconds / self.duration_s * 60 if self.duration_s else None


@dataclass
class DayStatistics:
    """Videos added and work done on one day of local time. A run belongs to the day on which it began."""

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
        """Share of the checked results that were up to date."""
        return share(self.current, self.computed + self.failed)


@dataclass
class LibraryStatistics:
    """Statistics of a span of time.

    Attributes:
        since: Beginning of the span; None for everything.
        videos: Of the whole library, like `footage_s` and `size_bytes`.
        days: Those with any activity, in order.
        runs: Status -> number of runs.
        busy_s: Time during which at least one run was working.
        stage_seconds: Work of all stages, in seconds.
        model_use: What the describing models did in the runs.
        models: Their names.
    """

    since: datetime | None
    until: datetime
    videos: int = 0
    footage_s: float = 0.0
    size_bytes: int = 0
    stages: list[StageStatistics] = field(default_factory=list)
    slowest: list[SlowVideo] = field(default_factory=list)
    days: list[DayStatistics] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    busy_s: float = 0.0
    stage_seconds: float = 0.0
    results: int = 0
    bytes_in: int = 0
    model_use: ModelUse = field(default_factory=ModelUse)
    models: list[str] = field(default_factory=list)

    @property
    def results_per_hour(self) -> float | None:
        """Results computed per hour with a run working."""
        return self.results / self.busy_s * 3600 if self.busy_s else None


def share(part: float, rest: float) -> float | None:
    """Return part / (part + rest); None if both are 0."""
    return part / (part + rest) if part + rest else None


def collect_statistics(
    library: Library, plan: Plan, since: datetime | None = None, slowest: int = 10
) -> LibraryStatistics:
    """Read the statistics.

    Args:
        library: The library.
        plan: Under today's settings.
        since: Beginning of the span; None for everything.
        slowest: Number of the slowest videos to name.
    """
    statistics = LibraryStatistics(since, datetime.now(UTC))
    days: dict[date, DayStatistics] = {}
    begin = since or _EARLIEST
    times = _StageTimes(library.graph.names, begin, slowest)
    wanted: Document = {"added_at": 1, "ingest.size_bytes": 1, "ingest.names": {"$slice": 1}, "metadata.duration_s": 1}
    wanted |= {f"stages.{name}.{key}": 1 for name in library.graph.names for key in ("seconds", "at")}
    for row in library.collections["videos"].find({}, wanted, batch_size=2000):
        grown: list[LibraryStatistics | DayStatistics] = [statistics]
        if (added_at := row.get("added_at")) is not None and added_at >= begin:
            grown.append(_day(days, added_at))
        for part in grown:
            part.videos += 1
            part.footage_s += _duration(row) or 0.0
            part.size_bytes += int((row.get("ingest") or {}).get("size_bytes") or 0)
        times.add(row)
    done: dict[str, Counter[str]] = {name: Counter() for name in library.graph.names}
    _add_runs(statistics, days, done, Runs(library.collections["runs"]).since(since))
    states = library.states.counts(plan.specs)
    statistics.stages = [times.stage(name, done[name], states.get(name, {})) for name in library.graph.names]
    statistics.slowest = times.slowest()
    statistics.days = [days[when] for when in sorted(days)]
    return statistics


def _duration(row: Document) -> float | None:
    found = (row.get("metadata") or {}).get("duration_s")
    return float(found) if found else None


def _day(days: dict[date, DayStatistics], moment: datetime) -> DayStatistics:
    day = moment.astimezone().date()
    return days.setdefault(day, DayStatistics(day))


class _StageTimes:
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
        if total := sum(spent.values()):
            video = SlowVideo(row["_id"], name_of(row), total, duration_s, spent)
            heapq.heappush(self._slowest, (total, row["_id"], video))
            if len(self._slowest) > self._most:
                heapq.heappop(self._slowest)

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
            failing=states.get("failed", 0) + states.get("quarantined", 0),
            **done,
        )


def percentile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which `part` (0 to 1) of the sorted values lie, interpolated; 0 if there are none."""
    if not ordered:
        return 0.0
    place = (len(ordered) - 1) * part
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _add_runs(
    statistics: LibraryStatistics,
    days: dict[date, DayStatistics],
    done: Mapping[str, Counter[str]],
    runs: Iterable[Document],
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
        day = _day(days, began_at)
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
    """Return the number of seconds that lie in at least one of the spans."""
    covered = 0.0
    reached = _EARLIEST
    for begin, end in sorted(spans):
        if end > reached:
            covered += (end - max(begin, reached)).total_seconds()
            reached = end
    return covered


def statistics_json(statistics: LibraryStatistics) -> Document:
    """Return the statistics as they appear in `--json`: quantities with their unit in the name, rates from 0 to 1."""
    library = {name: getattr(statistics, name) for name in ("videos", "footage_s", "size_bytes")}
    stages = {}
    for stage in statistics.stages:
        figures = asdict(stage) | {"hit_rate": stage.hit_rate, "failure_rate": stage.failure_rate}
        figures["failing_videos"] = figures.pop("failing")
        stages[figures.pop("stage")] = figures
    slowest = []
    for video in statistics.slowest:
        slow = {**vars(video), "seconds_per_minute": video.seconds_per_minute, "stages": dict(video.stages)}
        slowest.append({"video": slow.pop("sha256"), **slow})
    totals = ("busy_s", "stage_seconds", "results", "results_per_hour", "bytes_in")
    return {
        "since": statistics.since,
        "until": statistics.until,
        "library": library,
        "stages": stages,
        "slowest": slowest,
        "days": [{**vars(day), "day": day.day.isoformat(), "hit_rate": day.hit_rate} for day in statistics.days],
        "runs": {**statistics.runs, **{name: getattr(statistics, name) for name in totals}},
        "model": {"names": statistics.models, **asdict(statistics.model_use)},
    }


def format_duration(duration_s: float | None) -> str:
    """Format a duration as 12 ms, 3.4 s, 5.6 min or 2.1 h; empty for None."""
    if duration_s is None:
        return ""
    if duration_s < 0.1:
        return f"{duration_s * 1000:.0f} ms"
    if duration_s < 100:
        return f"{duration_s:.1f} s"
    return f"{duration_s / 60:.1f} min" if duration_s < 6000 else f"{duration_s / 3600:,.1f} h"


def format_percent(rate: float | None) -> str:
    """Format a rate from 0 to 1 as 12 %; empty for None."""
    return "" if rate is None else f"{100 * rate:.0f} %"
