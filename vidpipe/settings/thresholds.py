"""The detectors of cuts, and the scale of each one's threshold."""

from __future__ import annotations

from typing import Literal, NamedTuple

DetectorName = Literal["adaptive", "content", "histogram", "hash", "threshold", "ffmpeg"]


class ThresholdScale(NamedTuple):
    """The thresholds of one detector. low: allowed itself, unless it is 0"""

    low: float
    high: float
    default: float

    def holds(self, threshold: float) -> bool:
        return self.low <= threshold <= self.high and threshold > 0

    @property
    def limits(self) -> str:
        return f"{'at least' if self.low else 'above'} {self.low:g}, at most {self.high:g}"


#: content and adaptive compare scores of 0 to 255, or their ratio: below 1 nearly every frame would be a cut.
#: content 31 is the tuned value of PySceneDetect's own benchmark at one frame's tolerance. adaptive: with that
#: benchmark's window of 3 frames its 3.5 misses hard cuts in moving shots (two of nine known ones), 3.0 finds them all.
THRESHOLD_SCALES: dict[DetectorName, ThresholdScale] = {
    "adaptive": ThresholdScale(1.0, 255.0, 3.0),
    "content": ThresholdScale(1.0, 255.0, 31.0),
    "histogram": ThresholdScale(0.0, 1.0, 0.05),
    "hash": ThresholdScale(0.0, 1.0, 0.395),
    "threshold": ThresholdScale(0.0, 255.0, 12.0),
    "ffmpeg": ThresholdScale(0.0, 1.0, 0.3),
}


def off_scale(detector: DetectorName, threshold: float) -> str:
    """What is wrong with `threshold` for `detector`, as a phrase that names the scale and, where the threshold is on
    that of content or ffmpeg, what to write; empty where it is on its scale."""
    scale = THRESHOLD_SCALES[detector]
    if scale.holds(threshold):
        return ""
    other: DetectorName = "content" if threshold > 1 else "ffmpeg"
    advice = ""
    if other != detector and THRESHOLD_SCALES[other].holds(threshold):
        whose = "PySceneDetect's content" if other == "content" else "ffmpeg's scene"
        advice = f"; {threshold:g} is on {whose} scale: set Detector = {other}, or give --scene-detector {other}"
    return (
        f"DefaultThreshold {threshold:g} is not on the scale of Detector {detector}: {scale.limits} "
        f"(leave it empty for {scale.default:g}){advice}"
    )
