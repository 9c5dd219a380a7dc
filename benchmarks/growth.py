"""How the cost of a video grows with the library: `python -m benchmarks.growth [SIZE ...]`.

A home is filled to 100, 1,000 and 10,000 videos with stages that do next to nothing, by the job `process` on the home's
Dagster instance: what is left is the machinery. Printed at each size, in ms a video of three stages:

    filling   the run that brought the library to this size
    100 more  a run over 100 new videos by their ids, as the sensors launch it, in a library of this size
    all due   the same without ids: a run over whatever is due
    current   a run over 100 videos by their ids, of which only the last one is due

Limit: no figure at the largest size is more than 1.2 times that at the smallest.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, StageResult
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts

OUT = Path(__file__).parent / "out" / "growth"
SIZES = (100, 1000, 10_000)
BATCH = 100
LIMIT = 1.2
#: Of each figure the best of as many runs counts: the machine has other things to do, too.
TIMES = 3


class Text(StageResult):
    text: str


def _stage(name: str, read: str) -> Stage:
    def function(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
        for item in items:
            yield Outcome(item.sha256, Text(text=f"{name} of {item[read]}"))

    return Stage(
        name=name, job="label", description=name, result=Text, function=function, reads=(read,), batch_size=32,
        artifacts_exist=(lambda result, settings: True) if name == "first" else None,
    )  # fmt: skip


GRAPH = StageGraph((_stage("first", "ingest.names"), _stage("second", "first.text"), _stage("third", "second.text")))


class Growing:
    """A library that grows, and what its runs cost."""

    def __init__(self, settings: Settings, library: Library) -> None:
        self._settings = settings
        self._library = library
        self._count = 0

    def add(self, videos: int) -> list[str]:
        ids = []
        for _ in range(videos):
            name = f"video-{self._count}.mp4"
            self._count += 1
            ids.append(hashlib.sha256(name.encode()).hexdigest())
            self._library.videos.add(ids[-1], IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
        return ids

    def run(self, videos: int, ids: Sequence[str] | None = None) -> float:
        """ms a video."""
        began = time.perf_counter()
        report = run_process(self._settings, RunRequest(videos=ids), graph=GRAPH, library=self._library)
        seconds = time.perf_counter() - began
        if not report.ok:
            raise SystemExit(f"not everything was done: {report.counts} {report.failures[:3]}")
        return 1000 * seconds / videos

    def to(self, size: int) -> dict[str, float]:
        grown = size - self._count
        self.add(grown)
        figures = {"filling": self.run(grown)}
        current = self.add(BATCH - 1)
        self.run(BATCH, current)
        return figures | {
            "100 more": best(lambda: self.run(BATCH, self.add(BATCH))),
            "all due": best(lambda: self.run(BATCH) if self.add(BATCH) else 0),
            "current": best(lambda: self.run(BATCH, [*current, *self.add(1)])),
        }


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(TIMES))


def main(sizes: Sequence[int]) -> int:
    settings = empty_home(OUT / "home")
    found: dict[int, dict[str, float]] = {}
    with Library.open(settings, GRAPH) as library:
        growing = Growing(settings, library)
        growing.run(10, growing.add(10))  # loads Dagster, lays out its tables
        for size in sizes:
            found[size] = growing.to(size)
            shown = ", ".join(f"{name} {figure:.2f}" for name, figure in found[size].items())
            history = sum(path.stat().st_size for path in dagster_home(settings).rglob("*") if path.is_file())
            print(f"{size} videos: {shown} ms a video; Dagster's history {history / 1e6:.0f} MB", flush=True)
    embedded.stop(settings)
    first, last = found[sizes[0]], found[sizes[-1]]
    ratios = {name: last[name] / first[name] for name in first}
    print("growth: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()) + f" (limit {LIMIT:g})")
    reached = max(ratios.values()) <= LIMIT
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main([int(size) for size in sys.argv[1:]] or SIZES))
