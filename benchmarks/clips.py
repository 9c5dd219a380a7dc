"""The videos that the benchmarks run on, made once into benchmarks/out/."""

from __future__ import annotations

import os
import subprocess
from itertools import islice, product
from pathlib import Path

OUT = Path(__file__).parent / "out"
#: Real clips, if they are there: film, animation, cartoons, a hand-held camera, a portrait video.
REAL = Path(os.environ.get("VIDPIPE_TEST_CLIPS") or Path(__file__).parents[2] / "shared" / "clips")
_REAL_PARTS = ("bikes.mp4", "bigbuckbunny.mp4", "nasa.mp4", "dj1.mp4", "dj2.mp4", "bikes.mp4", "pancake.mkv", "dj1.mp4",
               "dj3.mp4", "bikes.mp4")  # fmt: skip
_MADE_PARTS = ("testsrc2=s=1920x1080:r=30:d={s}", "mandelbrot=s=1920x1080:r=30:end_pts=400,trim=0:{s}",
               "gradients=s=1920x1080:r=30:d={s}:speed=0.02", "life=s=480x270:r=30:mold=10,scale=1920:1080,trim=0:{s}",
               "cellauto=s=960x540:r=30,scale=1920:1080,trim=0:{s}", "smptehdbars=s=1920x1080:r=30:d={s}")  # fmt: skip
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "22", "-c:a", "aac", "-b:a", "128k")

#: Parts of real clips, as (file, start in seconds): film, animation, cartoons, hand-held cameras, portrait videos.
_MIXED_PARTS = (("bikes.mp4", 0), ("bigbuckbunny.mp4", 0), ("nasa.mp4", 0), ("dj1.mp4", 0), ("dj2.mp4", 0),
                ("dj2.mp4", 10), ("dj3.mp4", 0), ("dj3.mp4", 18), ("dj3.mp4", 36), ("pancake.mkv", 0))  # fmt: skip
_MIXED_PART_S = 8
#: How each part is stored, as (suffix, longer side, frames per second, encoder): common sizes and codecs.
_MIXED_FORMATS = (
    ("mp4", 0, 0, ("-c", "copy")),
    ("mp4", 1280, 30, _H264),
    ("mp4", 1920, 25, ("-c:v", "libx264", "-preset", "faster", "-crf", "23", "-c:a", "aac")),
    ("mp4", 960, 24, ("-c:v", "libx265", "-preset", "superfast", "-x265-params", "log-level=error", "-c:a", "aac")),
    ("webm", 640, 30, ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "900k",
                       "-c:a", "libopus")),
    ("mkv", 854, 24, ("-c:v", "libsvtav1", "-preset", "11", "-crf", "35", "-c:a", "libopus")),
)  # fmt: skip


def long_clip() -> Path:
    """About two minutes of 1080p30 h264 with sound: real clips one after another, or patterns where there are none."""
    parts = [str(REAL / name) for name in _REAL_PARTS] if REAL.is_dir() else []
    path = OUT / ("clip-1080p.mp4" if parts else "clip-1080p-made.mp4")
    if path.exists():
        return path
    inputs: list[str] = []
    for part in parts:
        inputs += ["-t", "20", "-i", part]
    if not parts:
        for number in range(40):
            source = _MADE_PARTS[number % len(_MADE_PARTS)].format(s=2 + number % 3)
            inputs += ["-f", "lavfi", "-i", f"{source},noise=alls=8:allf=t"]
    count = inputs.count("-i")
    fit = (
        "scale=1920:1080:force_original_aspect_ratio=decrease,pad=1920:1080:(ow-iw)/2:(oh-ih)/2,setsar=1,fps=30,"
        "format=yuv420p,setpts=PTS-STARTPTS"
    )
    graph = ";".join(f"[{number}:v]{fit}[v{number}]" for number in range(count))
    graph += ";" + "".join(f"[v{number}]" for number in range(count)) + f"concat=n={count}[v]"
    tone = "aevalsrc='0.2*sin(440*2*PI*t)*gt(mod(t,10),3)+0.02*random(0)':s=44100"
    make(path, *inputs, "-f", "lavfi", "-i", tone, "-filter_complex", graph, "-map", "[v]", "-map", f"{count}:a",
         "-shortest", *_H264)  # fmt: skip
    return path


def looped_clip(minutes: int) -> Path:
    """`minutes` of 320x180 with a cut every four seconds and sound: one minute, repeated."""
    minute, path = OUT / "minute.mp4", OUT / f"{minutes}-minutes.mp4"
    if not minute.exists():
        scene = "testsrc2=s=320x180:r=25:d=60,hue=h='90*floor(t/4)':b='2*mod(floor(t/4),3)-2'"
        tone = "aevalsrc='0.2*sin(440*2*PI*t)*gt(mod(t,10),3)':s=44100:d=60"
        make(minute, "-f", "lavfi", "-i", scene, "-f", "lavfi", "-i", tone, *_H264)
    if not path.exists():
        make(path, "-stream_loop", str(minutes - 1), "-i", str(minute), "-c", "copy")
    return path


def mixed_clips(count: int = 60) -> list[Path]:
    """Up to 60 different videos of 5 to 8 s: ten real clips (or patterns) in six sizes, frame rates and codecs each."""
    parts = [("-ss", str(start), "-t", str(_MIXED_PART_S), "-i", str(REAL / name)) for name, start in _MIXED_PARTS]
    if not REAL.is_dir():
        parts = [("-f", "lavfi", "-i", _MADE_PARTS[n % len(_MADE_PARTS)].format(s=5 + n % 4)) for n in range(10)]
    folder, paths = OUT / ("mixed" if REAL.is_dir() else "mixed-made"), []
    for (number, part), (kind, (suffix, side, rate, encoder)) in islice(
        product(enumerate(parts), enumerate(_MIXED_FORMATS)), count
    ):
        path = folder / f"clip-{number}-{kind}.{suffix}"
        scale = (
            f"scale={side}:{side}:force_original_aspect_ratio=decrease:force_divisible_by=2,fps={rate},format=yuv420p"
        )
        filters = ("-vf", scale) if side else ()
        if not path.exists():
            stored = encoder if side or REAL.is_dir() else _H264
            title = ("-metadata", f"title=clip {path.stem}")
            make(path, *part, "-map", "0:v:0", "-map", "0:a:0?", *filters, *stored, *title)
        paths.append(path)
    return paths


def make(path: Path, *arguments: str) -> None:
    """`ffmpeg ARGUMENTS path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments, str(partial)], check=True, timeout=3600)
    partial.rename(path)
