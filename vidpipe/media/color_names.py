"""The eleven basic colour terms of English (Berlin and Kay), plus cyan: which of them a pixel is called."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

COLOR_NAMES = (
    "black", "gray", "white", "red", "orange", "brown", "yellow", "green", "cyan", "blue", "purple", "pink",
)  # fmt: skip

#: Upper end of each hue, in degrees.
_HUES = ((15, "red"), (42, "orange"), (68, "yellow"), (160, "green"), (200, "cyan"), (255, "blue"), (300, "purple"),
         (345, "pink"), (361, "red"))  # fmt: skip


def color_shares(bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of each of `COLOR_NAMES` in a picture (uint8, shape (height, width, 3)); they add up to 1."""
    index = (bgr >> 3).astype(np.uint16)
    names = _table()[(index[..., 0] << 10) | (index[..., 1] << 5) | index[..., 2]]
    return np.bincount(names.ravel(), minlength=len(COLOR_NAMES)).astype(np.float64) / names.size


@functools.cache
def _table() -> NDArray[np.uint8]:
    """Name of each colour with five bits a channel, blue highest."""
    every = np.arange(32**3, dtype=np.uint16)
    bgr = np.stack([(every >> 10) & 31, (every >> 5) & 31, every & 31], axis=-1).astype(np.float32) / 31
    hsv = cv2.cvtColor(bgr[None], cv2.COLOR_BGR2HSV)[0]
    return np.array([COLOR_NAMES.index(_name(*map(float, pixel))) for pixel in hsv], np.uint8)


def _name(hue: float, saturation: float, value: float) -> str:
    if value < 0.15:
        return "black"
    if saturation < 0.15 or (saturation < 0.25 and value < 0.3):
        return "white" if value > 0.8 else "gray"
    name = next(name for end, name in _HUES if hue < end)
    if name == "orange" and value < 0.65:
        return "brown"
    if name in ("red", "purple") and saturation < 0.5 and value > 0.7:
        return "pink"
    return name
