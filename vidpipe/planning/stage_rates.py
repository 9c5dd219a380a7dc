"""How long a video takes in each stage on this installation, from the results that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vidpipe.library.library import Library
from vidpipe.library.schema import Document, stage_index
from vidpipe.planning.fit import two_rates
from vidpipe.runner.plan import Plan
from vidpipe.stages.contract import Stage

#: Results that a rate is taken from, the latest videos' first.
RECENT = 500
#: With fewer results of today's settings, older ones count too.
_ENOUGH = 20


@dataclass(frozen=True)
class StageRate:
    """results: it was measured from; a_video, a_second: seconds of work for each video, and for each second of it"""

    results: int
    a_video: float
    a_second: float = 0.0

    def seconds(self, videos: float, duration_s: float) -> float:
        """For so many videos that last `duration_s` together."""
        return self.a_video * videos + self.a_second * duration_s


@dataclass(frozen=True)
class Typical:
    """Means of the latest videos that were cut into scenes."""

    scenes: float
    frames: float


@dataclass(frozen=True)
class StageRates:
    """stages: those that were measured; duration_s: mean length of a video, None: no length is known"""

    stages: Mapping[str, StageRate]
    duration_s: float | None
    typical: Typical | None


def measure_stages(library: Library, plan: Plan, without: Sequence[str] = ()) -> StageRates:
    """The rates of the plan's stages, but those called `without`."""
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
    """The latest videos with a good result of `stage`: those under today's spec, unless these are too few."""
    entry = f"stages.{stage.name}"
    wanted: Document = {f"{entry}.seconds": 1, "metadata.duration_s": 1}
    if library.graph.makes_scenes(stage.name):
        wanted |= {f"{library.graph.key(stage.name)}.count": 1, f"{library.graph.key(stage.name)}.pack.frames": 1}
    good: Document = {f"{entry}.status": "ok", f"{entry}.ready": True}
    todays = {**good, f"{entry}.stale": False, f"{entry}.spec": spec}
    backwards = [(field, -1) for field, _ in stage_index(stage.name)]
    for query in (todays, good):
        rows = list(library.collections["videos"].find(query, wanted).sort(backwards).limit(RECENT))
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
    if timed and library.graph.makes_scenes(stage.name):  # it decodes: twice as long takes twice as long
        return StageRate(len(rows), 0.0, sum(row[2] for row in timed) / sum(row[1] for row in timed))
    return StageRate(len(rows), fmean(_seconds(row, stage) for row in rows))


def _typical(library: Library, rows: Sequence[Document]) -> Typical | None:
    key = next((library.graph.key(name) for name in library.graph.names if library.graph.makes_scenes(name)), "")
    found = [row[key] for row in rows if "count" in (row.get(key) or {})]
    if not found:
        return None
    return Typical(
        scenes=fmean(result["count"] for result in found),
        frames=fmean((result.get("pack") or {}).get("frames", 0) for result in found),
    )


def _duration(row: Document) -> float:
    return float((row.get("metadata") or {}).get("duration_s") or 0.0)


def _seconds(row: Document, stage: Stage) -> float:
    return float(row["stages"][stage.name]["seconds"])
