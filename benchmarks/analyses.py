"""What the optional analyses cost, and that the core stages cost no more: `python -m benchmarks.analyses [CLIPS]`.

Each analysis runs as the runner runs it: its stage on one video after another, its model in a process of its own.
Compared is each library's own call (`benchmarks.own_calls`) on the frames, sounds and texts that the stage has sent,
in a process of the same kind with as many threads. Both take turns; after a round that loads the models, the least
processor time of the rounds counts, of ours with what the stage does in this process. Limit: 1.15 times the own call.
Models that are missing are installed in benchmarks/out/models.

With `--against COMMIT`, the seven core stages are compared with those of an earlier commit: `vidpipe run CLIPS` in new
homes, without analyses, in turn. Limit: 1.05 times the processor time of the fastest run (without that of mongod).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks import clips
from benchmarks.homes import empty_home
from benchmarks.stage_run import stage_item
from vidpipe.library import embedded
from vidpipe.models.catalogue import entry_of
from vidpipe.models.installation import install
from vidpipe.models.installed import MissingModelError
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.settings.analyses import ANALYSES
from vidpipe.stages import scenes
from vidpipe.stages.analyses.declaration import Analysis
from vidpipe.stages.contract import Item, Stage, StageContext
from vidpipe.stages.registry import enabled_analyses
from vidpipe.stages.video_decode import decode_sound

LIMIT, CORE_LIMIT = 1.15, 1.05
NOT_BY_FRAME = ("speech", "meaning")
REPOSITORY = Path(__file__).parents[1]


class Cost(NamedTuple):
    """Processor and wall time in seconds."""

    cpu_s: float
    wall_s: float


class Recorder:
    """A model of an analysis that notes what it is asked."""

    def __init__(self, model: WorkerModel) -> None:
        self._model = model
        self.requests: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def call(self, request: Any, cancelled: Any) -> Any:
        self.requests.append(request)
        return self._model.call(request, cancelled)


def timed(work: Callable[[], object], pids: Sequence[int]) -> Cost:
    """What `work` costs in the processes `pids`."""

    def used_s() -> float:
        times = [psutil.Process(pid).cpu_times() for pid in pids]
        return sum(one.user + one.system for one in times)

    cpu_s, began = used_s(), time.perf_counter()
    work()
    return Cost(used_s() - cpu_s, time.perf_counter() - began)


def worker_of(work: Callable[[], object]) -> int:
    """Run `work`, and return the process that it has started."""
    before = {child.pid for child in psutil.Process().children()}
    work()
    (pid,) = {child.pid for child in psutil.Process().children()} - before
    return pid


def peak_mb(pid: int) -> float:
    """Peak memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(stage: Stage, items: Sequence[Item], settings: Settings, resources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The fields that a stage adds to each video."""
    context = StageContext(settings=settings, resources=resources)
    found = []
    for outcome in stage.function(items, context):
        if outcome.result is None:
            raise outcome.error or RuntimeError(stage.name)
        names = type(outcome.result).model_fields
        found.append({f"{stage.name}.{name}": getattr(outcome.result, name) for name in names})
    return found


def resource_of(build: Callable[[Settings], Any], settings: Settings) -> Any:
    try:
        return build(settings)
    except MissingModelError as error:
        for name in error.models:
            install(entry_of(name), settings.models_directory)
        return build(settings)


def compare(
    analysis: Analysis, items: Sequence[Item], settings: Settings, rounds: int
) -> tuple[Cost, Cost, list[float]]:
    """The least cost of an analysis of all videos, that of the own call, and the peak memory of both processes in MiB.

    What it finds is added to the videos.
    """
    stage = analysis.stage
    resources = {name: resource_of(build, settings) for name, build in analysis.resources.items()}
    (model,) = (Recorder(one) for one in resources.values() if isinstance(one, WorkerModel) and one.installed)
    resources = {name: model if one is model._model else one for name, one in resources.items()}
    resources["analyses"] = enabled_analyses(settings)
    own = WorkerModel(model.installed, "benchmarks.own_calls:load", {"analysis": stage.name, **model._model._arguments},
                      threads=settings.analyses.threads)  # fmt: skip

    def prepare() -> None:
        model.requests.clear()
        if stage.name == "speech":  # kept by the scenes pass in a run
            for item in items:
                if item["metadata.audio"]:
                    decode_sound(item, StageContext(settings=settings))

    def ours() -> None:
        for item, fields in zip(items, run(stage, items, settings, resources), strict=True):
            item.fields.update(fields)

    def theirs() -> None:
        for request in model.requests:
            own.call(request, StageContext(settings=settings).cancelled)

    try:
        prepare()
        workers = worker_of(ours), worker_of(theirs)
        costs: list[tuple[Cost, Cost]] = []
        for _ in range(rounds):
            prepare()
            costs.append((timed(ours, [os.getpid(), workers[0]]), timed(theirs, [workers[1]])))
        mine, others = (min(side) for side in zip(*costs, strict=True))
        return mine, others, [peak_mb(pid) for pid in workers]
    finally:
        model.close()
        own.close()


def analyses(paths: Sequence[Path], settings: Settings, only: Sequence[str], rounds: int) -> bool:
    """Print what each analysis costs; return whether all are within the limit."""
    items = []
    for number, path in enumerate(paths):
        item = Item(f"{number:064x}", {**stage_item(path).fields, "ingest.titles": ()})
        item.fields.update(dict.fromkeys(("descriptions.measured", "descriptions.scenes", "descriptions.text")))
        item.fields.update(run(scenes.STAGE, [item], settings, {})[0])
        items.append(item)
    minutes = sum(item["scenes.duration_s"] for item in items) / 60
    frames = sum(item["scenes.pack"].frames for item in items)
    print(
        f"{len(items)} videos, {minutes:.1f} minutes, {frames} frames in packs; {settings.analyses.threads} threads\n"
    )
    print(f"{'':12} {'CPU s/minute':>12} {'wall':>6} {'own call':>9} {'ratio':>6} {'CPU ms/frame':>13} "
          f"{'peak MiB':>9} {'own call':>9}")  # fmt: skip
    good = True
    for analysis in enabled_analyses(settings).analyses:
        name = analysis.stage.name
        if name not in only:
            continue
        mine, own, memory = compare(analysis, items, settings, rounds)
        ratio = mine.cpu_s / own.cpu_s
        good &= ratio <= LIMIT
        by_frame = "" if name in NOT_BY_FRAME else f"{1000 * mine.cpu_s / frames:.1f}"
        print(f"{name:12} {mine.cpu_s / minutes:12.2f} {mine.wall_s / minutes:6.2f} {own.cpu_s / minutes:9.2f} "
              f"{ratio:6.2f} {by_frame:>13} {memory[0]:9.0f} {memory[1]:9.0f}", flush=True)  # fmt: skip
    return good


def run_of(tree: Path, home: Path, paths: Sequence[Path]) -> float:
    """CPU seconds of `vidpipe run` of the code in `tree`, in a new home without analyses."""
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(tree), "VIDPIPE_CONCURRENCY_MAXWORKERS": "1"}
    command = [sys.executable, "-P", "-c", "import sys; from vidpipe.cli.main import main; sys.exit(main())"]

    def vidpipe(*arguments: str) -> None:
        subprocess.run([*command, *arguments, "--home", str(home)], env=environment, check=True, capture_output=True)

    subprocess.run([*command, "init", str(home)], env=environment, check=True, capture_output=True)
    vidpipe("add", *map(str, paths))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    vidpipe("run")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    embedded.stop(Settings(home=home))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def core(commit: str, paths: Sequence[Path], rounds: int) -> bool:
    """Print what a run without analyses costs today and at an earlier commit; return whether it is within the limit."""
    least = [float("inf")] * 2
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        for _ in range(rounds):
            for side, code in enumerate((REPOSITORY, Path(folder))):
                least[side] = min(least[side], run_of(code, clips.OUT / f"core-{side}", paths))
    ratio = least[0] / least[1]
    print(f"\nseven stages without analyses: {least[0]:.2f} s of CPU; at {commit}: {least[1]:.2f} s, ratio {ratio:.2f}")
    return ratio <= CORE_LIMIT


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("clips", nargs="*", type=Path, help="videos; by default the real clips, or made ones")
    parser.add_argument("--only", default=",".join(ANALYSES), help="meaning then has no texts of the others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--against", default="", metavar="COMMIT", help="compare the core stages with this commit")
    options = parser.parse_args()
    names = ("bikes.mp4", "bigbuckbunny.mp4", "nasa.mp4", "dj1.mp4", "dj2.mp4", "dj3.mp4", "pancake.mkv")
    paths = options.clips or [path for name in names if (path := clips.REAL / name).exists()] or [clips.long_clip()]
    if options.against:
        return 0 if core(options.against, paths, options.rounds) else 1
    settings = empty_home(clips.OUT / "analyses")
    settings = settings.model_copy(
        update={"analyses": settings.analyses.model_copy(update={"threads": options.threads, "enabled": ANALYSES})}
    )
    models = clips.OUT / "models"
    models.mkdir(exist_ok=True)
    settings.models_directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(settings.models_directory, ignore_errors=True)
    settings.models_directory.symlink_to(models)
    return 0 if analyses(paths, settings, options.only.split(","), options.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
