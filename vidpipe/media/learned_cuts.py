"""The detector transnetv2: cuts and dissolves found by a neural network that sees 100 frames at once.

As in its paper (Souček and Lokoč, "TransNet V2", 2020), frames are 48x27 pixels, of each window only the middle 50
frames count, and the first and last frame are repeated at the ends. A frame's score says how likely it is the last one
before a cut, or the middle of a gradual transition.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode

#: RGB frames of a window, uint8 of shape (100, 27, 48, 3) -> their scores, 0 to 1.
CutModel = Callable[[NDArray[np.uint8]], Sequence[float]]

_WIDTH, _HEIGHT = 48, 27
_WINDOW, _STEP, _MARGIN = 100, 50, 25


class LearnedCuts:
    """Feeds a `CutModel`; the interface is that of PySceneDetect's detectors.

    Args:
        model: Scores the frames.
        threshold: Minimum score of a cut, 0 to 1.
        min_scene_len: Shortest scene, in seconds.
    """

    def __init__(self, model: CutModel, threshold: float, min_scene_len: float) -> None:
        self._model, self._threshold, self._shortest_s = model, threshold, min_scene_len
        self._window: list[NDArray[np.uint8]] = []
        #: Times of the frames that are not judged yet.
        self._times: list[FrameTimecode] = []
        self._last_s = 0.0
        self._begin_s: float | None = None
        self._peak, self._at_peak = 0.0, False
        self._cut: FrameTimecode | None = None

    @property
    def settled_s(self) -> float:
        """Every future cut lies at or after this time, in seconds."""
        return self._begin_s if self._begin_s is not None else self._times[0].seconds if self._times else 0.0

    def process_frame(self, timecode: FrameTimecode, frame_img: NDArray[np.uint8]) -> list[FrameTimecode]:
        """Return the cuts that this frame reveals, 75 frames later."""
        small = cv2.resize(frame_img, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        frame = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)
        if not self._window:
            self._window, self._last_s = [frame] * _MARGIN, timecode.seconds
        self._window.append(frame)
        self._times.append(timecode)
        return self._judge() if len(self._window) == _WINDOW else []

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """Return the cuts among the last frames."""
        cuts: list[FrameTimecode] = []
        while self._times:
            self._window += [self._window[-1]] * (_WINDOW - len(self._window))
            cuts += self._judge()
        return cuts + self._end_run()

    def _judge(self) -> list[FrameTimecode]:
        scores = self._model(np.stack(self._window))[_MARGIN : _MARGIN + _STEP]
        cuts: list[FrameTimecode] = []
        # the last window has fewer frames than scores
        for score, timecode in zip(scores, self._times, strict=False):
            if self._at_peak:
                self._cut, self._at_peak = timecode, False
            if score <= self._threshold:
                cuts += self._end_run()
            elif score > self._peak:
                self._peak, self._at_peak = score, True
                self._begin_s = timecode.seconds if self._begin_s is None else self._begin_s
        del self._window[:_STEP], self._times[:_STEP]
        return cuts

    def _end_run(self) -> list[FrameTimecode]:
        """End a run of frames above the threshold: the scene begins after the one with the highest score."""
        cut, self._cut, self._begin_s = self._cut, None, None
        self._peak, self._at_peak = 0.0, False
        if cut is None or cut.seconds - self._last_s < self._shortest_s:
            return []
        self._last_s = cut.seconds
        return [cut]
