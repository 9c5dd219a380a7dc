"""A sharp picture is sharper than the same picture blurred, and a uniform one has no sharpness."""

import cv2
import numpy as np
from vidpipe_sharpness.measure import sharpness


def test_blurring_lowers_the_sharpness() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (90, 160), dtype=np.uint8)
    picture = cv2.resize(picture, (640, 360), interpolation=cv2.INTER_CUBIC)
    values = [
        sharpness(cv2.imencode(".jpg", shown)[1].tobytes())
        for shown in (picture, cv2.GaussianBlur(picture, (0, 0), 4), np.full_like(picture, 90))
    ]
    assert 1 > values[0] > 2 * values[1] > values[2] == 0
