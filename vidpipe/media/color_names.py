"""The eleven basic colour terms of English (Berlin and Kay), plus cyan: which of them a pixel is called."""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

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
