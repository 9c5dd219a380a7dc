"""Many workers on one library: `python -m benchmarks.cluster [--workers 4 8 16 32 64] [--seconds 60] [--speed 10]`.

A real clip goes through the real stages once. Its results and the time that each stage took, scaled to a video of five
minutes, then stand in for the stages: workers (processes with a Runner each, as `vidpipe worker` has them, one video at
a time) sleep for these times and commit these results under real leases to a real mongod. What is left is what a
cluster adds: finding work, leases, commits. With `--speed 10` every stage takes a tenth of its time, so that N workers
ask as much of MongoDB as 10 N real ones.

    efficiency  videos per second of N workers, as a share of N times those of one worker; limit at 32: 0.9
    commands    sent to MongoDB per video and stage; limit: 6
    growth      CPU time per video of workers and mongod in a library of 100,000 videos, against one of 1,000; limit 1.2
    ceiling     videos per second when no stage takes any time: what one mongod and this machine's cores can do

Workers, mongod and this program share the machine's cores, so efficiency is a lower bound.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import queue
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from pymongo import monitoring

from benchmarks.homes import empty_home
from benchmarks.synthetic_library import fill, make_prototypes
from vidpipe.library import embedded
from vidpipe.library.library import Library
from vidpipe.library.mongod_files import find_process
from vidpipe.runner.plan import Plan
from vidpipe.runner.request import RunRequest
from vidpipe.runner.runner import Runner
from vidpipe.settings import Settings
from vidpipe.settings.cluster import Concurrency
from vidpipe.stages.contract import Item, Outcome, Stage, StageContext, StageResult
from vidpipe.stages.events import NullObserver, StageEvent
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.default_graph import GRAPH

OUT = Path(__file__).parent / "out" / "cluster"
VIDEO_S, CLIP_S = 300.0, 60.0
EFFICIENCY, AT_WORKERS, COMMANDS, GROWTH = 0.9, 32, 6.0, 1.2
SIZES = (1000, 10_000, 100_000)
#: Videos of one run, and runs waiting for each worker.
BATCH = 8
_ADDED = 100


@dataclass(frozen=True)
class Measured:
    """What one real clip gave: the result of each stage, and its time for a video of five minutes."""

    results: dict[str, StageResult]
    seconds: dict[str, float]

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())


def clip(path: Path) -> Path:
    """A minute of 720p with a cut every five seconds and sound."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes = [f"{kind}=size=1280x720:rate=30:duration=5" for kind in ("testsrc2", "smptehdbars", "rgbtestsrc") * 4]
        inputs = [word for scene in scenes for word in ("-f", "lavfi", "-i", scene)]
        sound = ["-f", "lavfi", "-i", f"sine=frequency=330:duration={CLIP_S:g}"]
        graph = f"{''.join(f'[{number}:v]' for number in range(len(scenes)))}concat=n={len(scenes)}:v=1:a=0[v]"
        command = [
            "ffmpeg", "-nostdin", "-y", "-v", "error", *inputs, *sound, "-filter_complex", graph, "-map", "[v]", "-map",
            f"{len(scenes)}:a", "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", "-t", f"{CLIP_S:g}", str(path),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=600)
    return path


def add(library: Library, name: str, path: Path | None = None) -> str:
    sha256 = hashlib.sha256(path.read_bytes() if path else name.encode()).hexdigest()
    stat = path.stat() if path else None
    facts = IngestFacts(
        path=str(path or name), size_bytes=stat.st_size if stat else 1, modified_ns=stat.st_mtime_ns if stat else 1,
        referenced=True, names=(f"{name}.mp4",),
    )  # fmt: skip
    library.videos.add(sha256, facts)
    return sha256


def measure(settings: Settings) -> Measured:
    """Takes the clip through the real stages."""
    path, results = clip(OUT / "clip.mp4"), dict[str, StageResult]()

    def recorded(stage: Stage) -> Stage:
        def function(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
            for outcome in stage.function(items, context):
                if outcome.result is not None:
                    results[stage.name] = outcome.result
                yield outcome

        return replace(stage, function=function)

    graph = StageGraph(tuple(map(recorded, GRAPH)))
    with Library.open(settings, graph) as library:
        sha256 = add(library, "clip", path)
        plan = Plan.make(graph, settings)
        report = Runner(library, plan).run(RunRequest(videos=(sha256,)))
        plan.close()
        if not report.ok:
            raise SystemExit(f"the clip did not get through: {[str(event.error) for event in report.failures]}")
        (document,) = library.collections["videos"].find({"_id": sha256}, {"stages": 1})
    taken = {stage.name: document["stages"][stage.name]["seconds"] * VIDEO_S / CLIP_S for stage in graph}
    return Measured(results, taken)


def sleeping_graph(measured: Measured, speed: float) -> StageGraph:
    """The stages, each of which sleeps for its time divided by `speed` and gives the clip's result."""

    def stand_in(stage: Stage) -> Stage:
        pause_s = measured.seconds[stage.name] / speed if speed else 0.0

        def function(items: Sequence[Item], context: StageContext) -> Iterator[Outcome]:
            for item in items:
                time.sleep(pause_s)
                yield Outcome(item.sha256, measured.results[stage.name])

        return replace(stage, function=function, artifacts_exist=None, pool="cpu", batch_size=1, quick=False)

    return StageGraph(tuple(map(stand_in, GRAPH)))


class Commands(monitoring.CommandListener):
    """Counts what this process sends to MongoDB."""

    count = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        Commands.count += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


class Finished(NullObserver):
    """Notes when videos were finished."""

    def __init__(self, last: str) -> None:
        self.last, self.times = last, list[float]()

    def on_event(self, event: StageEvent) -> None:
        if event.stage == self.last and event.state == "computed":
            self.times.append(time.monotonic())


@dataclass(frozen=True)
class Done:
    """What one worker did."""

    times: list[float]
    commands: int
    stages: int
    cpu_s: float


def work(settings: Settings, graph: StageGraph, runs: Any, done: Any, until: float) -> None:
    """One worker: takes runs from the queue until the time is up."""
    Commands.count = 0
    last = graph.names[-1]
    observer, stages, began_s = Finished(last), 0, time.process_time()
    with Library.open(settings, graph) as library:
        plan = Plan.make(graph, settings)
        while time.monotonic() < until:
            try:
                batch = runs.get(timeout=1)
            except queue.Empty:
                break
            report = Runner(library, plan, observer, run_id=uuid.uuid4().hex).run(RunRequest(videos=batch))
            stages += sum(counts.get("computed", 0) for counts in report.counts.values())
        plan.close()
    done.put(Done(observer.times, Commands.count, stages, time.process_time() - began_s))


def mongod_cpu_s(settings: Settings) -> float:
    found = find_process(embedded.files_of(settings))
    assert found is not None
    times = psutil.Process(found[0].pid).cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Rate:
    """What N workers did.

    Attributes:
        per_s: Videos per second.
        commands: Per video and stage.
        mongod: Cores that mongod was busy.
        workers: Cores that the workers were busy.
    """

    per_s: float
    commands: float
    mongod: float
    workers: float


def rate(settings: Settings, graph: StageGraph, workers: int, seconds: float, expected_per_s: float) -> Rate:
    """Lets `workers` processes work for `seconds` after everyone has begun."""
    videos = int(2 * workers * expected_per_s * seconds) + 2 * BATCH * workers
    context = multiprocessing.get_context("fork")
    runs, done = context.Queue(), context.Queue()
    tag = uuid.uuid4().hex[:8]
    with Library.open(settings, graph) as library:
        ids = [add(library, f"{tag}-{number}") for number in range(videos)]
    for start in range(0, videos, BATCH):
        runs.put(tuple(ids[start : start + BATCH]))
    warm_s = 5.0 + workers / 4
    begin = time.monotonic() + warm_s
    processes = [
        context.Process(target=work, args=(settings, graph, runs, done, begin + seconds), daemon=True)
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    time.sleep(warm_s)
    before = mongod_cpu_s(settings)
    time.sleep(seconds)
    mongod = (mongod_cpu_s(settings) - before) / seconds
    found = [done.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    runs.cancel_join_thread()
    within = sum(begin <= moment < begin + seconds for one in found for moment in one.times)
    cpu_s = sum(one.cpu_s for one in found)
    elapsed_s = max(moment for one in found for moment in one.times) - begin + warm_s
    stages = sum(one.stages for one in found)
    return Rate(within / seconds, sum(one.commands for one in found) / stages, mongod, cpu_s / elapsed_s)


def scaling(settings: Settings, measured: Measured, numbers: Sequence[int], seconds: float, speed: float) -> bool:
    graph = sleeping_graph(measured, speed)
    expected = speed / measured.total_s
    alone = rate(settings, graph, 1, seconds, expected)
    print(f"{'workers':>8} {'videos/s':>9} {'efficiency':>10} {'commands':>9} {'mongod':>7} {'workers':>8}  cores busy")
    reached = True
    for number in (1, *numbers):
        found = alone if number == 1 else rate(settings, graph, number, seconds, expected)
        share = found.per_s / number / alone.per_s
        print(
            f"{number:>8} {found.per_s:>9.2f} {share:>10.3f} {found.commands:>9.2f} {found.mongod:>7.2f} "
            f"{found.workers:>8.2f}", flush=True,
        )  # fmt: skip
        if number == AT_WORKERS:
            reached = share >= EFFICIENCY and found.commands <= COMMANDS
    return reached


def ceiling(settings: Settings, measured: Measured, seconds: float) -> None:
    found = rate(settings, sleeping_graph(measured, 0), 4, seconds, 20.0)
    per_video_s = found.mongod / found.per_s if found.per_s else 0.0
    print(
        f"ceiling with 4 workers that never wait: {found.per_s:.1f} videos/s; mongod {found.mongod:.2f} cores, workers "
        f"{found.workers:.2f} cores; {1000 * per_video_s:.1f} ms of mongod per video"
    )


def growth(sizes: Sequence[int]) -> bool:
    """CPU time per video in libraries of different sizes."""
    costs = {}
    for size in sizes:
        settings = _of_one_worker(empty_home(OUT / f"home-{size}"))
        with Library.open(settings, GRAPH) as library:
            fill(library, settings, make_prototypes(OUT.parent / "prototypes", 10), size)
        measured = measure(settings)
        graph = sleeping_graph(measured, 0)
        best = float("inf")
        with Library.open(settings, graph) as library:
            plan = Plan.make(graph, settings)
            for _ in range(5):
                library.connection.client.admin.command("fsync")  # what came before must not be written meanwhile
                ids = [add(library, uuid.uuid4().hex) for _ in range(_ADDED)]
                began = time.process_time() + mongod_cpu_s(settings)
                Runner(library, plan).run(RunRequest(videos=tuple(ids)))
                best = min(best, (time.process_time() + mongod_cpu_s(settings) - began) / _ADDED)
            plan.close()
            stored = library.connection.database.command("dbStats")
        embedded.stop(settings)
        costs[size] = best
        print(
            f"{size:>8} videos: {1000 * best:.1f} ms of CPU time per video, workers and mongod; "
            f"{stored['storageSize'] / size / 1000:.1f} kB on disk and {stored['indexSize'] / size / 1000:.1f} kB of "
            "indexes per video", flush=True,
        )  # fmt: skip
    ratio = costs[sizes[-1]] / costs[sizes[0]]
    print(f"growth {ratio:.2f} (limit {GROWTH:g})")
    return ratio <= GROWTH


def _of_one_worker(settings: Settings) -> Settings:
    return settings.model_copy(update={"concurrency": Concurrency(max_workers=1)})


def main(arguments: argparse.Namespace) -> int:
    monitoring.register(Commands())
    reached = True
    if arguments.workers:
        settings = _of_one_worker(empty_home(OUT / "home"))
        try:
            measured = measure(settings)
            shown = ", ".join(f"{name} {seconds:.2f}" for name, seconds in measured.seconds.items())
            print(f"seconds for a video of five minutes, measured: {shown}; in all {measured.total_s:.1f}", flush=True)
            reached = scaling(settings, measured, arguments.workers, arguments.seconds, arguments.speed)
            ceiling(settings, measured, arguments.seconds)
        finally:
            embedded.stop(settings)
    if arguments.sizes:
        reached &= growth(arguments.sizes)
    print("reached" if reached else "NOT reached")
    return 0 if reached else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="*", default=[4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="none: growth is not measured")
    sys.exit(main(parser.parse_args()))
