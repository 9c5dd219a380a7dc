"""Peak memory of the scenes stage over 10 and over 60 minutes of video: `python -m benchmarks.memory`.

Each file is worked on by a process of its own, which tells its own peak and ffmpeg's (resident set, MiB). Limit: the
sums differ by at most 10 per cent.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clips import looped_clip
from benchmarks.stage_run import run_stage, stage_item
from vidpipe.settings.schema import SceneDetection

LIMIT = 1.10


def measure(path: Path) -> dict[str, float]:
    """Peaks in MiB, in this process and its children, after one run of the stage."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        result = run_stage(stage_item(path), Path(home), SceneDetection())
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {
        "python": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "ffmpeg": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit,
        "scenes": result.count,
        "seconds": time.perf_counter() - started,
    }


def main() -> int:
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
        return 0
    peaks = []
    for minutes in (10, 60):
        command = [sys.executable, "-m", "benchmarks.memory", str(looped_clip(minutes))]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3600)
        found = json.loads(done.stdout)
        peaks.append(found["python"] + found["ffmpeg"])
        print(
            f"{minutes} minutes: peak {peaks[-1]:.1f} MiB (python {found['python']:.1f}, ffmpeg {found['ffmpeg']:.1f}),"
            f" {found['scenes']:.0f} scenes, {found['seconds']:.1f} s"
        )
    ratio = max(peaks) / min(peaks)
    print(f"ratio: {ratio:.3f} (at most {LIMIT:g}: {'kept' if ratio <= LIMIT else 'MISSED'})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
