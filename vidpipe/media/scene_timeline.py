"""Which scene a moment belongs to, while cuts are still being found, in memory that does not grow with the frames.

A detector tells a cut some frames late. What was measured since the earliest possible cut therefore waits in small
blocks; as soon as no cut can fall before a block any more it is added to the open scene.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from vidpipe.media.scene_stats import SoundBlock, Sums, add_sound, forget_motion, weigh

#: Beyond this many waiting blocks the older ones are joined in pairs.
_WAITING = 1024
_KEPT_SINGLE = 256
#: Times in files are rounded, often to milliseconds.
_TOLERANCE_US = 1000


@dataclass
class SceneSpan:
    """One scene: where it begins (microseconds from the first frame; frame number), and its sums so far."""

    start_us: int
    start_frame: int
    sums: Sums


@dataclass
class _Block:
    start_us: int
    start_frame: int
    sums: Sums
    single: bool = True


class SceneTimeline:
    """The scenes so far, none shorter than `least_scene_us`. Times are microseconds from the first frame.

    scenes:     at least one as soon as there was a frame; the last one is open
    settled_us: nothing before this time can change its scene any more
    """

    def __init__(self, least_scene_us: int = 0) -> None:
        self._least_scene_us = max(1, least_scene_us - _TOLERANCE_US)
        self.scenes: list[SceneSpan] = []
        self._starts: list[int] = []
        self._waiting: list[_Block] = []
        self.settled_us = 0
        self.frames = 0
        self.last_us = 0
        #: Time from the last frame but one to the last one: what the last one is taken to last.
        self.last_gap_us = 0

    def add_frame(self, time_us: int, sums: Sums) -> None:
        if self.frames:
            self.last_gap_us = max(0, time_us - self.last_us)
            weigh(self._waiting[-1].sums, self.last_gap_us / 1e6)
        else:
            self._open(0, 0, sums)
        self._waiting.append(_Block(time_us, self.frames, sums))
        self.frames += 1
        self.last_us = time_us
        if len(self._waiting) > _WAITING:
            self._join()

    def cut(self, time_us: int) -> int | None:
        """Begin a scene at the frame nearest to `time_us`. The scene's number; None where no scene can begin there."""
        place = self._nearest(time_us)
        block = self._waiting[place]
        if block.start_us - self.scenes[-1].start_us < self._least_scene_us:
            return None
        self._take(place)
        if block.single:
            forget_motion(block.sums)
        self._open(block.start_us, block.start_frame, block.sums)
        return len(self.scenes) - 1

    def settle(self, until_us: int) -> None:
        """No cut will be found before `until_us` any more."""
        if until_us <= self.settled_us:
            return
        self.settled_us = until_us
        # the last frame waits for its duration
        last = len(self._waiting) - 1
        place = 0
        while place < last and self._waiting[place].start_us < until_us:
            place += 1
        self._take(place)

    def finish(self, last_frame_s: float) -> None:
        """After the last frame and the last cut. A last scene that is too short becomes part of the one before."""
        if self._waiting:
            weigh(self._waiting[-1].sums, last_frame_s)
            self._take(len(self._waiting))
        end_us = self.last_us + round(last_frame_s * 1e6)
        if len(self.scenes) > 1 and end_us - self._starts[-1] < self._least_scene_us:
            self._starts.pop()
            short = self.scenes.pop()
            self.scenes[-1].sums += short.sums
        self.settled_us = 1 << 62

    def scene_at(self, time_us: int) -> int:
        """Number of the scene that a moment belongs to; what lies before the first frame belongs to the first."""
        return max(0, bisect_right(self._starts, time_us) - 1)

    def add_sound(self, block: SoundBlock) -> None:
        """A block of sound; call it only for times that are settled."""
        add_sound(self.scenes[self.scene_at(block.time_us)].sums, block)

    def _nearest(self, time_us: int) -> int:
        blocks = self._waiting
        return min(range(len(blocks)), key=lambda index: abs(blocks[index].start_us - time_us))

    def _open(self, start_us: int, start_frame: int, first: Sums) -> None:
        self.scenes.append(SceneSpan(start_us, start_frame, np.zeros_like(first)))
        self._starts.append(start_us)

    def _take(self, count: int) -> None:
        for block in self._waiting[:count]:
            self.scenes[-1].sums += block.sums
        del self._waiting[:count]

    def _join(self) -> None:
        old, recent = self._waiting[:-_KEPT_SINGLE], self._waiting[-_KEPT_SINGLE:]
        joined = []
        for first, second in zip(old[::2], old[1::2], strict=False):
            first.sums += second.sums
            joined.append(_Block(first.start_us, first.start_frame, first.sums, single=False))
        if len(old) % 2:
            joined.append(old[-1])
        self._waiting = joined + recent
