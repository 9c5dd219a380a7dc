"""The cost of orchestration: `python -m benchmarks.orchestration [VIDEOS]`.

VIDEOS (200) clips of a second, each of other bytes, go through all stages by the job `process` on the home's Dagster
instance, as `vidpipe run` does it. Printed per video and stage, against the limits of 10 ms and 2 ms:

    above own work   (workers x wall time - time inside the stages' functions) / (videos x stages): what the machine's
                     cores did besides the stages' work, idling included
    bare             the same for the Runner without Dagster, in the same run: the difference is Dagster's part
    again            wall time of a second run, which finds everything current
    log              bytes of Dagster's log for one video and stage
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunReport
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "orchestration"
LIMIT_MS, LIMIT_AGAIN_MS = 10.0, 2.0


def make_clips(folder: Path, count: int) -> list[Path]:
    """One-second clips of 160x90, distinguished by colour and a title; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"clip-{number:04d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if path.exists():
            continue
        source = f"color=c=0x{(number * 2654435761) % 0x1000000:06x}:size=160x90:rate=10:duration=1"
        command = [
            "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast",
            "-threads", "1", "-metadata", f"title=clip {number}", str(path.with_suffix(".part.mp4")),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=60)
        path.with_suffix(".part.mp4").rename(path)
    return paths


@dataclass(frozen=True)
class Cost:
    """Of one run over `pairs` (videos x stages)."""

    wall_s: float
    own_s: float
    workers: int
    pairs: int

    @property
    def wall_ms(self) -> float:
        return 1000 * self.wall_s / self.pairs

    @property
    def own_ms(self) -> float:
        return 1000 * self.own_s / self.pairs

    @property
    def above_ms(self) -> float:
        return (1000 * self.workers * self.wall_s - 1000 * self.own_s) / self.pairs


def cost(report: RunReport, wall_s: float, settings: Settings, count: int) -> Cost:
    if report.total("computed") != count * len(GRAPH.names):
        raise SystemExit(f"not everything was computed: {report.counts} {[str(e.error) for e in report.failures[:3]]}")
    own_s = sum(report.stage_seconds.values())
    return Cost(wall_s, own_s, settings.concurrency.workers, count * len(GRAPH.names))


def through_dagster(clips: list[Path]) -> tuple[Cost, float, float, int]:
    """(first run, seconds of the second, seconds of ingest, bytes of Dagster's log)."""
    settings = empty_home(OUT / "dagster")
    with Library.open(settings, GRAPH) as library:
        began = time.monotonic()
        outcomes = run_ingest(settings, [str(clip) for clip in clips], mode="reference", library=library)
        ingest_s = time.monotonic() - began
        wrong = [outcome.error for outcome in outcomes if outcome.error]
        if wrong:
            raise SystemExit(f"not everything was taken in: {wrong[:3]}")
        began = time.monotonic()
        report = run_process(settings, library=library)
        first = cost(report, time.monotonic() - began, settings, len(clips))
        began = time.monotonic()
        again = run_process(settings, library=library)
        again_s = time.monotonic() - began
        if again.total("computed"):
            raise SystemExit("the second run computed something")
    size = sum(file.stat().st_size for file in dagster_home(settings).rglob("*") if file.is_file())
    embedded.stop(settings)
    return first, again_s, ingest_s, size


def bare(clips: list[Path]) -> Cost:
    """The Runner alone."""
    settings = empty_home(OUT / "bare")
    with Library.open(settings, GRAPH) as library:
        run_ingest(settings, [str(clip) for clip in clips], mode="reference", library=library)
        plan = Plan.make(GRAPH, settings)
        began = time.monotonic()
        report = Runner(library, plan).run()
        wall_s = time.monotonic() - began
        plan.close()
    embedded.stop(settings)
    return cost(report, wall_s, settings, len(clips))


def main(count: int) -> int:
    clips = make_clips(OUT / "clips", count)
    alone = bare(clips)
    first, again_s, ingest_s, size = through_dagster(clips)
    again_ms = 1000 * again_s / first.pairs
    print(f"{count} clips, {len(GRAPH.names)} stages, {first.workers} workers; ingest {ingest_s:.1f} s")
    print("                         wall s   a video and stage, ms: wall   own work   above own work")
    for name, run in (("bare Runner", alone), ("job process (Dagster)", first)):
        print(f"{name:22} {run.wall_s:8.1f} {run.wall_ms:29.1f} {run.own_ms:10.1f} {run.above_ms:12.1f}")
    print(f"limit {LIMIT_MS:g} ms: {first.above_ms:.1f} ms, of which Dagster {first.above_ms - alone.above_ms:.1f} ms")
    print(
        f"again, everything current: {again_s:.3f} s, {again_ms:.3f} ms a video and stage (limit {LIMIT_AGAIN_MS:g} ms)"
    )
    print(f"Dagster's log: {size / first.pairs / 1000:.1f} kB a video and stage")
    reached = first.above_ms <= LIMIT_MS and again_ms <= LIMIT_AGAIN_MS
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
