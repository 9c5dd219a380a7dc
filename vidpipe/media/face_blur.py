"""Makes faces in a JPEG unrecognizable, so that the original cannot be restored from it."""

from collections.abc import Sequence

import cv2

from vidpipe.media.facts import Box
from vidpipe.media.frame_pack import decode_jpeg, encode_jpeg

#: Incremented whenever the same faces are blurred in another way.
BLUR = "vidpipe-blur/1"
#: A detector's box ends at chin, brow and ears; this share of it is added on each side.
_MARGIN = 0.35
#: A face is reduced to so many colors in each direction, or one for each `_COARSE` pixels if that is less.
_MOST_COLORS, _COARSE = 5, 4


def blurred(jpeg: bytes, boxes: Sequence[Box]) -> bytes:
    """Blur what is in the boxes, with a margin.

    Each box is reduced to at most 5x5 averages, which are spread over it again: no filter to be inverted, nothing left
    to enhance.

    Args:
        jpeg: The JPEG.
        boxes: (left, top, width, height) as shares of the picture.

    Returns:
        A new JPEG; the same bytes without boxes.

    Raises:
        MediaError: The JPEG cannot be decoded.
    """
    if not boxes:
        return jpeg
    picture = decode_jpeg(jpeg)
    blur(picture, boxes)
    return encode_jpeg(picture, (picture.shape[1], picture.shape[0]))


def blur(picture: cv2.typing.MatLike, boxes: Sequence[Box]) -> list[tuple[slice, slice]]:
    """Blur what is in the boxes of a picture, as `blurred` does, and return the (rows, columns) that were changed."""
    height, width = picture.shape[:2]
    changed = []
    for left, top, box_width, box_height in boxes:
        x0, x1 = _span(left, box_width, width)
        y0, y1 = _span(top, box_height, height)
        face = picture[y0:y1, x0:x1]
        if face.size:
            colors = tuple(max(1, min(_MOST_COLORS, side // _COARSE)) for side in (x1 - x0, y1 - y0))
            averages = cv2.resize(face, colors, interpolation=cv2.INTER_AREA)
            picture[y0:y1, x0:x1] = cv2.resize(averages, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
            changed.append((slice(y0, y1), slice(x0, x1)))
    return changed


def _span(start: float, length: float, side: int) -> tuple[int, int]:
    margin = _MARGIN * length
    return max(0, int((start - margin) * side)), min(side, int((start + length + margin) * side) + 1)
