"""What a full decode of a file says of its times: what measured timing is compared with."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

_TIME = "best_effort_timestamp_time"


def decoded_timing(path: Path) -> tuple[int, float]:
    """(frames that ffprobe decodes, last time plus its duration minus first time in seconds)."""
    command = [
        "ffprobe", "-v", "quiet", "-select_streams", "v:0", "-show_entries",
        "frame=best_effort_timestamp_time,pkt_duration_time,duration_time", "-of", "json", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    frames = json.loads(done.stdout)["frames"]
    times = sorted(float(frame[_TIME]) for frame in frames if _TIME in frame)
    last = frames[-1].get("duration_time") or frames[-1].get("pkt_duration_time")
    # some containers have no durations: the last frame then lasts as long as the one before
    last_s = float(last) if last else times[-1] - times[-2]
    # after the last picture of MPEG program streams and AVI there is none whose time it could take
    untimed_s = last_s * (len(frames) - len(times))
    return len(frames), times[-1] + last_s + untimed_s - times[0]
