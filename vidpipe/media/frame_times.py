"""The times of all frames of a video, by which it is cut."""

import math
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidpipe.media.decode import DecodePass
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.packets import read_packets
from vidpipe.media.streams import INTERLACED_ORDERS
from vidpipe.media.timing import last_frame_s

#: Times that people and files state are often rounded to milliseconds.
_ROUNDING_S = 0.000501
#: Containers in which ffmpeg's seek ends at a key frame at or before the time.
_INDEXED = ("mov", "matroska")
#: How much earlier to look for a key frame in other containers.
_EARLIER_S = 1.0


@dataclass(frozen=True)
class FrameTimes:
    """Times of frames, in seconds from the first one.

    Attributes:
        times_s: The times, in ascending order; each once.
        end_s: End of the last frame.
        first_s: Time of the first frame by the file's clock. None: the clock jumps, or the frames are not those that
            the container lists, so that they are found only by decoding from the start.
        keys_s: Times of the key frames, in ascending order.
        indexed: Whether a seek ends at the key frame at or before a time.
    """

    times_s: Sequence[float] = ()
    end_s: float = 0.0
    first_s: float | None = None
    keys_s: Sequence[float] = ()
    indexed: bool = False

    @property
    def tolerance_s(self) -> float:
        """Half of the smallest interval between two frames: times that differ by less are those of one frame."""
        return float(np.diff(self.times_s).min()) / 2 if len(self.times_s) > 1 else self.end_s / 2

    def between(self, start_s: float, end_s: float) -> range:
        """Return the numbers of the frames at start_s <= time < end_s, but for the rounding of stated times."""
        rounding_s = min(_ROUNDING_S, self.tolerance_s)
        first, end = (bisect_left(self.times_s, time_s - rounding_s) for time_s in (start_s, end_s))
        return range(first, max(first, end))

    def at(self, number: int) -> float:
        """Return the time of a frame, or the end of the last one."""
        return float(self.times_s[number]) if number < len(self.times_s) else self.end_s

    def key_before(self, time_s: float) -> float:
        """Return the time of the last key frame at or before a time; 0 if there is none."""
        place = bisect_right(self.keys_s, time_s + self.tolerance_s)
        return float(self.keys_s[place - 1]) if place else 0.0

    def seek_s(self, time_s: float) -> float:
        """Return where to seek so that decoding begins at or before the key frame that the frame at a time needs."""
        return time_s if self.indexed and self.keys_s else self.key_before(time_s) - _EARLIER_S


def listed_times(path: Path, facts: Mapping[str, Any]) -> FrameTimes | None:
    """Return the times that the packets of a file state; None if they are not those of its frames.

    Args:
        path: The file.
        facts: The fields of its `MediaInfo`.
    """
    if facts["clock_jumps"] or facts["duration_source"] != "packets":
        return None
    rate, interlaced = facts["frame_rate"], facts["field_order"] in INTERLACED_ORDERS
    packets = read_packets(
        path, facts["video_stream"], facts["container"], field_s=1 / rate / 2 if rate and interlaced else None,
        delay=1, codec=facts["video_codec"],
    )  # fmt: skip
    if packets is None or not packets.times_s:
        return None
    first_s = packets.times_s[0]
    keys = sorted(time_s - first_s for time_s in packets.keys_s if not math.isnan(time_s))
    times = np.unique(np.asarray(packets.times_s) - first_s)
    return FrameTimes(times, facts["duration_s"], first_s, keys, facts["container"] in _INDEXED)  # type: ignore[arg-type]


def decoded_times(
    path: Path, plan: DecodePlan, facts: Mapping[str, Any], time_limit_s: float, cancelled: threading.Event
) -> FrameTimes:
    """Return the times of the frames that ffmpeg decodes of a whole file.

    Args:
        path: The file.
        plan: How it is decoded.
        facts: The fields of its `MediaInfo`.
        time_limit_s: Time limit in seconds.
        cancelled: Ends the work when set; frames are missing then.
    """
    tiny = replace(plan, detection=(16, 16), candidate=(16, 16), candidate_interval_s=1e9, dense_from_s=None)
    with DecodePass(path, tiny, time_limit_s=time_limit_s, cancelled=cancelled) as running:
        found = []
        for frame in running.frames():
            found.append(frame.time_us)
            running.sound.clear()
    times = np.unique(np.asarray(found, np.int64))
    if not len(times):
        return FrameTimes()
    last_us, gap_us = int(times[-1] - times[0]), int(times[-1] - times[-2]) if len(times) > 1 else 0
    rest_s = last_frame_s(len(times), last_us, gap_us, 1 / (facts["frame_rate"] or 25.0), facts["duration_s"])
    return FrameTimes((times - times[0]) / 1e6, last_us / 1e6 + rest_s)
