"""Statistics of a scene from its small frames: light, contrast, colour, motion, colour names; and its sound.

What is measured is kept as sums in one small vector, so that frames, blocks of frames and scenes add up alike. Whole
frames are measured; once a scene's black bars are known, `within` takes them out of its sums."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.media.active_area import Profile, light_profile, profile_length
from vidpipe.media.facts import ColorShare, SceneStats

COLOR_NAMES = (
    "black", "gray", "white", "red", "orange", "brown", "yellow", "green", "cyan", "blue", "purple", "pink",
)  # fmt: skip

#: Where each hue ends, in degrees.
_HUE_ENDS = (15, 42, 68, 160, 200, 255, 300, 345, 361)
_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "red")


def color_shares(bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each of `COLOR_NAMES` in a picture (uint8, shape (height, width, 3)); they add up to 1."""
    index = (bgr >> 3).astype(np.uint16)
    names = _table()[(index[..., 0] << 10) | (index[..., 1] << 5) | index[..., 2]]
    return np.asarray(np.bincount(names.ravel(), minlength=len(COLOR_NAMES)) / names.size, np.float64)


@functools.cache
def _table() -> NDArray[np.uint8]:
    """Name of each colour with five bits a channel, blue highest."""
    every = np.arange(32**3, dtype=np.uint16)
    bgr = np.stack([(every >> 10) & 31, (every >> 5) & 31, every & 31], axis=-1).astype(np.float32) / 31
    hue, saturation, value = np.moveaxis(cv2.cvtColor(bgr[None], cv2.COLOR_BGR2HSV)[0], -1, 0)
    names = np.array([COLOR_NAMES.index(name) for name in _HUES])[np.searchsorted(_HUE_ENDS, hue, side="right")]

    def rename(where: NDArray[np.bool_], name: str) -> None:
        names[where] = COLOR_NAMES.index(name)

    reddish = (names == COLOR_NAMES.index("red")) | (names == COLOR_NAMES.index("purple"))
    rename((names == COLOR_NAMES.index("orange")) & (value < 0.65), "brown")
    rename(reddish & (saturation < 0.5) & (value > 0.7), "pink")
    pale = (saturation < 0.15) | ((saturation < 0.25) & (value < 0.3))
    rename(pale, "gray")
    rename(pale & (value > 0.8), "white")
    rename(value < 0.15, "black")
    return np.asarray(names, np.uint8)


#: A block below this level counts as silence.
SILENCE_DBFS = -50.0
#: The quietest level that is told: digital silence has none.
FLOOR_DBFS = -100.0
_SILENCE_POWER = 10 ** (SILENCE_DBFS / 10)


class SoundBlock(NamedTuple):
    """One block of sound: when it begins, in microseconds, and its mean square, full scale = 1."""

    time_us: int
    power: float


def block_power(samples: bytes | bytearray) -> float:
    """Mean square of 16-bit mono samples, 0 to 1; 0 without samples."""
    values = np.frombuffer(samples, dtype="<i2").astype(np.float32)
    return float(np.dot(values, values)) / (len(values) * 32768.0**2) if len(values) else 0.0


def is_silent(power: float) -> bool:
    return power < _SILENCE_POWER


def level_dbfs(power: float) -> float:
    """RMS level of a mean square, in dB relative to full scale, not below `FLOOR_DBFS`."""
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS


#: Sums, in order: frames, seconds, brightness and contrast by time, motion and its count, saturation samples and their
#: count, blocks of sound, their power and how many were silent, the luma's mean, mean square and squared mean, the dark
#: part of the samples, how many of them have colour, are colourful, and differ from the ones before; then the share of
#: each colour name; then the light profile.
FRAMES, SECONDS, BRIGHTNESS, CONTRAST, MOTION, MOTIONS, SATURATION, SAMPLES, BLOCKS, POWER, SILENT = range(11)
MEAN, MEAN_SQUARE, SQUARED_MEAN = 11, 12, 13
DARK, COLORED, COLORFUL, MOVED = 14, 15, 16, 17
_FIXED = 18
_COLORS = slice(_FIXED, _FIXED + len(COLOR_NAMES))
_PROFILE = slice(_FIXED + len(COLOR_NAMES), None)
Sums = NDArray[np.float64]

_SAMPLE_INTERVAL_US = 200_000
_COLOR_JUMP = 0.05
_REFERENCE_S = 1 / 25
_NAMED_COLORS = 5
_LEAST_SHARE = 0.04
#: Of 255: what is darker has no saturation, since noise of one step would make it full.
_DARKEST_COLORED = 16
#: Of 255: pixels are dark whose largest channel is below this. Luma would call pure blue dark.
_DARK = 64
#: A picture has colour when 3 x 3 pixels of it differ by this much of 255 between their channels; compression tints
#: grey footage by less.
_COLORED = 24
#: It is colourful when a third of it has vivid colours, of three names at least.
_VIVID_SHARE, _VIVID = 1 / 3, 90
_COLORFUL_NAMES, _COLORFUL_NAME_SHARE = 3, 0.05
_CHROMATIC = slice(COLOR_NAMES.index("red"), None)
#: Something has moved when 3 x 3 pixels differ by this much of 255 from what they were: noise does not.
_MOVED = 12
_WINDOW = (3, 3)


def no_sums(profile: int = 0) -> Sums:
    """Sums of nothing. profile: length of the light profile."""
    return np.zeros(_FIXED + len(COLOR_NAMES) + profile)


def light_profile_of(sums: Sums) -> Profile:
    return sums[_PROFILE]


def within(sums: Sums, share: float, bars: float = 0.0) -> Sums:
    """A scene's sums (without its light profile) as if only the active area had been measured.

    share: of the frame that the area takes; bars: luma of the rest, 0 to 1, which is still and without colour. For
    contrast this holds as far as the scene's frames differ in brightness alone.
    """
    found = sums[: _PROFILE.start].copy()
    if share >= 1:
        return found
    outside = (1 - share) * bars
    variance = found[MEAN_SQUARE] - found[SQUARED_MEAN]
    mean_square = (found[MEAN_SQUARE] - outside * bars * found[FRAMES]) / share
    squared_mean = (found[SQUARED_MEAN] - 2 * outside * found[MEAN] + outside**2 * found[FRAMES]) / share**2
    found[CONTRAST] *= math.sqrt(max(0.0, mean_square - squared_mean) / variance) if variance > 0 else 1.0
    found[BRIGHTNESS] -= outside * found[SECONDS]
    black = _FIXED + COLOR_NAMES.index("black")
    for dark in (black, DARK):
        found[dark] = max(0.0, found[dark] - (1 - share) * found[SAMPLES])
    found[[BRIGHTNESS, MOTION, SATURATION, DARK]] /= share
    found[_COLORS] /= share
    return found


class FrameMeter:
    """Measures one frame after another. Frames: BGR, uint8, shape (height, width, 3)."""

    def __init__(self) -> None:
        self._last_luma: cv2.typing.MatLike | None = None
        self._last_us = 0
        self._color_us: int | None = None
        self._profile_us: int | None = None
        self._settled: cv2.typing.MatLike | None = None

    def measure(self, bgr: NDArray[np.uint8], time_us: int) -> Sums:
        """The frame's sums, all but its time, which is known only when the next one comes (`weigh`)."""
        sums = no_sums(profile_length(*bgr.shape[:2]))
        luma = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        mean, deviation = (float(value[0, 0]) / 255 for value in cv2.meanStdDev(luma))
        sums[FRAMES] = 1
        sums[BRIGHTNESS] = mean
        sums[CONTRAST] = deviation
        sums[MEAN] = mean
        sums[SQUARED_MEAN] = mean**2
        sums[MEAN_SQUARE] = mean**2 + deviation**2
        change = 0.0
        if self._last_luma is not None:
            change = cv2.norm(luma, self._last_luma, cv2.NORM_L1) / luma.size / 255
            elapsed_s = max(1e-3, (time_us - self._last_us) / 1e6)
            sums[MOTION] = min(1.0, change * _REFERENCE_S / elapsed_s)
            sums[MOTIONS] = 1
        # a jump may be the first frame of a scene: a scene shorter than the interval needs colours too
        if change > _COLOR_JUMP or _is_time(self._color_us, time_us):
            self._color_us = time_us
            sample = np.ascontiguousarray(bgr[::2, ::2])
            hsv = cv2.cvtColor(sample, cv2.COLOR_BGR2HSV)
            _, colored = cv2.threshold(hsv[..., 2], _DARKEST_COLORED - 1, 255, cv2.THRESH_BINARY)
            sums[SATURATION] = cv2.mean(hsv, colored)[1] / 255 * cv2.countNonZero(colored) / colored.size
            sums[SAMPLES] = 1
            sums[_COLORS] = color_shares(sample)
            blue, green, red = cv2.split(bgr)
            highest = cv2.max(cv2.max(blue, green), red)
            chroma = cv2.subtract(highest, cv2.min(cv2.min(blue, green), red))
            sums[DARK] = 1 - _share_above(highest, _DARK - 1)
            sums[COLORED] = cv2.norm(cv2.blur(chroma, _WINDOW), cv2.NORM_INF) > _COLORED
            names = np.count_nonzero(sums[_COLORS][_CHROMATIC] >= _COLORFUL_NAME_SHARE)
            sums[COLORFUL] = names >= _COLORFUL_NAMES and _share_above(chroma, _VIVID) >= _VIVID_SHARE
            sums[MOVED] = self._has_moved(bgr)
        if _is_time(self._profile_us, time_us):
            self._profile_us = time_us
            sums[_PROFILE] = light_profile(bgr)
        self._last_luma, self._last_us = luma, time_us
        return sums

    def _has_moved(self, bgr: NDArray[np.uint8]) -> bool:
        """Whether any part of the picture differs visibly from when something last moved; slow movement counts, too."""
        smooth = cv2.blur(bgr, _WINDOW)
        if self._settled is not None and cv2.norm(smooth, self._settled, cv2.NORM_INF) < _MOVED:
            return False
        first, self._settled = self._settled is None, smooth
        return not first


def _share_above(values: cv2.typing.MatLike, limit: int) -> float:
    return float(np.count_nonzero(np.asarray(values) > limit) / (values.shape[0] * values.shape[1]))


def _is_time(last_us: int | None, time_us: int) -> bool:
    return last_us is None or time_us - last_us >= _SAMPLE_INTERVAL_US


def weigh(sums: Sums, duration_s: float) -> None:
    """Give a measured frame its time on the screen."""
    sums[SECONDS] = duration_s
    sums[BRIGHTNESS] *= duration_s
    sums[CONTRAST] *= duration_s


def forget_motion(sums: Sums) -> None:
    """The change from another scene's last frame is no motion."""
    sums[MOTION] = sums[MOTIONS] = sums[MOVED] = 0


def add_sound(sums: Sums, block: SoundBlock) -> None:
    sums[BLOCKS] += 1
    sums[POWER] += block.power
    sums[SILENT] += is_silent(block.power)


def scene_stats(sums: Sums, *, sound: bool) -> SceneStats:
    """The statistics that the sums stand for. sound: the video has sound; a scene beyond its end is silent then."""
    seconds = max(float(sums[SECONDS]), 1e-9)
    samples, blocks = max(float(sums[SAMPLES]), 1.0), float(sums[BLOCKS])
    shares = sums[_COLORS] / samples
    order = [int(index) for index in np.argsort(-shares, kind="stable")[:_NAMED_COLORS]]
    return SceneStats(
        brightness=_tidy(sums[BRIGHTNESS] / seconds),
        contrast=_tidy(sums[CONTRAST] / seconds),
        saturation=_tidy(sums[SATURATION] / samples),
        motion=_tidy(sums[MOTION] / max(float(sums[MOTIONS]), 1.0)),
        dark_share=_tidy(sums[DARK] / samples),
        colored_share=_tidy(sums[COLORED] / samples),
        colorful_share=_tidy(sums[COLORFUL] / samples),
        moving_share=_tidy(sums[MOVED] / samples),
        colors=tuple(
            ColorShare(name=COLOR_NAMES[index], share=_tidy(shares[index]))
            for index in order
            if shares[index] >= _LEAST_SHARE
        ),
        loudness_db=(round(level_dbfs(sums[POWER] / blocks), 1) if blocks else FLOOR_DBFS) if sound else None,
        silence_share=(_tidy(sums[SILENT] / blocks) if blocks else 1.0) if sound else None,
    )


def _tidy(value: float) -> float:
    # rounding may leave 1.0000000002 behind, which is no share
    return 0.0 if not math.isfinite(value) else min(1.0, max(0.0, round(float(value), 4)))
