"""Loudness and silence from the sound of the decode pass, in blocks of a tenth of a second."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

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
