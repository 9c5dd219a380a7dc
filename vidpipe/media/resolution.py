"""How large a picture is shown, and what that size is called."""

from __future__ import annotations

import math
from fractions import Fraction

#: (name, least long side, least short side) in pixels, largest first. A picture has a name when either side reaches it:
#: cinemascope is wide enough (1920x800), 4:3 is high enough (1440x1080), portrait turns both round.
_CLASSES = (
    ("8K", 7680, 4320),
    ("4K", 3840, 2160),
    ("2K", 2048, 1440),
    ("Full HD", 1920, 1080),
    ("HD", 1280, 720),
)
#: Encoders crop a few lines and columns: a side counts from 97 % of the nominal size.
_TOLERANCE = 0.97


def resolution_name(width: int, height: int) -> str:
    """SD, HD, Full HD, 2K, 4K or 8K for a displayed size in pixels, in either orientation."""
    long, short = max(width, height), min(width, height)
    for name, least_long, least_short in _CLASSES:
        if long >= least_long * _TOLERANCE or short >= least_short * _TOLERANCE:
            return name
    return "SD"


def orientation(width: int, height: int) -> str:
    """landscape, portrait or square, of a displayed size."""
    if width == height:
        return "square"
    return "landscape" if width > height else "portrait"


def displayed_size(coded_width: int, coded_height: int, pixel_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """(width, height) as shown: pixels made square by stretching the width, then turned by `rotation` degrees."""
    width, height = round(coded_width * pixel_aspect), coded_height
    return (height, width) if rotation in (90, 270) else (width, height)


def clockwise(angle: float) -> int:
    """ffprobe's display-matrix angle (anticlockwise, -180 to 180) as the nearest of 0, 90, 180, 270 clockwise."""
    # a display matrix of zeros has no angle
    return round(-angle / 90) * 90 % 360 if math.isfinite(angle) else 0
