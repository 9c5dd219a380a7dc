"""The presentation times of all packets of the video stream, listed by ffmpeg while it decodes some of them.

They tell how many frames lie between two decoded ones, which number a frame has, and where decoding can begin.
"""

import os
import threading
from bisect import bisect_left, bisect_right, insort
from fractions import Fraction

#: Times in files are rounded, often to milliseconds.
TOLERANCE_US = 1000
_KEY, _DISCARD = 1, 4


class PacketTimes(threading.Thread):
    """Reads the list. Times are in microseconds, as ffmpeg reports those of decoded frames.

    Attributes:
        count: Number of packets so far, without those that an edit list hides.
        listed_us: All packets of frames up to this time have been listed.
        untimed: Whether a packet has no presentation time.
        open_groups: Whether pictures that follow a key frame in the file are shown before it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True, name="packet-times")
        reader, self._writer = os.pipe()
        self._pipe = os.fdopen(reader, "rb")
        self._lock = threading.Lock()
        self._times: list[int] = []
        self._keys: list[int] = []
        self._taken = 0
        self.count = 0
        self.listed_us = -1
        self.untimed = self.open_groups = False

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
        """Read until ffmpeg ends."""
        time_base = Fraction(1, 1_000_000)
        for line in self._pipe:
            if line.startswith(b"#tb 0:"):
                time_base = Fraction(line[6:].strip().decode())
            fields = line.split(b",")
            if len(fields) >= 6 and not line.startswith(b"#"):
                flags = int(fields[6].rpartition(b"x")[2], 16) if len(fields) > 6 and b"F=" in fields[6] else _KEY
                try:
                    dts_us, time_us = (round(int(field) * time_base * 1_000_000) for field in fields[1:3])
                except ValueError:
                    self.untimed = True
                else:
                    self._add(dts_us, time_us, flags)

    def _add(self, dts_us: int, time_us: int, flags: int) -> None:
        with self._lock:
            # no frame is shown before it is decoded
            self.listed_us = max(self.listed_us, dts_us - 1)
            if flags & _DISCARD:
                return
            if flags & _KEY:
                insort(self._keys, time_us)
            elif self._keys and time_us < self._keys[-1]:
                self.open_groups = True
            insort(self._times, time_us)
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
