"""Two rates from measurements of their sum."""

from __future__ import annotations

from collections.abc import Sequence

#: x, y and the seconds they took together.
Sample = tuple[float, float, float]

#: Least share of a column that the other does not explain: below, noise decides which of the two took the time.
_LEAST_APART = 0.02
_LEAST_SAMPLES = 6
_DROPPED = 0.1


def two_rates(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """(a, b) with seconds = a * x + b * y, neither negative, by least squares; the tenth of the samples that fits worst
    (a model that was loaded, a machine that slept) is left out.

    None where there are too few samples, or x and y always come in the same proportion.
    """
    if len(samples) < _LEAST_SAMPLES:
        return None
    first = _least_squares(samples)
    if first is None:
        return None
    a, b = first
    by_fault = sorted(samples, key=lambda sample: abs(sample[2] - a * sample[0] - b * sample[1]))
    kept = by_fault[: len(samples) - max(1, round(len(samples) * _DROPPED))]
    return _least_squares(kept) or first


def _least_squares(samples: Sequence[Sample]) -> tuple[float, float] | None:
    xx = sum(x * x for x, _, _ in samples)
    yy = sum(y * y for _, y, _ in samples)
    xy = sum(x * y for x, y, _ in samples)
    xs = sum(x * seconds for x, _, seconds in samples)
    ys = sum(y * seconds for _, y, seconds in samples)
    apart = xx * yy - xy * xy
    if not xx or not yy or apart < _LEAST_APART * xx * yy:
        return None
    a, b = (xs * yy - ys * xy) / apart, (ys * xx - xs * xy) / apart
    if a < 0:
        return 0.0, max(ys / yy, 0.0)
    if b < 0:
        return max(xs / xx, 0.0), 0.0
    return a, b
