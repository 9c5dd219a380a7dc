"""Clips against one ffmpeg pass with the same outputs: `python -m benchmarks.clip_cutting [FILE] [--clips N]`.

    one pass        ffmpeg -i FILE -f segment: decodes and encodes the file once, with the size, quality and preset of
                    the clips, and begins a new file at each of the same times; it verifies nothing
    clips           the same clips by `ClipMaker`, verified, as many groups at a time as there are processors
    again           the same clips once more: they exist

Each round runs all of them in turn; the fastest run of each counts. Limit of clips / one pass: 1.2.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

from benchmarks.clips import OUT, long_clip, make
from vidpipe.datasets.clips.maker import Clip, ClipMaker, ClipRequest, together
from vidpipe.datasets.clips.ranges import by_length
from vidpipe.media.encode import EncodeFormat
from vidpipe.media.probe import probe
from vidpipe.settings import Settings

LIMIT = 1.2
_WORKERS = os.cpu_count() or 1


def film(seconds: float) -> Path:
    """The long clip, again and again, for at least so many seconds."""
    clip = long_clip()
    times = int(seconds // (probe(clip).duration_s or 1.0)) + 1
    path = OUT / f"{clip.stem}-{times}-times.mp4"
    if times == 1:
        return clip
    if not path.exists():
        make(path, "-stream_loop", str(times - 1), "-i", str(clip), "-c", "copy")
    return path


def one_pass(path: Path, requests: list[ClipRequest], folder: Path, form: EncodeFormat) -> int:
    info, ends = probe(path), ",".join(f"{one.start_s:.6f}" for one in requests[1:])
    width, height = form.size(info.width, info.height)
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", str(path), "-t", str(requests[-1].end_s)]
    command += ["-map", "0:v:0", "-map", "0:a:0?", "-vf", f"scale={width}:{height},format=yuv420p"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        form.preset,
        "-crf",
        str(form.crf),
        "-c:a",
        "aac",
        "-b:a",
        "128k",
        "-ac",
        "2",
    ]
    command += ["-force_key_frames", ends, "-f", "segment", "-segment_times", ends, "-reset_timestamps", "1"]
    subprocess.run([*command, "-segment_format_options", "movflags=+faststart", f"{folder}/%05d.mp4"], check=True)
    return len(list(folder.glob("*.mp4")))


def clips(requests: list[ClipRequest], home: Path, form: EncodeFormat) -> int:
    @contextmanager
    def video(sha256: str, path: str, cancelled: Event) -> Iterator[Path]:
        yield Path(path)

    library: Any = SimpleNamespace(settings=Settings(home=home), files=SimpleNamespace(video=video))
    maker = ClipMaker(library, form, Event())
    with ThreadPoolExecutor(_WORKERS) as pool:
        made = [clip for few in pool.map(maker.make_all, together(requests, _WORKERS)) for clip in few.values()]
    for clip in made:
        if not isinstance(clip, Clip):
            raise clip
    return len(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a video; without it a film is made")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--length", type=float, default=3.0, help="seconds of a clip")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    path, form = options.file or film(options.clips * options.length), EncodeFormat()
    duration_s = probe(path).duration_s or 0.0
    parts = by_length(duration_s, options.length, 0.0, "drop")[: options.clips]
    requests = [ClipRequest("0" * 64, str(path.absolute()), one.start_s, one.end_s) for one in parts]
    seconds: dict[str, list[float]] = {"one pass": [], "clips": [], "again": []}
    processor: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(options.rounds):
        folder = Path(tempfile.mkdtemp(prefix="vidpipe-bench-"))
        for name, each in seconds.items():
            started, before = time.perf_counter(), os.times()
            made = one_pass(path, requests, folder, form) if name == "one pass" else clips(requests, folder, form)
            after = os.times()
            each.append(time.perf_counter() - started)
            processor[name].append(sum(after[:4]) - sum(before[:4]))
            if made != len(requests):
                raise RuntimeError(f"{name}: {made} of {len(requests)} clips")
        shutil.rmtree(folder)
    print(f"{path.name}: {len(requests)} clips of {options.length:g} s, {_WORKERS} at a time")
    for name, each in seconds.items():
        print(f"  {name:9} {min(each):7.2f} s, {min(processor[name]):7.2f} s of processor time")
    ratio = min(seconds["clips"]) / min(seconds["one pass"])
    work = min(processor["clips"]) / min(processor["one pass"])
    print(f"  clips / one pass: {ratio:.3f} (at most {LIMIT}: {'kept' if ratio <= LIMIT else 'MISSED'}); "
          f"processor time {work:.3f}")  # fmt: skip
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
