"""Scene cuts: PySceneDetect's detectors, fed frame by frame with real presentation times, and ffmpeg's scene score.

Detectors see frames of the decode pass, whose longer side is 160 pixels, or 256 as in PySceneDetect itself where the
detector needs them (`decode_plan.DETECTION_SIDE`).
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector, ThresholdDetector

from vidpipe.media.decode import SmallFrame
from vidpipe.settings.schema import SceneDetection

Picture = NDArray[np.uint8]

#: Frames before and after that the adaptive detector compares with.
ADAPTIVE_WINDOW = 3
#: Below this rate neighbouring frames show different moments, and `SlowVideoDetector` takes the adaptive one's place.
SLOW_RATE = 5
#: A cut that is found later than this after its time (a fade with ten minutes of black) is moved to what is still open.
MAX_LAG_US = 600_000_000
_MICROSECOND = Fraction(1, 1_000_000)
_LEAST_FADE_S = 0.1
_LUMA_RANGE = 219


class _FastScore:
    """The score of ContentDetector with its default weights (hue, saturation, value alike; no edges).

    The library sums absolute differences in 32-bit integers, channel by channel; OpenCV's L1 norm gives the same
    integer sum over all three at once, ten times faster.
    """

    _last_hsv: Picture | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Picture) -> float:
        hsv = np.asarray(cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV), np.uint8)
        last, self._last_hsv = self._last_hsv, hsv
        return 0.0 if last is None else cv2.norm(hsv, last, cv2.NORM_L1) / hsv.size


class FastContentDetector(_FastScore, ContentDetector):  # type: ignore[misc]
    """ContentDetector, faster."""


class FastAdaptiveDetector(_FastScore, AdaptiveDetector):  # type: ignore[misc]
    """AdaptiveDetector, faster."""


class SlowVideoDetector(_FastScore, SceneDetector):  # type: ignore[misc]
    """The adaptive detector's idea for slideshows and videos of a few frames a second, of any length from two frames.

    A change is a cut where its score is `threshold` times that of the changes before and after it, or where it is
    larger than movement makes it: on real footage sampled at 1 to 3 frames a second nine of ten changes within a shot
    score below 30, and none above 40.
    """

    _MIN_SCORE, _UNMISTAKABLE_SCORE = 15.0, 40.0

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__()
        self._threshold, self._min_scene_len = threshold, min_scene_len
        self._change: tuple[FrameTimecode, float] | None = None
        self._earlier_score: float | None = None
        self._last_cut: FrameTimecode | None = None

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        score = self._calculate_frame_score(timecode, frame_img)
        if self._last_cut is None:
            self._last_cut = timecode
            return []
        cuts = self._judge(score)
        self._earlier_score = self._change[1] if self._change else None
        self._change = timecode, score
        return cuts

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        return self._judge(None)

    def _judge(self, next_score: float | None) -> list[FrameTimecode]:
        """Whether the last change is a cut, now that the next one's score is known (None: there is none)."""
        if self._change is None or self._last_cut is None:
            return []
        timecode, score = self._change
        neighbours = [other for other in (self._earlier_score, next_score) if other is not None]
        stands_out = bool(neighbours) and score >= self._threshold * sum(neighbours) / len(neighbours)
        is_cut = score >= self._UNMISTAKABLE_SCORE or (score >= self._MIN_SCORE and stands_out)
        if not is_cut or (timecode - self._last_cut) < self._min_scene_len:
            return []
        self._last_cut = timecode
        return [timecode]


class FfmpegSceneDetector(SceneDetector):  # type: ignore[misc]
    """ffmpeg's `select='gt(scene,T)'`: the luma's mean absolute difference, and how much it differs from the last one.

    The score is min(difference, |difference - last difference|) / 100, at most 1 (libavfilter/f_select.c). ffmpeg takes
    the luma plane of yuv formats, which goes from 16 to 235 where grey goes from 0 to 255.
    """

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__()
        self._threshold, self._min_scene_len = threshold, min_scene_len
        self._last_gray: Picture | None = None
        self._last_difference = 0.0
        self._last_cut: FrameTimecode | None = None

    def score(self, bgr: Picture) -> float:
        """Score of the next frame, 0 to 1."""
        gray = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        last, self._last_gray = self._last_gray, gray
        if last is None:
            return 0.0
        difference = cv2.norm(gray, last, cv2.NORM_L1) / gray.size * _LUMA_RANGE / 255
        change = abs(difference - self._last_difference)
        self._last_difference = difference
        return min(1.0, min(difference, change) / 100)

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        if self._last_cut is None:
            self._last_cut = timecode
        if self.score(frame_img) <= self._threshold or (timecode - self._last_cut) < self._min_scene_len:
            return []
        self._last_cut = timecode
        return [timecode]


class CutFinder:
    """Feeds one detector. Cuts and times are microseconds from the first frame.

    settled_us: every cut still to come lies at or after this time
    """

    def __init__(self, settings: SceneDetection, frame_rate: Fraction) -> None:
        self._name = settings.detector
        self._rate = frame_rate
        self._min_scene_us = round(settings.min_scene_length * 1_000_000)
        self._detector = build_detector(settings, frame_rate)
        self._window: deque[int] = deque(maxlen=1 if frame_rate < SLOW_RATE else ADAPTIVE_WINDOW)
        self._now = FrameTimecode(Timecode(0, _MICROSECOND), frame_rate)
        self.settled_us = 0

    def feed(self, frame: SmallFrame, time_us: int) -> list[int]:
        """The cuts that this frame brings to light: the first frames of new scenes, at this frame or before it."""
        self._now = FrameTimecode(Timecode(time_us, _MICROSECOND), self._rate)
        cuts = self._detector.process_frame(self._now, frame.bgr)
        self._window.append(time_us)
        self.settled_us = max(self.settled_us, self._settled(time_us), time_us - MAX_LAG_US)
        return [round(cut.seconds * 1_000_000) for cut in cuts]

    def finish(self) -> list[int]:
        """Cuts that only the end of the video brings to light (a fade to black at the end)."""
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


def build_detector(settings: SceneDetection, frame_rate: Fraction) -> Any:  # noqa: PLR0911 - one return a detector
    """The detector that the settings name, with its threshold and the shortest scene in seconds."""
    threshold, shortest_s = settings.threshold, float(settings.min_scene_length)
    match settings.detector:
        case "adaptive" if frame_rate < SLOW_RATE:
            return SlowVideoDetector(threshold, min_scene_len=shortest_s)
        case "adaptive":
            return FastAdaptiveDetector(threshold, min_scene_len=shortest_s, window_width=ADAPTIVE_WINDOW)
        case "content":
            return FastContentDetector(threshold, min_scene_len=shortest_s)
        case "histogram":
            return HistogramDetector(threshold, min_scene_len=shortest_s)
        case "hash":
            return HashDetector(threshold, min_scene_len=shortest_s)
        case "threshold":
            # the other arguments as the scenedetect command sets them
            return ThresholdDetector(
                threshold, min_scene_len=shortest_s, add_final_scene=True, min_out_length=_LEAST_FADE_S
            )
        case "ffmpeg":
            return FfmpegSceneDetector(threshold, shortest_s)
