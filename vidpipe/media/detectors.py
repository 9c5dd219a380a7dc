"""Scene cut detectors: PySceneDetect's, fed frame by frame with presentation times, and ffmpeg's scene score.

Detectors get frames of the decode pass whose longer side is 160 pixels, or 256 as in PySceneDetect if they need it
(`decode_plan.DETECTION_SIDE`).
"""

from collections import deque
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import FlashFilter, SceneDetector
from scenedetect.detectors import HashDetector, HistogramDetector, ThresholdDetector

from vidpipe.media.decode import SmallFrame
from vidpipe.settings.schema import SceneDetection

Picture = NDArray[np.uint8]

#: Frames on either side that the adaptive detector compares with.
ADAPTIVE_WINDOW = 3
#: Below this frame rate neighboring frames show different moments, and adaptive uses `LowFrameRateDetector`.
LOW_FRAME_RATE = 5
#: The longest time on either side of a cut that the decision about it depends on, in seconds.
CONTEXT_S = 0.14
#: The smallest score of a cut that adaptive finds.
MIN_ADAPTIVE_SCORE = 15.0
#: A cut found later than this after its time (a fade with ten minutes of black) is moved into the open scene.
MAX_LAG_US = 600_000_000
_MICROSECOND = Fraction(1, 1_000_000)
_MIN_FADE_S = 0.1
_LUMA_RANGE = 219


class HsvDifference:
    """The frame score of PySceneDetect's ContentDetector with its default weights (hue, saturation and value alike).

    The library sums absolute differences channel by channel; OpenCV's L1 norm gives the same integer sum over all three
    channels at once, ten times faster.
    """

    def __init__(self) -> None:
        self._last_hsv: Picture | None = None

    def __call__(self, bgr: Picture) -> float:
        """Return the mean absolute difference to the previous frame, 0 to 255; 0 for the first frame."""
        hsv = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV), np.uint8)
        last, self._last_hsv = self._last_hsv, hsv
        return 0.0 if last is None else cv2.norm(hsv, last, cv2.NORM_L1) / hsv.size


class FastContentDetector(SceneDetector):  # type: ignore[misc]
    """PySceneDetect's ContentDetector with a faster score: a cut where the score reaches `threshold`.

    Args:
        threshold: Minimum score of a cut, 0 to 255.
        min_scene_len: Shortest scene, in seconds.
    """

    def __init__(self, threshold: float = 27.0, min_scene_len: float = 0.6) -> None:
        super().__init__()
        self._threshold = threshold
        self._score = HsvDifference()
        self._filter = FlashFilter(FlashFilter.Mode.MERGE, min_scene_len)

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return the cuts that this frame reveals."""
        cuts: list[FrameTimecode] = self._filter.filter(timecode, self._score(frame_img) >= self._threshold)
        return cuts


class _MinSceneLengthDetector(SceneDetector):  # type: ignore[misc]
    """Base of detectors that suppress cuts less than `min_scene_len` seconds after the last one."""

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__()
        self._threshold, self._min_scene_len = threshold, min_scene_len
        self._last_cut: FrameTimecode | None = None

    def _cut_at(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        if self._last_cut is None or (timecode - self._last_cut) < self._min_scene_len:
            return []
        self._last_cut = timecode
        return [timecode]


class FastAdaptiveDetector(_MinSceneLengthDetector):
    """PySceneDetect's AdaptiveDetector with a faster score: compares a frame's score with its neighbors' average.

    Args:
        threshold: Minimum ratio of a cut's score to the average score of the `window_width` frames on either side.
        min_scene_len: Shortest scene, in seconds.
        window_width: Number of frames on either side.
    """

    _MIN_SCORE, _MAX_RATIO = 15.0, 255.0

    def __init__(self, threshold: float = 3.0, min_scene_len: float = 0.6, window_width: int = 2) -> None:
        super().__init__(threshold, min_scene_len)
        self._window_width = window_width
        self._score = HsvDifference()
        self._scores: deque[tuple[FrameTimecode, float]] = deque(maxlen=2 * window_width + 1)

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return the cut that this frame reveals: the frame `window_width` before it, or none."""
        self._last_cut = self._last_cut or timecode
        self._scores.append((timecode, self._score(frame_img)))
        if len(self._scores) < 2 * self._window_width + 1:
            return []
        target, score = self._scores[self._window_width]
        others = [other for place, (_, other) in enumerate(self._scores) if place != self._window_width]
        average = sum(others) / len(others)
        ratio = min(score / average, self._MAX_RATIO) if average >= 0.00001 else self._MAX_RATIO
        return self._cut_at(target) if ratio >= self._threshold and score >= self._MIN_SCORE else []


class LowFrameRateDetector(_MinSceneLengthDetector):
    """The adaptive detector's idea for slideshows and videos of a few frames per second, from two frames on.

    A change is a cut if its score is `threshold` times that of the changes before and after it, or larger than
    movement makes it: in real footage sampled at 1 to 3 fps, nine of ten changes within a shot score below 30, and none
    above 40.

    Args:
        threshold: Minimum ratio of a cut's score to the average of its neighbors.
        min_scene_len: Shortest scene, in seconds.
    """

    _MIN_SCORE, _CERTAIN_SCORE = 15.0, 40.0

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__(threshold, min_scene_len)
        self._score = HsvDifference()
        self._change: tuple[FrameTimecode, float] | None = None
        self._previous_score: float | None = None

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return the cut that this frame reveals: the change before it, or none."""
        score = self._score(frame_img)
        if self._last_cut is None:
            self._last_cut = timecode
            return []
        cuts = self._evaluate(score)
        self._previous_score = self._change[1] if self._change else None
        self._change = timecode, score
        return cuts

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """Return the cut at the last change, if it is one."""
        return self._evaluate(None)

    def _evaluate(self, next_score: float | None) -> list[FrameTimecode]:
        """Decide whether the last change is a cut, given the next change's score (None at the end)."""
        if self._change is None:
            return []
        timecode, score = self._change
        neighbors = [other for other in (self._previous_score, next_score) if other is not None]
        stands_out = bool(neighbors) and score >= self._threshold * sum(neighbors) / len(neighbors)
        is_cut = score >= self._CERTAIN_SCORE or (score >= self._MIN_SCORE and stands_out)
        return self._cut_at(timecode) if is_cut else []


class FfmpegSceneDetector(_MinSceneLengthDetector):
    """ffmpeg's `select='gt(scene,T)'`: a cut where the luma changes suddenly.

    The score is min(difference, |difference - last difference|) / 100, at most 1 (libavfilter/f_select.c). ffmpeg takes
    the luma plane of yuv formats, whose range of 16 to 235 corresponds to gray from 0 to 255.

    Args:
        threshold: Minimum score of a cut, 0 to 1.
        min_scene_len: Shortest scene, in seconds.
    """

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__(threshold, min_scene_len)
        self._last_gray: Picture | None = None
        self._last_difference = 0.0

    def score(self, bgr: Picture) -> float:
        """Return the score of the next frame, 0 to 1."""
        gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        last, self._last_gray = self._last_gray, gray
        if last is None:
            return 0.0
        difference = cv2.norm(gray, last, cv2.NORM_L1) / gray.size * _LUMA_RANGE / 255
        change = abs(difference - self._last_difference)
        self._last_difference = difference
        return min(1.0, min(difference, change) / 100)

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return this frame's time if it begins a new scene."""
        self._last_cut = self._last_cut or timecode
        return self._cut_at(timecode) if self.score(frame_img) > self._threshold else []


class CutFinder:
    """Feeds one detector. Cuts and times are in microseconds from the first frame.

    Attributes:
        settled_us: Every future cut lies at or after this time.
    """

    def __init__(self, settings: SceneDetection, frame_rate: Fraction) -> None:
        self._name = settings.detector
        self._rate = frame_rate
        self._min_scene_us = round(settings.min_scene_length * 1_000_000)
        self._detector = build_detector(settings, frame_rate)
        self._window: deque[int] = deque(maxlen=1 if frame_rate < LOW_FRAME_RATE else ADAPTIVE_WINDOW)
        self._now = FrameTimecode(Timecode(0, _MICROSECOND), frame_rate)
        self.settled_us = 0

    def feed(self, frame: SmallFrame, time_us: int) -> list[int]:
        """Return the cuts that this frame reveals: first frames of new scenes, at this frame or before it."""
        self._now = FrameTimecode(Timecode(time_us, _MICROSECOND), self._rate)
        cuts = self._detector.process_frame(self._now, frame.bgr)
        self._window.append(time_us)
        self.settled_us = max(self.settled_us, self._settled(time_us), time_us - MAX_LAG_US)
        return [round(cut.seconds * 1_000_000) for cut in cuts]

    def finish(self) -> list[int]:
        """Return the cuts that only the end of the video reveals, such as a fade to black."""
        return [round(cut.seconds * 1_000_000) for cut in self._detector.post_process(self._now)]

    def _settled(self, now_us: int) -> int:
        match self._name:
            case "adaptive":
                return self._window[0] if len(self._window) == self._window.maxlen else 0
            case "content":
                return now_us - self._min_scene_us
            case "threshold":
                fade = self._detector.last_fade
                return round(fade["frame"].seconds * 1_000_000) if fade["type"] == "out" else now_us + 1
            case _:
                return now_us + 1


def build_detector(settings: SceneDetection, frame_rate: Fraction) -> Any:  # noqa: PLR0911 - one return per detector
    """Return the detector named in the settings, with its threshold and shortest scene."""
    threshold, shortest_s = settings.threshold, float(settings.min_scene_length)
    match settings.detector:
        case "adaptive" if frame_rate < LOW_FRAME_RATE:
            return LowFrameRateDetector(threshold, min_scene_len=shortest_s)
        case "adaptive":
            return FastAdaptiveDetector(threshold, min_scene_len=shortest_s, window_width=ADAPTIVE_WINDOW)
        case "content":
            return FastContentDetector(threshold, min_scene_len=shortest_s)
        case "histogram":
            return HistogramDetector(threshold, min_scene_len=shortest_s)
        case "hash":
            return HashDetector(threshold, min_scene_len=shortest_s)
        case "threshold":
            # other arguments as in the scenedetect command
            return ThresholdDetector(
                threshold, min_scene_len=shortest_s, add_final_scene=True, min_out_length=_MIN_FADE_S
            )
        case "ffmpeg":
            return FfmpegSceneDetector(threshold, shortest_s)
