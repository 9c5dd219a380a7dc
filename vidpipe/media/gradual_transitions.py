"""Gradual transitions: dissolves, and fades through black, white or another color.

During a transition from a picture A to a picture B each picture is close to a mix a·A + b·B, where a falls from 1 to 0
and b rises from 0 to 1: at the same time in a dissolve, one after the other in a fade. Movement, pans and zooms show
pictures that no mix comes close to, and a change of light leaves A and B alike. Pictures are compared without their
mean color, so a uniform picture counts as zero whatever its color.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

#: Interval between two samples, in seconds, and how many are kept.
SAMPLE_S = 0.1
_SAMPLES = 46
#: Samples are this small (width, height), so that movement within a shot changes them little.
_SIZE = (16, 9)
#: Numbers of samples from A to B that are tried, and of samples before and after that must show A and B.
_LENGTHS = np.array([3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40])
_OUTSIDE = 2
#: A uniform picture of at least this duration is a scene of its own.
LONG_FLAT_S = 2.0
#: Variance below which a picture is uniform, and above which A and B have to be.
_FLAT, _TEXTURED = 3.0**2, 7.0**2
#: Largest correlation of A and B; and largest mean distance from the nearest mix, in relation to their variances, if
#: they are unrelated. Where a camera moves, pictures are close to a mix only as long as A and B are alike: the limit
#: falls to nearly nothing at the correlation `_RELATED`.
_MAX_CORRELATION, _MAX_DISTANCE, _RELATED, _MIN_DISTANCE = 0.6, 0.1, 0.5, 0.004
#: The largest distance of any sample and the largest deviation from A and B outside; around a uniform picture, which
#: movement rarely produces, both may be larger.
_MAX_ANY_DISTANCE, _MAX_DEVIATION = 0.2, 0.2
_MAX_FADE_DISTANCE, _MAX_FADE_DEVIATION = 0.7, 0.4
#: Largest progress from one sample to the next, and largest reversal.
_MAX_STEP, _MAX_REVERSAL = 0.6, 0.12
_MIN_DURATION_S, _MAX_DURATION_S = 0.2, 5.0
#: A transition is reported this long after its end, unless a better fit that overlaps it is found until then.
_DELAY_S = 1.0

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class Transition(NamedTuple):
    """A gradual transition; times are in seconds.

    Attributes:
        start_s: Its start.
        cut_s: Its middle: of a dissolve, where both scenes weigh the same; of a fade, of the uniform picture.
        end_s: Its end.
        fade: Whether it passes through a uniform picture.
        misfit: How far it is from a perfect one.
    """

    start_s: float
    cut_s: float
    end_s: float
    fade: bool
    misfit: float


class GradualTransitions:
    """Finds gradual transitions in frames of any spacing. Memory is constant."""

    def __init__(self) -> None:
        #: The newest sample is last. Their inner products are all that a search needs.
        self._samples = np.zeros((_SAMPLES, _SIZE[0] * _SIZE[1] * 3), np.float32)
        self._products = np.zeros((_SAMPLES, _SAMPLES))
        self._times = np.zeros(_SAMPLES)
        self._count = 0
        self._next_s = self._next_search_s = 0.0
        #: When the last long uniform picture ended, as far as is known.
        self._long_s = -math.inf
        self._found: Transition | None = None
        self._reported_s = 0.0

    @property
    def settled_s(self) -> float:
        """Every transition that is reported later has its middle after this time, in seconds."""
        # a transition begins after any long uniform picture
        earliest = max(self._long_s, float(self._times[-self._count])) if self._count else 0.0
        return min(earliest, self._found.start_s) if self._found else earliest

    def add(self, time_s: float, bgr: NDArray[np.uint8]) -> Transition | None:
        """Add the next frame and return the transition that is now certain, if any."""
        if time_s < self._next_s:
            return None
        # a grid in time, so that all frames and a part of them give about the same samples
        self._next_s = _following(time_s, SAMPLE_S)
        # in two steps, which is faster
        middle = cv2.resize(bgr, (2 * _SIZE[0], 2 * _SIZE[1]), interpolation=cv2.INTER_LINEAR)
        small = cv2.resize(middle, _SIZE, interpolation=cv2.INTER_AREA)
        sample = np.asarray(cv2.subtract(small, np.array(cv2.mean(small)), dtype=cv2.CV_32F), np.float32).ravel()
        variance = float(sample @ sample) / sample.size
        newest = self._products.diagonal()[-2:]
        if self._count >= 2 and variance < _FLAT and newest.max() < _FLAT:
            # only the first and the last sample of a uniform picture are kept, however long it lasts
            was_long = self._times[-1] - self._times[-2] >= LONG_FLAT_S
            self._times[-1] = time_s
            if time_s - self._times[-2] >= LONG_FLAT_S:
                self._long_s = time_s
                if not was_long:
                    self._search(_SAMPLES - 2)
        else:
            self._append(time_s, sample)
            # as often as this finds as much as after every sample
            if time_s >= self._next_search_s and self._products[-1 - _OUTSIDE, -1 - _OUTSIDE] >= _TEXTURED:
                self._next_search_s = _following(time_s, 2 * SAMPLE_S)
                self._search(_SAMPLES - 1 - _OUTSIDE)
        return self.finish() if self._found and time_s > self._found.end_s + _DELAY_S else None

    def finish(self) -> Transition | None:
        """Return the transition that is not reported yet, if any."""
        found, self._found = self._found, None
        if found:
            self._reported_s = found.end_s
        return found

    def _append(self, time_s: float, sample: NDArray[np.float32]) -> None:
        self._samples[:-1], self._times[:-1] = self._samples[1:], self._times[1:]
        self._products[:-1, :-1] = self._products[1:, 1:]
        self._samples[-1], self._times[-1] = sample, time_s
        self._products[-1] = self._products[:, -1] = self._samples @ sample / sample.size
        self._count = min(self._count + 1, _SAMPLES)

    def _search(self, end: int) -> None:
        """Look for transitions to the sample `end`."""
        products, variances = self._products, self._products.diagonal()
        starts = end - _LENGTHS
        starts = starts[starts > _SAMPLES - self._count]
        limits = _MAX_CORRELATION * np.sqrt(variances[starts] * variances[end])
        starts = starts[(variances[starts] >= _TEXTURED) & (products[starts, end] <= limits)]
        after_uniform: list[int] = []
        if variances[end] >= _TEXTURED:
            if self._long_s >= self._times[-self._count]:
                places = range(_SAMPLES - self._count, end - 2)
                after_uniform = [place for place in places if self._times[place] == self._long_s]
            # most pairs fail in the middle between them
            progress, distance = self._mix((starts + end + 1) // 2, starts, end)
            starts = starts[(progress > 0.2) & (progress < 0.8) & (distance < _MAX_ANY_DISTANCE)]
        for start in [*after_uniform, *starts]:
            fit = self._fit(int(start), end)
            if fit and fit.start_s >= self._reported_s:
                overlaps = self._found is not None and fit.start_s < self._found.end_s
                if self._found is None or not overlaps or fit.misfit < self._found.misfit:
                    self._found = fit

    def _fit(self, start: int, end: int) -> Transition | None:
        """Return the transition between two samples, if there is one."""
        products, variances = self._products, self._products.diagonal()
        around = slice(max(0, start - _OUTSIDE), end + _OUTSIDE + 1)
        within = slice(start - around.start, end - around.start + 1)
        progress, distance = self._mix(np.arange(around.start, min(around.stop, _SAMPLES)), start, end)
        inner, times = progress[within], self._times[start : end + 1]
        steps = np.diff(inner)
        correlation = products[start, end] / np.sqrt(max(variances[start] * variances[end], _FLAT))
        mean_distance = distance[within][1:-1].mean()
        deviation = max(
            np.abs(progress[: within.start]).max(initial=0.0), np.abs(progress[within.stop :] - 1).max(initial=0.0)
        )
        fade = variances[start : end + 1].min() < _FLAT
        gaps = np.diff(times)
        if (
            mean_distance > max(_MAX_DISTANCE * (1 - correlation / _RELATED), _MIN_DISTANCE)
            or distance.max() > (_MAX_FADE_DISTANCE if fade else _MAX_ANY_DISTANCE)
            or deviation > (_MAX_FADE_DEVIATION if fade else _MAX_DEVIATION)
            or not -_MAX_REVERSAL <= steps.min() <= steps.max() <= _MAX_STEP
            or np.count_nonzero((inner > 0.1) & (inner < 0.9)) < 2
            # not only a uniform picture between two cuts
            or not np.any((np.abs(inner - 0.5) > 0.1) & (np.abs(inner - 0.5) < 0.4))
            or gaps.max() >= LONG_FLAT_S
        ):
            return None
        begin, rising, before, after, falling, finish = (
            _crossing(times, inner, level) for level in (0.1, 0.3, 0.4, 0.6, 0.7, 0.9)
        )
        duration_s = (finish - begin) / 0.8
        steady = 2 * gaps / duration_s + _MAX_REVERSAL
        if not _MIN_DURATION_S <= duration_s <= _MAX_DURATION_S or not (fade or (steps <= steady).all()):
            return None
        misfit = mean_distance / _MAX_DISTANCE + deviation / _MAX_DEVIATION + correlation / _RELATED
        # extrapolated from the levels that can be measured
        start_s, end_s = begin - (rising - begin) / 2, finish + (finish - falling) / 2
        return Transition(start_s, (before + after) / 2, end_s, bool(fade), float(misfit))

    def _mix(self, places: Places, start: Places | int, end: int) -> tuple[Floats, Floats]:
        """Return how far samples are on the way from A (0) to B (1), and their distances from the nearest mix of both.

        One of A and B may be uniform.

        Args:
            places: Places of the samples.
            start: Place of A, or one for each sample.
            end: Place of B.
        """
        products, variances = self._products, self._products.diagonal()
        with_a, with_b = products[places, start], products[places, end]
        variance_a, variance_b, common = variances[start], variances[end], products[start, end]
        if variance_b < _FLAT:
            share_a = with_a / variance_a
            share_b = 1 - share_a
            mixed = share_a * with_a
        elif np.min(variance_a, initial=_TEXTURED) < _FLAT:
            share_b = with_b / variance_b
            share_a = 1 - share_b
            mixed = share_b * with_b
        else:
            determinant = variance_a * variance_b - common**2
            share_a = (with_a * variance_b - with_b * common) / determinant
            share_b = (with_b * variance_a - with_a * common) / determinant
            mixed = share_a * with_a + share_b * with_b
        return (1 - share_a + share_b) / 2, (variances[places] - mixed) / (variance_a + variance_b)


def _crossing(times: Floats, progress: Floats, level: float) -> float:
    """Return the time at which the progress reaches a level."""
    after = int(np.argmax(progress >= level))
    before = max(0, after - 1)
    return float(np.interp(level, progress[[before, after]], times[[before, after]]))


def _following(time_s: float, interval_s: float) -> float:
    """Return the next multiple of an interval, less a millisecond, to which times may be rounded."""
    return (math.floor(time_s / interval_s + 0.01) + 1) * interval_s - 0.001
