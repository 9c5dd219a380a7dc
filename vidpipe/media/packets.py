"""Frame count, duration and rate read from the packets themselves, for files whose headers are silent."""

from __future__ import annotations

import itertools
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from vidpipe.media.ffmpeg import ffprobe_command, run

#: The slowest disk that is waited for.
_BYTES_PER_SECOND = 20 << 20
#: Intervals that differ from the median by more are another rate: containers round times to 1 ms, cameras drop a frame.
_JITTER_S = 0.0015
_JITTER_SHARE = 0.02
_STRAY_INTERVALS = 0.01


@dataclass(frozen=True)
class PacketFacts:
    """What the packets of one video stream say.

    count:       packets to be shown (those an edit list hides are left out)
    start_s:     first presentation time; None where packets carry no times
    duration_s:  from the first presentation time to the end of the last picture; None without times
    constant:    the interval between pictures is the same throughout; None where it cannot be told
    """

    count: int
    start_s: float | None
    duration_s: float | None
    constant: bool | None


def reading_limit_s(path: Path) -> float:
    """How long reading `path` from end to end may take."""
    return 120 + os.stat(path).st_size / _BYTES_PER_SECOND


def read_packets(path: Path, stream: int) -> PacketFacts:
    """Read the packets of a stream without decoding them. Raises MediaError where that takes too long."""
    command = ffprobe_command(
        path, "-v", "error", "-select_streams", str(stream),
        "-show_entries", "packet=pts_time,dts_time,duration_time,flags", "-of", "compact=p=0",
    )  # fmt: skip
    # 1 GiB of lines is 12 million packets: 111 hours at 30 frames a second
    listed = run(command, timeout_s=reading_limit_s(path), max_output_bytes=1 << 30)
    return _from_listing(listed.stdout)


def _from_listing(listing: bytes) -> PacketFacts:
    count = 0
    times: list[float] = []
    last_duration = end = 0.0
    for line in listing.splitlines():
        packet = dict(part.partition(b"=")[::2] for part in line.split(b"|"))
        # an empty line stands where a packet's side data was left out
        if b"flags" not in packet or b"D" in packet[b"flags"]:
            continue
        count += 1
        time_s = _seconds(packet.get(b"pts_time"))
        if time_s is None:
            time_s = _seconds(packet.get(b"dts_time"))
        if time_s is not None:
            times.append(time_s)
            last_duration = _seconds(packet.get(b"duration_time")) or 0.0
            end = max(end, time_s + last_duration)
    if not times:
        return PacketFacts(count, None, None, None)
    times.sort()
    intervals = [later - earlier for earlier, later in itertools.pairwise(times) if later > earlier]
    usual = statistics.median(intervals) if intervals else last_duration
    if not last_duration:
        # Matroska names no duration of most packets: the last picture then lasts as long as the one before
        end = max(end, times[-1] + (intervals[-1] if intervals else 0.0))
    return PacketFacts(count, times[0], end - times[0], _is_constant(intervals, usual))


def _is_constant(intervals: list[float], usual: float) -> bool | None:
    if not intervals:
        return None
    jitter = max(_JITTER_S, usual * _JITTER_SHARE)
    stray = sum(abs(interval - usual) > jitter for interval in intervals)
    return stray <= len(intervals) * _STRAY_INTERVALS


def _seconds(text: bytes | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
