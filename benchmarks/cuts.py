"""Accuracy of the detectors: `python -m benchmarks.cuts [--detectors adaptive,transnetv2] [--seconds 2]`.

Protocol: one video is made of parts of real clips (of patterns where there are none), each from within one shot,
640x360 at 25 frames per second. They are joined by hard cuts and, every second time, by dissolves of 0.4 or 0.8 s.
Each detector runs in the scenes stage with its default threshold. Matches are one to one: of a hard cut within one
frame, of a dissolve anywhere between its start and end. F1 of cuts leaves out what was
found in dissolves, and F1 of dissolves what was found at cuts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.clips import _MADE_PARTS, OUT, REAL, make
from benchmarks.stage_run import stage_item
from vidpipe.models.transnetv2 import build_cut_model
from vidpipe.settings import Settings
from vidpipe.settings.schema import THRESHOLD_SCALES, SceneDetection
from vidpipe.stages import scenes
from vidpipe.stages.contract import StageContext

RATE = 25
#: (file, start in seconds) of parts within one shot.
_PARTS = (("bikes.mp4", 3.1), ("bigbuckbunny.mp4", 0), ("dj1.mp4", 1), ("pancake.mkv", 2), ("dj2.mp4", 4),
          ("bikes.mp4", 5.5), ("dj3.mp4", 2), ("nasa.mp4", 5.2), ("dj2.mp4", 12), ("dj1.mp4", 6.5), ("dj3.mp4", 20),
          ("bigbuckbunny.mp4", 2.5), ("pancake.mkv", 6), ("dj3.mp4", 36))  # fmt: skip
Span = tuple[int, int]


def joined_clip(seconds: float) -> tuple[Path, list[Span], list[Span]]:
    """The video, and the first and last frame at which each hard cut, and each dissolve, may be found."""
    inputs = [("-ss", str(start), "-t", str(seconds), "-i", str(REAL / name)) for name, start in _PARTS]
    if not REAL.is_dir():
        sources = [_MADE_PARTS[number % len(_MADE_PARTS)].format(s=seconds) for number in range(14)]
        inputs = [("-f", "lavfi", "-t", str(seconds), "-i", source) for source in sources]
    fit = f"scale=640:360,setsar=1,fps={RATE},format=yuv420p,trim=0:{seconds},setpts=PTS-STARTPTS,settb=1/{RATE}"
    graph = [f"[{number}:v]{fit}[v{number}]" for number in range(len(inputs))]
    frames, last = round(seconds * RATE), "v0"
    length, cuts, dissolves = frames, list[Span](), list[Span]()
    for number in range(1, len(inputs)):
        if number % 2:
            graph.append(f"[{last}][v{number}]concat,settb=1/{RATE}[j{number}]")
            cuts.append((length - 1, length + 1))
            length += frames
        else:
            duration = 10 if number % 4 else 20
            offset = (length - duration) / RATE
            graph.append(f"[{last}][v{number}]xfade=duration={duration / RATE}:offset={offset}[j{number}]")
            dissolves.append((length - duration, length))
            length += frames - duration
        last = f"j{number}"
    path = OUT / f"joined-{seconds:g}{'' if REAL.is_dir() else '-made'}.mp4"
    if not path.exists():
        arguments = [argument for part in inputs for argument in part]
        make(path, *arguments, "-filter_complex", ";".join(graph), "-map", f"[{last}]", "-an", "-c:v", "libx264",
             "-preset", "veryfast", "-crf", "20")  # fmt: skip
    return path, cuts, dissolves


def f1(found: list[int], wanted: list[Span], others: list[Span]) -> tuple[float, int, int]:
    """F1 of `wanted`, how many were found, and how many frames are false: near neither `wanted` nor `others`."""
    own = [frame for frame in found if not any(first <= frame <= last for first, last in others)]
    matched = sum(any(first <= frame <= last for frame in own) for first, last in wanted)
    return 2 * matched / (len(own) + len(wanted)) if own or wanted else 1.0, matched, len(own) - matched


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--detectors", default=",".join(THRESHOLD_SCALES))
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of a part")
    options = parser.parse_args()
    path, cuts, dissolves = joined_clip(options.seconds)
    item = stage_item(path)
    print(f"{path.name}: {item['metadata.duration_s']:.1f} s, {len(cuts)} cuts, {len(dissolves)} dissolves")
    print("  detector      cuts: F1, found    dissolves: F1, found    false    seconds")
    for name in options.detectors.split(","):
        detection = SceneDetection(detector=name)
        settings = Settings(home=Path(tempfile.mkdtemp(prefix="vidpipe-bench-")), scene_detection=detection)
        context = StageContext(settings)
        if name == "transnetv2":
            context = replace(context, resources={"cut_model": build_cut_model(settings)})
        began = time.perf_counter()
        (outcome,) = scenes.STAGE.function([item], context)
        seconds = time.perf_counter() - began
        if outcome.error:
            raise outcome.error
        found = [scene.start_frame for scene in outcome.result.scenes[1:]]  # type: ignore[union-attr]
        of_cuts, of_dissolves = f1(found, cuts, dissolves), f1(found, dissolves, cuts)
        print(
            f"  {name:12}  {of_cuts[0]:8.3f}, {of_cuts[1]:5}    {of_dissolves[0]:13.3f}, {of_dissolves[1]:5}    "
            f"{of_cuts[2]:5}    {seconds:7.1f}",
            flush=True,
        )
        for resource in context.resources.values():
            resource.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
