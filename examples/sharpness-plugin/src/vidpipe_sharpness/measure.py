"""Sharpness of a picture: variance of the Laplacian (Pech-Pacheco et al., 2000), normalized by the contrast."""

import cv2
import numpy as np

from vidpipe.errors import MediaError

#: Longer side of the measured picture, in pixels, so that videos of different sizes can be compared.
_SIDE = 320
#: Variance below which a picture is uniform and has no sharpness.
_UNIFORM = 4.0


def sharpness(jpeg: bytes) -> float:
    """Return the sharpness of a picture, 0 to 1.

    The ratio r of the variances of the Laplacian and of the picture is 0 for a uniform picture, 0.04 to 1.5 for real
    ones and 20 for noise; the sharpness is r / (1 + r).

    Raises:
        MediaError: The JPEG cannot be decoded.
    """
    gray = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    if gray is None:
        raise MediaError("A packed frame is not a readable JPEG.", "Run the scenes stage again.")
    shrink = _SIDE / max(gray.shape)
    if shrink < 1:
        gray = cv2.resize(gray, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    variance = float(gray.var())
    if variance < _UNIFORM:
        return 0.0
    ratio = float(cv2.Laplacian(gray, cv2.CV_64F).var()) / variance
    return ratio / (1 + ratio)
