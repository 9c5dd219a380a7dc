"""Statistics of a scene, measured on small frames: light, contrast, color, motion and color names; and its sound.

Measurements are sums in one small vector, so that those of frames, blocks of frames and scenes can be added. Whole
frames are measured; once a scene's black bars are known, `without_bars` subtracts them.
"""

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

#: Upper limits of the hues, in degrees.
_HUE_ENDS = (15, 42, 68, 160, 200, 255, 300, 345, 361)
_HUES = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "red")


def color_shares(bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of each of `COLOR_NAMES` in a picture.

    Args:
        bgr: Pixels, uint8, shape (height, width, 3).

    Returns:
        Shares that add up to 1, shape (len(COLOR_NAMES),).
    """
    index = (bgr >> 3).astype(np.uint16)
    names = _color_table()[(index[..., 0] << 10) | (index[..., 1] << 5) | index[..., 2]]
    return np.asarray(np.bincount(names.ravel(), minlength=len(COLOR_NAMES)) / names.size, np.float64)


@functools.cache
def _color_table() -> NDArray[np.uint8]:
    """Return the index of the name of each 15-bit color, blue in the highest bits."""
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
#: The lowest reported level: digital silence has none.
FLOOR_DBFS = -100.0
_SILENCE_POWER = 10 ** (SILENCE_DBFS / 10)


class SoundBlock(NamedTuple):
    """A block of sound.

    Attributes:
        time_us: Start time, in microseconds.
        power: Mean square of the samples, 0 to 1 (full scale).
    """

    time_us: int
    power: float


def block_power(samples: bytes | bytearray) -> float:
    """Return the mean square of 16-bit mono samples, 0 to 1; 0 without samples."""
    values = np.frombuffer(samples, dtype="<i2").astype(np.float32)
    return float(np.dot(values, values)) / (len(values) * 32768.0**2) if len(values) else 0.0


def level_dbfs(power: float) -> float:
    """Return the RMS level of a mean square in dBFS, at least `FLOOR_DBFS`."""
    return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS


#: Indexes of the sums: frames, seconds, brightness and contrast weighted by time, motion and its count, saturation of
#: the color samples and their count, blocks of sound, their power and the number of silent ones; the luma's mean, mean
#: square and squared mean; the dark share of the color samples, and how many have color, are colorful, and differ from
#: the previous one. The shares of the color names and the light profile follow.
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
_MIN_COLOR_SHARE = 0.04
#: Value (0 to 255) below which pixels have no saturation: noise of a single step would make it full.
_MIN_COLORED_VALUE = 16
#: Largest channel (0 to 255) below which a pixel is dark. Luma would classify pure blue as dark.
_DARK = 64
#: A picture has color if the channels of 3 x 3 pixels differ by more than this (0 to 255); compression tints gray
#: footage less.
_COLORED = 24
#: It is colorful if a third of it has vivid colors of at least three names.
_VIVID_SHARE, _VIVID = 1 / 3, 90
_COLORFUL_NAMES, _COLORFUL_NAME_SHARE = 3, 0.05
_CHROMATIC = slice(COLOR_NAMES.index("red"), None)
#: A picture has moved if 3 x 3 pixels change by at least this (0 to 255); noise changes less.
_MOVED = 12
_WINDOW = (3, 3)


def no_sums(profile: int = 0) -> Sums:
    """Return sums of zero, with a light profile of the given length."""
    return np.zeros(_FIXED + len(COLOR_NAMES) + profile)


def scene_light_profile(sums: Sums) -> Profile:
    """Return the light profile in the sums of a scene."""
    return sums[_PROFILE]


def without_bars(sums: Sums, share: float, bars: float = 0.0) -> Sums:
    """Return a scene's sums as if only the active area had been measured.

    Exact except for contrast, for which the scene's frames are assumed to differ in brightness only.

    Args:
        sums: Sums of whole frames.
        share: Share of the frame that the active area covers, 0 to 1.
        bars: Luma of the rest, 0 to 1, which is still and without color.

    Returns:
        The sums, without the light profile.
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
    """Measures one frame after another."""

    def __init__(self) -> None:
        self._last_luma: cv2.typing.MatLike | None = None
        self._last_us = 0
        self._color_us: int | None = None
        self._profile_us: int | None = None
        self._settled: cv2.typing.MatLike | None = None

    def measure(self, bgr: NDArray[np.uint8], time_us: int) -> Sums:
        """Measure a frame.

        Args:
            bgr: Pixels, uint8, shape (height, width, 3).
            time_us: Presentation time, in microseconds.

        Returns:
            Its sums without its duration, which is known only when the next frame comes (`set_duration`).
        """
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
        # a large change may begin a scene, and a scene shorter than the interval needs colors, too
        if change > _COLOR_JUMP or _is_due(self._color_us, time_us):
            self._color_us = time_us
            sample = np.ascontiguousarray(bgr[::2, ::2])
            hsv = cv2.cvtColor(sample, cv2.COLOR_BGR2HSV)
            _, colored = cv2.threshold(hsv[..., 2], _MIN_COLORED_VALUE - 1, 255, cv2.THRESH_BINARY)
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
        if _is_due(self._profile_us, time_us):
            self._profile_us = time_us
            sums[_PROFILE] = light_profile(bgr)
        self._last_luma, self._last_us = luma, time_us
        return sums

    def _has_moved(self, bgr: NDArray[np.uint8]) -> bool:
        """Return whether any part of the picture differs visibly from when it last moved. Detects slow motion."""
        smooth = cv2.blur(bgr, _WINDOW)
        if self._settled is not None and cv2.norm(smooth, self._settled, cv2.NORM_INF) < _MOVED:
            return False
        first, self._settled = self._settled is None, smooth
        return not first


def _share_above(values: cv2.typing.MatLike, limit: int) -> float:
    return float(np.count_nonzero(np.asarray(values) > limit) / (values.shape[0] * values.shape[1]))


def _is_due(last_us: int | None, time_us: int) -> bool:
    return last_us is None or time_us - last_us >= _SAMPLE_INTERVAL_US


def set_duration(sums: Sums, duration_s: float) -> None:
    """Weight the sums of a frame with its duration, in seconds."""
    sums[SECONDS] = duration_s
    sums[BRIGHTNESS] *= duration_s
    sums[CONTRAST] *= duration_s


def remove_motion(sums: Sums) -> None:
    """Remove motion from the sums of a scene's first frame: the change from another scene is not motion."""
    sums[MOTION] = sums[MOTIONS] = sums[MOVED] = 0


def add_sound(sums: Sums, block: SoundBlock) -> None:
    """Add a block of sound to the sums of a scene."""
    sums[BLOCKS] += 1
    sums[POWER] += block.power
    sums[SILENT] += block.power < _SILENCE_POWER


def scene_stats(sums: Sums, *, sound: bool) -> SceneStats:
    """Return the statistics of a scene or video.

    Args:
        sums: Its sums.
        sound: Whether the video has sound; scenes after the end of the sound are silent.
    """
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
            if shares[index] >= _MIN_COLOR_SHARE
        ),
        loudness_db=(round(level_dbfs(sums[POWER] / blocks), 1) if blocks else FLOOR_DBFS) if sound else None,
        silence_share=(_tidy(sums[SILENT] / blocks) if blocks else 1.0) if sound else None,
    )


def _tidy(value: float) -> float:
    # rounding errors may exceed 1, the maximum of a share
    return 0.0 if not math.isfinite(value) else min(1.0, max(0.0, round(float(value), 4)))
