"""How large a picture is shown, and what that size is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
#: The widest pixel that is believed, and turned round the narrowest. In use are 4:9 (half the lines of a 4:3 picture)
#: to 32:11 (half the columns of a 16:9 one).
MOST_PIXEL_ASPECT = Fraction(4)


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
    width, height = max(1, round(coded_width * pixel_aspect)), coded_height
    return (height, width) if rotation in (90, 270) else (width, height)


def is_plausible_aspect(pixel_aspect: Fraction) -> bool:
    """Whether a pixel of this shape (width to height) is a choice and no fault."""
    return 1 / MOST_PIXEL_ASPECT <= pixel_aspect <= MOST_PIXEL_ASPECT


def display_turn(matrix: Sequence[int]) -> tuple[int, bool]:
    """(degrees clockwise, mirrored) of a display matrix, given as its nine numbers row by row.

    The degrees are those by which the ffmpeg program turns the frame itself: 0, 90, 180 or 270. Any other angle turns
    the picture within a frame of the same size and counts as 0, as does a matrix that maps the picture to a line.
    A picture that is mirrored, left to right or top to bottom, is not turned upside down.
    """
    a, b, _, c, d = matrix[:5]
    determinant = a * d - b * c
    if not determinant:
        return 0, False
    angle = round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360
    quarters = angle if angle in (90, 180, 270) else 0
    mirrored = determinant < 0
    return (0 if mirrored and quarters == 180 else quarters), mirrored
