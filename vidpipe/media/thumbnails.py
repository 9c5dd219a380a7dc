"""JPEGs in another size: thumbnails, and the frames of scenes without a candidate."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.errors import MediaError

_QUALITY = 85


def resized_jpeg(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """A JPEG scaled to `size` (width, height). Raises MediaError where it cannot be read."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise MediaError("A frame that ffmpeg wrote cannot be read as a JPEG.", "Run the scenes stage again.")
    return _encoded(picture, size)


def small_frame_jpeg(bgr: NDArray[np.uint8], size: tuple[int, int]) -> bytes:
    """A small frame of the decode pass (uint8, shape (height, width, 3)) as a JPEG of `size` (width, height)."""
    return _encoded(bgr, size)


def clarity(jpeg: bytes) -> float:
    """How much a JPEG shows: 0 where it is black, white or unreadable, less than it could where it is faded or blurred.

    The geometric mean of the luma's standard deviation and of its Laplacian's, 0 to about 255, at half the size.
    """
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
    if picture is None:
        return 0.0
    contrast, sharpness = (cv2.meanStdDev(plane)[1][0, 0] for plane in (picture, cv2.Laplacian(picture, cv2.CV_16S)))
    return math.sqrt(contrast * sharpness)


def _encoded(picture: cv2.typing.MatLike, size: tuple[int, int]) -> bytes:
    if (picture.shape[1], picture.shape[0]) != size:
        shrinks = picture.shape[1] > size[0]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise MediaError(f"A frame of {size[0]}x{size[1]} could not be written as a JPEG.")
    return data.tobytes()
