"""Scene cut detectors: PySceneDetect's, fed frame by frame with presentation times, and ffmpeg's scene score.

Detectors get frames of the decode pass whose longer side is 160 pixels, or 256 as in PySceneDetect if they need it
(`decode_plan.DETECTION_SIDE`).
"""

import itertools
import math
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect.common import FrameTimecode
from scenedetect.detector import FlashFilter, SceneDetector
from scenedetect.detectors import HashDetector, HistogramDetector, ThresholdDetector

from vidpipe.media.decode import SmallFrame
from vidpipe.media.gradual_transitions import GradualTransitions, Transition
from vidpipe.media.learned_cuts import CutModel, LearnedCuts
from vidpipe.settings.schema import SceneDetection

Picture = NDArray[np.uint8]

#: Window on either side in which the adaptive detector compares: `ADAPTIVE_WINDOW` frames at 24 to 30 per second.
WINDOW_S = 0.13
ADAPTIVE_WINDOW = 3
#: Frames further apart than this show different moments, even of a still camera's shot.
SPARSE_S = 0.2
#: The smallest score of a cut that adaptive finds, and the score that is a cut between sparse frames.
MIN_ADAPTIVE_SCORE, CERTAIN_SCORE = 15.0, 40.0
#: Intervals longer than this count as this long: movement has made the frames as different as it can.
_UNRELATED_S = 0.5
#: A cut found later than this after its time (a fade with ten minutes of black) is moved into the open scene.
MAX_LAG_US = 600_000_000
#: The first frame's time. To PySceneDetect, which rounds some times to whole frames, each microsecond is a frame.
_CLOCK = FrameTimecode(0, Fraction(1_000_000))
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


class _Change(NamedTuple):
    """A frame's difference to the previous one.

    Attributes:
        timecode: The frame's time.
        seconds: The same in seconds.
        gap_s: Interval from the previous frame, in seconds.
        score: The `HsvDifference`.
    """

    timecode: FrameTimecode
    seconds: float
    gap_s: float
    score: float


class FastAdaptiveDetector(_MinSceneLengthDetector):
    """PySceneDetect's AdaptiveDetector with a faster score and with windows in seconds.

    A frame is a cut if its score is `threshold` times the average of its neighbors: those within `WINDOW_S` on either
    side, at least one where frames are sparser. Each third of a window counts once, with its largest score. So at 24
    to 30 frames per second the neighbors are PySceneDetect's with a window of three frames, and at higher rates neither
    smaller steps nor repeated frames lower the average. Between sparse frames movement can look like a cut and a
    cut like movement: a change across more than `SPARSE_S` is also a cut if its score is larger than movement makes it.
    In real footage sampled at 1 to 3 fps, nine of ten changes within a shot score below 30, and none above 40.

    Args:
        threshold: Minimum ratio of a cut's score to the average score of its neighbors.
        min_scene_len: Shortest scene, in seconds.
    """

    def __init__(self, threshold: float = 3.0, min_scene_len: float = 0.6) -> None:
        super().__init__(threshold, min_scene_len)
        self._score = HsvDifference()
        #: The changes that are not judged yet, from `_next` on, and before them their neighbors.
        self._changes: deque[_Change] = deque()
        self._next = 0
        self._last_s: float | None = None

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return the cuts that this frame reveals: earlier frames whose neighbors are now all known."""
        now, score = timecode.seconds, self._score(frame_img)
        if self._last_s is None:
            self._last_cut = timecode
        else:
            self._changes.append(_Change(timecode, now, now - self._last_s, score))
        self._last_s = now
        cuts: list[FrameTimecode] = []
        while self._next < len(self._changes) - 1 and now - self._changes[self._next].seconds > WINDOW_S:
            cuts += self._judge()
        return cuts

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """Return the cuts among the last frames."""
        cuts: list[FrameTimecode] = []
        while self._next < len(self._changes):
            cuts += self._judge()
        return cuts

    @property
    def settled_s(self) -> float:
        """Every future cut lies at or after this time, in seconds."""
        return self._changes[self._next].seconds if self._next < len(self._changes) else self._last_s or 0.0

    def _judge(self) -> list[FrameTimecode]:
        """Decide whether the first change that is not judged yet is a cut."""
        changes, place = self._changes, self._next
        change = changes[place]
        is_cut = change.score >= MIN_ADAPTIVE_SCORE and (
            (change.gap_s > SPARSE_S and change.score >= CERTAIN_SCORE) or self._stands_out(change)
        )
        self._next += 1
        # one more than the window holds: the nearest neighbor of the next frame
        while self._next > 1 and self._changes[1].seconds < change.seconds - WINDOW_S:
            changes.popleft()
            self._next -= 1
        return self._cut_at(change.timecode) if is_cut else []

    def _stands_out(self, change: _Change) -> bool:
        before = itertools.islice(self._changes, self._next)
        after = itertools.islice(self._changes, self._next + 1, None)
        neighbors = _slices(change, reversed(list(before))) + _slices(change, after)
        return bool(neighbors) and change.score >= self._threshold * sum(neighbors) / len(neighbors)


def _slices(change: _Change, neighbors: Iterable[_Change]) -> list[float]:
    """Return the largest score in each third of the window on one side, given the neighbors from near to far.

    Movement grows with the interval between two frames, about with its square root, until they show different moments:
    scores across other intervals than the change's are converted.
    """
    largest: dict[int, float] = {}
    for neighbor in neighbors:
        distance_s = abs(neighbor.seconds - change.seconds)
        if largest and distance_s > WINDOW_S:
            break
        longer = min(change.gap_s, _UNRELATED_S) / max(min(neighbor.gap_s, _UNRELATED_S), 1e-6)
        score = neighbor.score * (math.sqrt(longer) if not 0.67 < longer < 1.5 else 1.0)
        part = math.ceil(distance_s / (WINDOW_S / 3))
        largest[part] = max(largest.get(part, 0.0), score)
    return list(largest.values())


class HardAndGradualDetector(SceneDetector):  # type: ignore[misc]
    """`FastAdaptiveDetector` for hard cuts and `GradualTransitions` for dissolves and fades.

    A fade is one cut, in the middle of the uniform picture, whatever hard cuts are found in it. A dissolve gives way to
    a hard cut, so that hard cuts stay PySceneDetect's.

    Args:
        threshold: Threshold of the adaptive detector.
        min_scene_len: Shortest scene, in seconds.
    """

    #: Tolerance of the times at which a transition starts and ends.
    _MARGIN_S = 0.1

    def __init__(self, threshold: float, min_scene_len: float) -> None:
        super().__init__()
        self._hard = FastAdaptiveDetector(threshold, min_scene_len)
        self._gradual = GradualTransitions()
        self._shortest_s = min_scene_len
        self._cuts: list[FrameTimecode] = []
        self._last_s: float | None = None

    @property
    def settled_s(self) -> float:
        """Every future cut lies at or after this time, in seconds."""
        return min(self._hard.settled_s, self._gradual.settled_s)

    def process_frame(self, timecode: FrameTimecode, frame_img: Picture) -> list[FrameTimecode]:
        """Return the cuts that are now certain, in order."""
        if self._last_s is None:
            self._last_s = timecode.seconds
        self._cuts += self._hard.process_frame(timecode, frame_img)
        self._add(self._gradual.add(timecode.seconds, frame_img), timecode)
        return self._take(self.settled_s) if self._cuts else []

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """Return the last cuts."""
        self._cuts += self._hard.post_process(timecode)
        self._add(self._gradual.finish(), timecode)
        return self._take(math.inf)

    def _add(self, found: Transition | None, now: FrameTimecode) -> None:
        if found is None:
            return
        start_s, end_s = found.start_s - self._MARGIN_S, found.end_s + self._MARGIN_S
        if not found.fade:  # a cut that the dissolve would suppress is surer than it
            start_s = min(start_s, found.cut_s - self._shortest_s)
            end_s = max(end_s, found.cut_s + self._shortest_s)
        within = [cut for cut in self._cuts if start_s <= cut.seconds <= end_s]
        if found.fade or not within:
            middle = FrameTimecode(found.cut_s, now)
            self._cuts = [cut for cut in self._cuts if cut not in within] + [middle]
            self._cuts.sort(key=lambda cut: cut.seconds)

    def _take(self, until_s: float) -> list[FrameTimecode]:
        taken: list[FrameTimecode] = []
        while self._cuts and self._cuts[0].seconds < until_s:
            cut = self._cuts.pop(0)
            if self._last_s is not None and cut.seconds - self._last_s >= self._shortest_s:
                self._last_s = cut.seconds
                taken.append(cut)
        return taken


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
    """Feeds one detector. Cuts and times are in microseconds from the first frame, at any spacing of the frames.

    Attributes:
        settled_us: Every future cut lies at or after this time.
    """

    def __init__(self, settings: SceneDetection, model: CutModel | None = None) -> None:
        self._name = settings.detector
        self._min_scene_us = round(settings.min_scene_length * 1_000_000)
        self._detector = build_detector(settings, model)
        self._now = _CLOCK
        self.settled_us = 0

    def feed(self, frame: SmallFrame, time_us: int) -> list[int]:
        """Return the cuts that this frame reveals, at this frame or before it: times of the first frames of new scenes.

        A gradual transition has no first frame: its middle is returned, which may lie between two frames.
        """
        self._now = FrameTimecode(time_us, _CLOCK)
        cuts = self._detector.process_frame(self._now, frame.bgr)
        self.settled_us = max(self.settled_us, self._settled(time_us), time_us - MAX_LAG_US)
        return [round(cut.seconds * 1_000_000) for cut in cuts]

    def finish(self) -> list[int]:
        """Return the cuts that only the end of the video reveals, such as a fade to black."""
        return [round(cut.seconds * 1_000_000) for cut in self._detector.post_process(self._now)]

    def _settled(self, now_us: int) -> int:
        match self._name:
            case "adaptive" | "transnetv2":
                return int(self._detector.settled_s * 1_000_000)
            case "content":
                return now_us - self._min_scene_us
            case "threshold":
                fade = self._detector.last_fade
                return round(fade["frame"].seconds * 1_000_000) if fade["type"] == "out" else now_us + 1
            case _:
                return now_us + 1


def build_detector(settings: SceneDetection, model: CutModel | None = None) -> Any:  # noqa: PLR0911 - one a detector
    """Return the detector named in the settings, with its threshold and shortest scene.

    Args:
        settings: The section [SceneDetection].
        model: The model of transnetv2.
    """
    threshold, shortest_s = settings.threshold, float(settings.min_scene_length)
    match settings.detector:
        case "adaptive":
            return HardAndGradualDetector(threshold, min_scene_len=shortest_s)
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
        case "transnetv2":
            if model is None:
                raise ValueError("the detector transnetv2 needs its model")
            return LearnedCuts(model, threshold, shortest_s)
