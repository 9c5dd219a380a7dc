"""The frame rate of a video stream, measured on the times of its pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Intervals that differ from the usual one by more are another rate: containers round times to 1 ms.
_JITTER_S = 0.0015
_JITTER_SHARE = 0.02
#: Cameras drop a frame now and then, and broadcasts lose a few at once: the rate is still constant.
_STRAY_INTERVALS, _LOST_FRAMES = 0.01, 0.05
#: How far a gap may be from a whole number of intervals where frames were lost.
_GAP_JITTER = 0.1
#: Error of a mean of `n` intervals whose ends are rounded to 1 ms, and of times that are printed in microseconds.
_ROUNDING_S, _PRINTED_S = 0.0011, 2e-6
_BROADCAST_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
_LARGEST_DENOMINATOR = 1001


@dataclass(frozen=True)
class FrameRate:
    """What the times of pictures say of their rate.

    Attributes:
        interval_s: The usual time between two pictures.
        constant: All pictures keep to it, but for a stray one.
        average: Pictures a second; exact (30000/1001) where the rate is constant.
    """

    interval_s: float
    constant: bool
    average: Fraction


def measured_rate(times_s: Sequence[float], stated: Iterable[Fraction | None], end_s: float) -> FrameRate | None:
    """The rate of pictures at `times_s`; None where fewer than two times differ.

    Args:
        times_s: In seconds, in ascending order.
        stated: Rates that headers state, the most trusted first: one that agrees with the times is the exact rate.
        end_s: The end of the last picture.
    """
    import numpy as np  # here: commands that measure nothing need not load it

    intervals = np.diff(np.asarray(times_s, float))
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return None
    middle = (len(intervals) - 1) // 2
    usual_s = float(np.partition(intervals, middle)[middle])
    is_regular = np.abs(intervals - usual_s) <= max(_JITTER_S, usual_s * _JITTER_SHARE)
    regular = intervals[is_regular]
    mean_s = statistics.fmean(regular)
    gaps = intervals[~is_regular] / mean_s
    lost = int((np.rint(gaps) - 1).sum())
    stray = int(np.count_nonzero((gaps < 1.5) | (np.abs(gaps - np.rint(gaps)) > _GAP_JITTER)))
    constant = stray <= len(intervals) * _STRAY_INTERVALS and lost <= max(1, len(intervals) * _LOST_FRAMES)
    if not constant:
        average = Fraction(len(times_s) / (end_s - times_s[0]))
        return FrameRate(usual_s, constant, average.limit_denominator(_LARGEST_DENOMINATOR))
    return FrameRate(mean_s, constant, _exact(mean_s, len(regular), stated))


def _exact(interval_s: float, count: int, stated: Iterable[Fraction | None]) -> Fraction:
    """The rate whose interval is the mean of `count` intervals: a stated one, a usual one, or as measured."""
    measured = Fraction(1 / interval_s)
    whole = Fraction(max(1, round(measured)))
    slow = Fraction(1, max(1, round(interval_s)))
    tolerance_s = _ROUNDING_S / count + _PRINTED_S
    for rate in (*stated, whole, *_BROADCAST_RATES, slow):
        if rate and abs(float(1 / rate) - interval_s) <= tolerance_s:
            return rate
    return measured.limit_denominator(_LARGEST_DENOMINATOR)
