"""When a damaged video is damaged: which packets fail to decode, and which pictures are missing."""

import re
import statistics
from bisect import bisect, bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from vidpipe.media.decoder_messages import HARMLESS
from vidpipe.media.ffmpeg import ffprobe_command
from vidpipe.media.programs import lines

#: (start, end) in seconds.
Times = tuple[float, float]

_ENTRIES = "packet=pts_time,flags:frame=best_effort_timestamp_time:log=level,message"
_ERROR = re.compile(r"log\|\d+\|(?:\[[^]]*\] )?([^|]*)")
#: In usual intervals: how far a picture of a packet may be from its time, and the shortest gap in which packets are
#: missing, if this share of the intervals is the usual one, but for rounding.
_SAME_PICTURE, _GAP, _REGULAR, _JITTER = 0.6, 2.5, 0.9, 0.15
#: Most spans of a video; the nearest ones are joined.
_MOST = 1000


class _Stream(NamedTuple):
    """A decoded stream.

    Attributes:
        packets: (time, whether it is a key frame), in the order of the file.
        failed: Times of packets that were decoded with errors.
        decoded: Times of what was decoded, in order.
        interval_s: The usual interval between two of them.
    """

    packets: list[tuple[float, bool]]
    failed: set[float]
    decoded: list[float]
    interval_s: float


def damaged_times(path: Path, video: int, audio: int | None, timeout_s: float) -> list[Times]:
    """Decode a file again, one packet after another, and return the times of what is damaged, from its first frame on.

    A damaged picture damages those that refer to it: from the last complete one before it to the next key frame.

    Args:
        path: The file.
        video: Index of the video stream.
        audio: Index of the audio stream; None: none.
        timeout_s: Time limit of each stream, in seconds.

    Raises:
        MediaError: The file cannot be decoded within its limits.
    """
    pictures = _decode(path, video, timeout_s)
    if not pictures.decoded:
        return []
    spans = _of_pictures(pictures)
    if audio is not None:
        sound = _decode(path, audio, timeout_s)
        spans += [(time_s, time_s + sound.interval_s) for time_s in sound.failed]
    first_s = pictures.decoded[0]
    return joined([(start_s - first_s, end_s - first_s) for start_s, end_s in spans], pictures.interval_s)


def joined(spans: Iterable[Times], distance_s: float) -> list[Times]:
    """Return spans in order, from 0 s on; those that are no further apart than `distance_s` become one."""
    found: list[Times] = []
    for start_s, end_s in sorted(spans):
        if found and start_s <= found[-1][1] + distance_s:
            found[-1] = found[-1][0], round(max(found[-1][1], end_s), 3)
        elif end_s > 0:
            found.append((round(max(0.0, start_s), 3), round(end_s, 3)))
    return found if len(found) <= _MOST else joined(found, 2 * distance_s)


def _decode(path: Path, stream: int, timeout_s: float) -> _Stream:
    # with one thread, messages follow the packet that they are about
    options = ("-threads", "1", "-select_streams", str(stream), "-show_log", "16")
    command = ffprobe_command(path, *options, show=_ENTRIES, output="compact=nk=1", log_level="quiet")
    packets: list[tuple[float, bool]] = []
    failed: set[float] = set()
    decoded: list[float] = []
    for raw in lines(command, timeout_s=timeout_s, task="locating damage"):
        kind, time, *rest = f"{raw.decode(errors='replace').strip()}||".split("|", 2)
        if kind == "packet" and time != "N/A" and "D" not in rest[0]:
            packets.append((float(time), "K" in rest[0]))
        elif kind == "frame" and time != "N/A":
            decoded.append(float(time))
        if packets and any(message.strip() not in HARMLESS for message in _ERROR.findall(rest[0])):
            failed.add(packets[-1][0])
    decoded.sort()
    steps = [b - a for a, b in pairwise(decoded) if b > a]
    return _Stream(packets, failed, decoded, statistics.median(steps) if steps else 0.04)


def _of_pictures(stream: _Stream) -> list[Times]:
    packets, failed, decoded, interval_s = stream
    times = sorted(time_s for time_s, _ in packets)
    keys = [*sorted(time_s for time_s, key in packets if key), max(*times[-1:], decoded[-1]) + interval_s]
    steps = [b - a for a, b in pairwise(times)]
    constant = sum(abs(step - interval_s) < _JITTER * interval_s for step in steps) > _REGULAR * len(steps)
    spans = [(a + interval_s, b) for a, b in pairwise(times) if constant and b - a > _GAP * interval_s]
    latest_s = decoded[0] - interval_s
    for time_s, _ in packets:
        if time_s >= decoded[0] and (time_s in failed or _distance(decoded, time_s) > _SAME_PICTURE * interval_s):
            between = time_s < latest_s  # two pictures that it refers to
            end_s = latest_s if between else keys[min(bisect(keys, time_s), len(keys) - 1)]
            spans.append((min(time_s, latest_s + interval_s), end_s) if not between else (time_s, end_s))
        latest_s = max(latest_s, time_s)
    return spans


def _distance(times: Sequence[float], time_s: float) -> float:
    place = bisect_left(times, time_s)
    return min(abs(other_s - time_s) for other_s in times[max(0, place - 1) : place + 1])
