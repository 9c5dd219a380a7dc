"""Fingerprints of videos that exist only as hashes."""

from __future__ import annotations

import numpy as np

from vidpipe.datasets.duplicates.prints import VideoPrint
from vidpipe.media.perceptual_hash import Hashes


def moving(seed: int, pictures: int = 40) -> Hashes:
    """Pictures that change a little from one to the next, and now and then completely."""
    random = np.random.default_rng(seed)
    looks = random.normal(size=(pictures // 10 + 1, 256))
    values = looks[np.arange(pictures) // 10] + 0.4 * random.normal(size=(pictures, 256))
    return np.packbits(values > 0, axis=1).view(np.uint64)


def noisy(hashes: Hashes, share: float = 0.08, seed: int = 0) -> Hashes:
    """The same pictures after an edit that changes this share of the bits."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1)
    return np.packbits(bits ^ (np.random.default_rng(seed).random(bits.shape) < share), axis=1).view(np.uint64)


def print_of(
    video: str, hashes: Hashes, *, flat: bool = False, audio: np.random.Generator | None = None, interval_s: float = 0.5
) -> VideoPrint:
    duration_s = len(hashes) * interval_s
    words = 0 if audio is None else int(duration_s / 0.128)
    heard = np.zeros(0, np.uint16) if audio is None else audio.integers(1, 1 << 16, words).astype(np.uint16)
    return VideoPrint(video, duration_s, interval_s, hashes, np.full(len(hashes), flat), heard)
