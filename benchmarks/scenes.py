"""The scenes stage against its peers on one file: `python -m benchmarks.scenes [FILE] [--rounds N]`.

    decode          ffmpeg -i FILE -an -f null -
    references      the same with -skip_frame noref: frames that others refer to
    scenedetect     the scenedetect command, same detector and parameters, which finds cuts and nothing else
    stage           cuts, thumbnails, model frames, statistics, with Decode = auto
    stage, all      the same with Decode = all
    plain script    the stage's work with one tool after another: ffprobe, PySceneDetect's API, an ffmpeg pass for
                    frames at 1 fps, an ffmpeg seek for each scene's thumbnail

Each round runs all of them, one after another; the fastest run of each counts, since others only ever slow it down.
Limits of stage / decode: 0.6 if references take at most 0.3 of the processor time of decode, 1.15 if they take all of
it, else their share + 0.35; of stage / plain script: 0.5. Then, for two detectors, how the cuts agree: those of auto
with those of all, and those of all with the command's, as F1 of one-to-one matches within one frame, at least 0.99 and
0.98; and the largest difference between the statistics of auto and all, at most 5 % (or 0.01).
"""

from __future__ import annotations

import argparse
import csv
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import scenedetect
from scenedetect.detectors import AdaptiveDetector

from benchmarks.clips import long_clip
from benchmarks.stage_run import run_stage, stage_item
from vidpipe.media.detectors import ADAPTIVE_WINDOW
from vidpipe.settings.schema import THRESHOLD_SCALES, DetectorName, SceneDetection
from vidpipe.stages.results import Scenes

LIMIT_SCRIPT, LIMIT_MODES_F1, LIMIT_COMMAND_F1, LIMIT_STATISTICS = 0.5, 0.99, 0.98, 0.05
STATISTICS = ("brightness", "contrast", "saturation", "motion", "dark_share", "colored_share", "moving_share")
_ADAPTIVE = THRESHOLD_SCALES["adaptive"].default
_CONTENT = THRESHOLD_SCALES["content"].default


def decode(path: Path, *options: str) -> None:
    _run("ffmpeg", "-nostdin", "-v", "error", *options, "-i", str(path), "-an", "-f", "null", "-")


def decode_limit(references: float) -> float:
    """The limit of stage / decode, given the processor time of reference frames as a share of that of all."""
    if references <= 0.3:
        return 0.6
    return 1.15 if references > 0.95 else references + 0.35


def command_cuts(path: Path, *detector: str) -> list[int]:
    """The first frames of new scenes, from 0, as the scenedetect command finds them under the same rules."""
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(sys.executable).with_name("scenedetect"))
        _run(program, "-q", "-i", str(path), "-o", folder, "-m", "0.6s", "--merge-last-scene", *detector,
             "list-scenes", "-q", "-s")  # fmt: skip
        table = next(Path(folder).glob("*.csv"))
        with table.open(newline="") as file:
            return [int(row["Start Frame"]) - 1 for row in csv.DictReader(file)][1:]


def stage_result(path: Path, **options: Any) -> Scenes:
    with tempfile.TemporaryDirectory() as home:
        return run_stage(stage_item(path), Path(home), SceneDetection(**options))


def cuts(result: Scenes) -> list[int]:
    return [scene.start_frame for scene in result.scenes[1:]]


def statistics_difference(found: Scenes, reference: Scenes) -> float:
    """The largest relative difference between two videos' statistics; differences up to 0.01 do not count."""
    pairs = [(getattr(found.stats, name), getattr(reference.stats, name)) for name in STATISTICS]
    return max(abs(one - other) / max(one, other) if abs(one - other) > 0.01 else 0.0 for one, other in pairs)


def plain_script(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _run("ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path))
        found = scenedetect.detect(
            str(path), AdaptiveDetector(_ADAPTIVE, min_scene_len=0.6, window_width=ADAPTIVE_WINDOW)
        )
        frames = f"{folder}/frame-%05d.jpg"
        _run("ffmpeg", "-nostdin", "-v", "error", "-i", str(path), "-vf", "fps=1,scale=504:280", "-q:v", "3", frames)
        for number, (start, end) in enumerate(found or [(None, None)]):
            middle = (start.seconds + end.seconds) / 2 if start and end else 0.0
            _run("ffmpeg", "-nostdin", "-v", "error", "-ss", f"{middle:.3f}", "-i", str(path), "-frames:v", "1", "-vf",
                 "scale=320:-2", f"{folder}/thumb-{number:05d}.jpg")  # fmt: skip


def f1(found: Sequence[int], reference: Sequence[int], tolerance: int = 1) -> float:
    """F1 of `found` against `reference`, matched one to one within `tolerance` frames; 1 where both are empty."""
    left, matched = list(reference), 0
    for cut in found:
        near = next((other for other in left if abs(other - cut) <= tolerance), None)
        if near is not None:
            left.remove(near)
            matched += 1
    return 2 * matched / (len(found) + len(reference)) if found or reference else 1.0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=3600)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that `work` takes, and processor seconds of the programs that it runs."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a video; without it a clip is made")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    path = options.file or long_clip()
    item, home = stage_item(path), Path(tempfile.mkdtemp(prefix="vidpipe-bench-"))
    adaptive = ("detect-adaptive", "-t", str(_ADAPTIVE), "-f", str(ADAPTIVE_WINDOW))
    works: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(path),
        "references": lambda: decode(path, "-skip_frame", "noref"),
        "scenedetect": lambda: command_cuts(path, *adaptive),
        "stage": lambda: run_stage(item, home, SceneDetection()),
        "stage, all": lambda: run_stage(item, home, SceneDetection(decode="all")),
        "plain script": lambda: plain_script(path),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    processor: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            wall_s, processor_s = _timed(work)
            seconds[name].append(wall_s)
            processor[name].append(processor_s)
    shutil.rmtree(home, ignore_errors=True)
    best = {name: min(each) for name, each in seconds.items()}
    width, height = item["metadata.width"], item["metadata.height"]
    print(f"{path.name}: {item['metadata.duration_s']:.1f} s, {width}x{height}, {item['metadata.video_codec']}")
    for name, each in seconds.items():
        print(f"  {name:13} {best[name]:7.2f} s   (rounds: {', '.join(f'{value:.2f}' for value in each)})")
    references = min(processor["references"]) / min(processor["decode"])
    print(f"  references: {references:.2f} of the processor time of decode")
    kept = [
        _line("stage / decode", best["stage"] / best["decode"], "at most", decode_limit(references)),
        _line("stage / plain script", best["stage"] / best["plain script"], "at most", LIMIT_SCRIPT),
    ]
    print(f"  scenedetect / decode: {best['scenedetect'] / best['decode']:.2f}")
    commands: dict[DetectorName, tuple[str, ...]] = {
        "adaptive": adaptive,
        "content": ("detect-content", "-t", str(_CONTENT)),
    }
    for name, arguments in commands.items():
        auto, every, command = (
            stage_result(path, detector=name),
            stage_result(path, detector=name, decode="all"),
            command_cuts(path, *arguments),
        )
        counts = f"{len(cuts(auto))}, {len(cuts(every))}, {len(command)}"
        print(f"  {name}: cuts of auto ({auto.decoded}), all and the command: {counts}")
        kept += [
            _line("  F1 of auto and all", f1(cuts(auto), cuts(every)), "at least", LIMIT_MODES_F1),
            _line("  F1 of all and the command", f1(cuts(every), command), "at least", LIMIT_COMMAND_F1),
            _line("  statistics of auto and all", statistics_difference(auto, every), "at most", LIMIT_STATISTICS),
        ]
    return 0 if all(kept) else 1


def _line(name: str, value: float, relation: str, limit: float) -> bool:
    kept = value <= limit if relation == "at most" else value >= limit
    print(f"  {name}: {value:.3f} ({relation} {limit:g}: {'kept' if kept else 'MISSED'})")
    return kept


if __name__ == "__main__":
    sys.exit(main())
