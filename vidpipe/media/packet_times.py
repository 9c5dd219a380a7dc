"""The presentation times of all packets of the video stream, listed by ffmpeg while it decodes some of them.

They tell how many frames lie between two decoded ones, which number a frame has, and where decoding can begin.
"""

import os
import threading
from bisect import bisect_left, bisect_right
from fractions import Fraction

#: Times in files are rounded, often to milliseconds.
TOLERANCE_US = 1000
#: Frames that are closer to each other cannot be told apart by their times.
_MIN_INTERVAL_US = 2 * TOLERANCE_US - 1
#: H.264 and HEVC show at most this many earlier packets after a packet.
_MAX_REORDERED = 16
_KEY, _DISCARD = 1, 4
_NO_TIME = -(1 << 63)


class PacketTimes(threading.Thread):
    """Reads the list. Times are in microseconds, as ffmpeg reports those of decoded frames.

    Attributes:
        count: Number of packets so far, without those that an edit list hides.
        listed_us: All packets of frames up to this time have been listed.
        unsuitable: Why the list cannot be used; empty if it can. Nothing more is listed then.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True, name="packet-times")
        reader, self._writer = os.pipe()
        self._pipe = os.fdopen(reader, "rb")
        self._lock = threading.Lock()
        self._times: list[int] = []
        self._keys: list[int] = []
        self._taken = 0
        self._unit_us = Fraction(1)
        self.count = 0
        self.listed_us = -1
        self.unsuitable = ""

    @property
    def writers(self) -> tuple[int, ...]:
        """File descriptors that ffmpeg must inherit."""
        return (self._writer,)

    @property
    def arguments(self) -> list[str]:
        """Arguments of ffmpeg for the output of the list."""
        return ["-c:v", "copy", "-flush_packets", "1", "-f", "framecrc", f"pipe:{self._writer}"]

    def close_writers(self) -> None:
        """Close the writing end in this process."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def close(self) -> None:
        """Close the pipe."""
        self.close_writers()
        self._pipe.close()

    def run(self) -> None:
        """Read until ffmpeg ends, to the end in any case: ffmpeg would wait for a reader that has stopped."""
        for line in self._pipe:
            if not self.unsuitable:
                try:
                    self._read(line)
                except (ValueError, ZeroDivisionError):  # the last line may be incomplete
                    self.unsuitable = "the list of packets is damaged"

    def _read(self, line: bytes) -> None:
        if line.startswith(b"#"):
            if line.startswith(b"#tb 0:"):
                self._unit_us = Fraction(line[6:].strip().decode()) * 1_000_000
            return
        _, dts, pts, _, _, _, *more = line.split(b",")
        # flags are left out if they are those of a key frame
        flags = int(more[0].rpartition(b"x")[2], 16) if more and b"F=" in more[0] else _KEY
        if int(pts) == _NO_TIME:
            self.unsuitable = "a packet has no presentation time"
        else:
            self._add(round(int(dts) * self._unit_us), round(int(pts) * self._unit_us), flags)

    def _add(self, dts_us: int, time_us: int, flags: int) -> None:
        with self._lock:
            # no frame is shown before it is decoded
            self.listed_us = max(self.listed_us, dts_us - 1)
            if flags & _DISCARD:
                return
            place = bisect_left(self._times, time_us)
            if self._keys and time_us < self._keys[-1]:
                self.unsuitable = "pictures that follow a key frame in the file are shown before it"
            elif len(self._times) - place > _MAX_REORDERED:
                self.unsuitable = "the packets are not in decoding order"
            elif any(abs(other - time_us) < _MIN_INTERVAL_US for other in self._times[max(0, place - 1) : place + 1]):
                self.unsuitable = "frames share a time"
            if flags & _KEY:
                self._keys.append(time_us)
            self._times.insert(place, time_us)
            self.count += 1

    def between(self, start_us: int, end_us: int) -> list[int]:
        """Return the times from `start_us` to `end_us`, both included. Those before `number` are no longer known."""
        with self._lock:
            first = bisect_left(self._times, start_us - TOLERANCE_US)
            return self._times[first : bisect_right(self._times, end_us + TOLERANCE_US)]

    def key_before(self, time_us: int) -> int:
        """Return the time of the last key frame at or before `time_us`; 0 if there is none."""
        with self._lock:
            place = bisect_right(self._keys, time_us + TOLERANCE_US)
            return self._keys[place - 1] if place else 0

    def number(self, time_us: int) -> int:
        """Return the number of the frame at `time_us`, counted from 0. Forgets earlier packets, so times must rise."""
        with self._lock:
            place = bisect_left(self._times, time_us - TOLERANCE_US)
            self._taken += place
            del self._times[:place]
            del self._keys[: max(0, bisect_right(self._keys, time_us + TOLERANCE_US) - 1)]
            return self._taken
