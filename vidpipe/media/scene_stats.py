"""Statistics of a scene, measured on small frames: light, contrast, color, motion and color names; and its sound.

Measurements are sums in one small vector, so that those of frames, blocks of frames and scenes can be added. Each
frame counts as long as it is shown, and colors and motion are measured at fixed intervals of time, so that some of the
frames give the same statistics as all of them. Whole frames are measured; once a scene's black bars are known,
`without_bars` subtracts them.
"""

import functools
import math
from collections import deque
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
    names = _color_table().take(cv2.cvtColor(bgr, cv2.COLOR_BGR2BGR555).view(np.uint16))
    return np.asarray(np.bincount(names.ravel(), minlength=len(COLOR_NAMES)) / names.size, np.float64)


@functools.cache
def _color_table() -> NDArray[np.uint8]:
    """Return the index of the name of each 15-bit color, red in the highest bits."""
    every = np.arange(32**3, dtype=np.uint16)
    bgr = np.stack([every & 31, (every >> 5) & 31, every >> 10], axis=-1).astype(np.float32) / 31
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


#: Indexes of the sums: blocks of sound, their power and the number of silent ones; seconds searched for movement, and
#: those with some.
BLOCKS, POWER, SILENT, SEARCHED, MOVED = range(5)
#: The others are weighted by time: the seconds themselves; brightness and contrast; the luma's mean square and squared
#: mean; saturation; the dark share; whether there is color, and whether the picture is colorful; motion, and whether it
#: was measured. The shares of the color names and the light profile follow.
SECONDS, BRIGHTNESS, CONTRAST, MEAN_SQUARE, SQUARED_MEAN, SATURATION, DARK, COLORED, COLORFUL = range(5, 14)
MOTION, MOTION_SECONDS = 14, 15
_FIXED = 16
_COLORS = slice(_FIXED, _FIXED + len(COLOR_NAMES))
_PROFILE = slice(_FIXED + len(COLOR_NAMES), None)
Sums = NDArray[np.float64]

#: Colors are sampled at the first frame in each such interval; a sample holds until the next one.
_SAMPLE_INTERVAL_US = 200_000
#: They are sampled, too, if a frame may begin a scene, which must not inherit the colors of another: if it differs from
#: the one before by at least the first value (0 to 1) and this multiple of the previous difference, or by the second.
_JUMP, _JUMP_FACTOR, _SURE_JUMP = 0.02, 2.0, 0.1
#: Motion is the change over this time, 0.2 s less the rounding of times. A visible change means movement for as long.
_MOTION_SPAN_US = 198_000
#: Changes grow with about this power of the time, on real footage; it converts them to those within the reference time.
_MOTION_POWER, _REFERENCE_US = 0.7, 40_000
#: Below this weight, a second frame is not compared. The limit is for broken times, which could fill the memory.
_MIN_WEIGHT, _MAX_HISTORY = 0.1, 256
#: Minimum interval of searches for visible changes.
_MIN_SEARCH_STEP_US = 75_000
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
    mean_square = (found[MEAN_SQUARE] - outside * bars * found[SECONDS]) / share
    squared_mean = (found[SQUARED_MEAN] - 2 * outside * found[BRIGHTNESS] + outside**2 * found[SECONDS]) / share**2
    found[CONTRAST] *= math.sqrt(max(0.0, mean_square - squared_mean) / variance) if variance > 0 else 1.0
    found[BRIGHTNESS] -= outside * found[SECONDS]
    black = _FIXED + COLOR_NAMES.index("black")
    found[[black, DARK]] = np.maximum(0.0, found[[black, DARK]] - (1 - share) * found[SECONDS])
    found[[BRIGHTNESS, MOTION, SATURATION, DARK]] /= share
    found[_COLORS] /= share
    return found


class FrameMeter:
    """Measures one frame after another: every frame of a video, or some."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._last_change = 0.0
        self._interval = -1
        self._sample = no_sums()
        self._history: deque[tuple[int, cv2.typing.MatLike]] = deque(maxlen=_MAX_HISTORY)
        self._settled: cv2.typing.MatLike | None = None
        self._moved_us = self._searched_us = 0

    def measure(self, bgr: NDArray[np.uint8], time_us: int) -> Sums:
        """Measure a frame.

        Args:
            bgr: Pixels, uint8, shape (height, width, 3).
            time_us: Presentation time, in microseconds.

        Returns:
            Its sums as if it were shown for a second; how long it is shown is known only when the next frame comes
            (`set_duration`).
        """
        change = 0.0 if self._last is None else _change(bgr, self._last)
        interval = time_us // _SAMPLE_INTERVAL_US
        if interval != self._interval or change > min(max(_JUMP, _JUMP_FACTOR * self._last_change), _SURE_JUMP):
            self._interval, self._sample = interval, self._sampled(bgr)
        self._last, self._last_change = bgr, change
        luma = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        mean, deviation = (float(value[0, 0]) / 255 for value in cv2.meanStdDev(luma))
        sums = self._sample.copy()
        sums[SECONDS:SATURATION] = 1, mean, deviation, mean**2 + deviation**2, mean**2
        sums[SEARCHED], sums[MOVED] = self._movement(bgr, time_us)
        sums[MOTION], sums[MOTION_SECONDS] = self._motion(luma, time_us)
        return sums

    def _sampled(self, bgr: NDArray[np.uint8]) -> Sums:
        """Return what holds until the next sample."""
        sums = no_sums(profile_length(*bgr.shape[:2]))
        quarter = cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
        sums[_COLORS] = color_shares(np.asarray(quarter, np.uint8))
        blue, green, red = cv2.split(bgr)
        highest = cv2.max(cv2.max(blue, green), red)
        chroma = cv2.subtract(highest, cv2.min(cv2.min(blue, green), red))
        _, bright = cv2.threshold(highest, _MIN_COLORED_VALUE - 1, 255, cv2.THRESH_TOZERO)
        sums[SATURATION] = cv2.mean(cv2.divide(chroma, bright, scale=255))[0] / 255
        sums[DARK] = 1 - _share_above(highest, _DARK - 1)
        sums[COLORED] = cv2.norm(cv2.blur(chroma, _WINDOW), cv2.NORM_INF) > _COLORED
        names = np.count_nonzero(sums[_COLORS][_CHROMATIC] >= _COLORFUL_NAME_SHARE)
        sums[COLORFUL] = names >= _COLORFUL_NAMES and _share_above(chroma, _VIVID) >= _VIVID_SHARE
        sums[_PROFILE] = light_profile(bgr)
        return sums

    def _motion(self, luma: cv2.typing.MatLike, time_us: int) -> tuple[float, bool]:
        """Return the motion up to this frame, and whether it could be measured.

        It is interpolated between the motion since the nearest frames before and after the beginning of the span.
        """
        history = self._history
        history.append((time_us, luma))
        while len(history) > 2 and time_us - history[1][0] >= _MOTION_SPAN_US:
            history.popleft()
        excess_us = time_us - history[0][0] - _MOTION_SPAN_US
        if excess_us < 0:
            return 0.0, False
        motion, weight = _motion(*history[0], time_us, luma), excess_us / (history[1][0] - history[0][0])
        if len(history) > 2 and weight > _MIN_WEIGHT:
            motion += weight * (_motion(*history[1], time_us, luma) - motion)
        return motion, True

    def _movement(self, bgr: NDArray[np.uint8], time_us: int) -> tuple[float, float]:
        """Return the seconds searched since the last search, and those in which something moved.

        As small changes since the last visible one add up, slow motion is detected.
        """
        step_us, moved_us = time_us - self._searched_us, 0
        if self._settled is not None and step_us < _MIN_SEARCH_STEP_US:
            return 0.0, 0.0
        self._searched_us, smooth = time_us, cv2.blur(bgr, _WINDOW)
        if self._settled is None or cv2.norm(smooth, self._settled, cv2.NORM_INF) >= _MOVED:
            moved_us = min(time_us - self._moved_us, max(_MOTION_SPAN_US, step_us))
            self._settled, self._moved_us = smooth, time_us
        return step_us / 1e6, moved_us / 1e6


def _share_above(values: cv2.typing.MatLike, limit: int) -> float:
    return float(np.count_nonzero(np.asarray(values) > limit) / (values.shape[0] * values.shape[1]))


def _change(picture: cv2.typing.MatLike, previous: cv2.typing.MatLike) -> float:
    return cv2.norm(picture, previous, cv2.NORM_L1) / picture.size / 255


def _motion(since_us: int, previous: cv2.typing.MatLike, time_us: int, luma: cv2.typing.MatLike) -> float:
    """Return the change between two frames, converted to the reference time, 0 to 1."""
    return min(1.0, _change(luma, previous) * math.pow(_REFERENCE_US / (time_us - since_us), _MOTION_POWER))


def set_duration(sums: Sums, duration_s: float) -> None:
    """Weight the sums of a frame with its duration, in seconds."""
    sums[SECONDS:] *= duration_s


def add_frames(scene: Sums, sums: Sums, after_us: int) -> None:
    """Add the sums of frames to those of a scene, which began `after_us` before the first of them."""
    if after_us < _MOTION_SPAN_US:
        # the change from another scene is not motion
        sums[[MOTION, MOTION_SECONDS, SEARCHED, MOVED]] = 0
    scene += sums


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
    seconds, compared, searched = (max(float(sums[index]), 1e-9) for index in (SECONDS, MOTION_SECONDS, SEARCHED))
    blocks = float(sums[BLOCKS])
    shares = sums[_COLORS] / seconds
    order = [int(index) for index in np.argsort(-shares, kind="stable")[:_NAMED_COLORS]]
    return SceneStats(
        brightness=_tidy(sums[BRIGHTNESS] / seconds),
        contrast=_tidy(sums[CONTRAST] / seconds),
        saturation=_tidy(sums[SATURATION] / seconds),
        motion=_tidy(sums[MOTION] / compared),
        dark_share=_tidy(sums[DARK] / seconds),
        colored_share=_tidy(sums[COLORED] / seconds),
        colorful_share=_tidy(sums[COLORFUL] / seconds),
        moving_share=_tidy(sums[MOVED] / searched),
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
