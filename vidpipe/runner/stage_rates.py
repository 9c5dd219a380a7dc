"""How long a video takes in each stage on this installation, measured from the latest results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vidpipe.library.library import Library
from vidpipe.library.schema import Document, stage_index
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import Stage

#: Most results that rates are measured from, latest first.
_RECENT_RESULTS = 500
#: With fewer results of today's spec, older ones count too.
_ENOUGH = 20
#: Least share of a column that the other does not explain: below it, noise decides the split.
_MIN_INDEPENDENT = 0.02
_MIN_SAMPLES = 6
_OUTLIERS = 0.1

#: x, y and the seconds they took together.
Sample = tuple[float, float, float]


@dataclass(frozen=True)
class StageRate:
    """How long a stage takes.

    Attributes:
        results: Number of results it was measured from.
        per_video_s: Seconds of work for each video.
        per_second_s: Seconds of work for each second of video.
    """

    results: int
    per_video_s: float
    per_second_s: float = 0.0

    def seconds(self, videos: float, duration_s: float) -> float:
        """Return the seconds of work for `videos` videos with a total length of `duration_s`."""
        return self.per_video_s * videos + self.per_second_s * duration_s


@dataclass(frozen=True)
class TypicalVideo:
    """Mean numbers of the latest videos that were cut into scenes."""

    scenes: float
    frames: float


@dataclass(frozen=True)
class StageRates:
    """The rates of the stages of a plan.

    Attributes:
        stages: Name -> rate of each measured stage.
        duration_s: Mean length of a video; None if no length is known.
        typical: Mean numbers of scenes and frames; None if no video has been cut into scenes.
    """

    stages: Mapping[str, StageRate]
    duration_s: float | None
    typical: TypicalVideo | None


def measure_stages(library: Library, plan: Plan, without: Sequence[str] = ()) -> StageRates:
    """Measure the rates of the plan's stages, except those named in `without`."""
    stages: dict[str, StageRate] = {}
    durations: dict[str, float] = {}
    cut: list[Document] = []
    for stage in plan.stages:
        if stage.name in without:
            continue
        rows = list(_recent(library, stage, plan.specs[stage.name]))
        durations.update((row["_id"], _duration(row)) for row in rows)
        if library.graph.makes_scenes(stage.name):
            cut = rows
        rate = _rate(library, stage, rows)
        if rate is not None:
            stages[stage.name] = rate
    known = [duration_s for duration_s in durations.values() if duration_s]
    return StageRates(stages, fmean(known) if known else None, _typical(library, cut))


def _recent(library: Library, stage: Stage, spec: str) -> Iterator[Document]:
    """Yield the latest videos with a good result of `stage`: those with today's spec, unless there are too few."""
    entry = f"stages.{stage.name}"
    wanted: Document = {f"{entry}.seconds": 1, "metadata.duration_s": 1}
    if library.graph.makes_scenes(stage.name):
        wanted |= {f"{library.graph.key(stage.name)}.count": 1, f"{library.graph.key(stage.name)}.pack.frames": 1}
    good: Document = {f"{entry}.status": "ok", f"{entry}.ready": True}
    current = {**good, f"{entry}.stale": False, f"{entry}.spec": spec}
    backwards = [(field, -1) for field, _ in stage_index(stage.name)]
    for query in (current, good):
        rows = list(library.collections["videos"].find(query, wanted).sort(backwards).limit(_RECENT_RESULTS))
        if len(rows) >= _ENOUGH:
            break
    yield from (row for row in rows if row["stages"][stage.name].get("seconds") is not None)


def _rate(library: Library, stage: Stage, rows: Sequence[Document]) -> StageRate | None:
    if not rows:
        return None
    timed = [(1.0, _duration(row), _seconds(row, stage)) for row in rows if _duration(row)]
    rates = two_rates(timed)
    if rates is not None:
        return StageRate(len(rows), *rates)
    if timed and library.graph.makes_scenes(stage.name):  # decoding time is proportional to length
        return StageRate(len(rows), 0.0, sum(row[2] for row in timed) / sum(row[1] for row in timed))
    return StageRate(len(rows), fmean(_seconds(row, stage) for row in rows))


def _typical(library: Library, rows: Sequence[Document]) -> TypicalVideo | None:
    key = next((library.graph.key(name) for name in library.graph.names if library.graph.makes_scenes(name)), "")
    found = [row[key] for row in rows if "count" in (row.get(key) or {})]
    if not found:
        return None
    return TypicalVideo(
        scenes=fmean(result["count"] for result in found),
        frames=fmean((result.get("pack") or {}).get("frames", 0) for result in found),
    )


def _duration(row: Document) -> float:
    return float((row.get("metadata") or {}).get("duration_s") or 0.0)


def _seconds(row: Document, stage: Stage) -> float:
    return float(row["stages"][stage.name]["seconds"])


def two_rates(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Fit seconds = a * x + b * y by least squares and return (a, b), neither negative.

    The tenth of the samples that fits worst (a model was loaded, the machine slept) is left out.

    Returns:
        None with too few samples, or if x and y always have the same proportion.
    """
    if len(samples) < _MIN_SAMPLES:
        return None
    first = _least_squares(samples)
    if first is None:
        return None
    a, b = first
    by_fault = sorted(samples, key=lambda sample: abs(sample[2] - a * sample[0] - b * sample[1]))
    kept = by_fault[: len(samples) - max(1, round(len(samples) * _OUTLIERS))]
    return _least_squares(kept) or first


def _least_squares(samples: Sequence[Sample]) -> tuple[float, float] | None:
    xx = sum(x * x for x, _, _ in samples)
    yy = sum(y * y for _, y, _ in samples)
    xy = sum(x * y for x, y, _ in samples)
    xs = sum(x * seconds for x, _, seconds in samples)
    ys = sum(y * seconds for _, y, seconds in samples)
    apart = xx * yy - xy * xy
    if not xx or not yy or apart < _MIN_INDEPENDENT * xx * yy:
        return None
    a, b = (xs * yy - ys * xy) / apart, (ys * xx - xs * xy) / apart
    if a < 0:
        return 0.0, max(ys / yy, 0.0)
    if b < 0:
        return max(xs / xx, 0.0), 0.0
    return a, b
