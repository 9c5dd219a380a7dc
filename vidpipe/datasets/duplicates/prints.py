"""The fingerprint of a video, as the index compares it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidpipe.media.perceptual_hash import Hashes, mirrored, unpacked


@dataclass(frozen=True, slots=True, eq=False)
class VideoPrint:
    """The fingerprint of a video.

    Attributes:
        video: Its sha256.
        duration_s: Its duration.
        interval_s: Interval between two hashes; the first is of the first frame.
        hashes: The hashes of its pictures, shape (count, 4).
        flat: Which pictures are flat and match nothing.
        audio: The bits of its sound, one word per `SOUND_INTERVAL_S`; 0 for silence.
        whole: The hashes of the pictures with their black bars, if they have any.
    """

    video: str
    duration_s: float
    interval_s: float
    hashes: Hashes
    flat: NDArray[np.bool_]
    audio: NDArray[np.uint16]
    whole: Hashes | None = None

    @property
    def looks(self) -> "tuple[VideoPrint, ...]":
        """The video without and with its black bars."""
        return (self,) if self.whole is None else (self, replace(self, hashes=self.whole, whole=None))

    def mirrored(self) -> "VideoPrint":
        """Return the same video, mirrored left to right."""
        return replace(self, hashes=mirrored(self.hashes), whole=None if self.whole is None else mirrored(self.whole))


def stored_print(row: Mapping[str, Any]) -> VideoPrint | None:
    """Return the fingerprint of a video's document (`_id` and `fingerprint`); None if it has none."""
    stored = row.get("fingerprint")
    if not stored or not stored["hashes"]:
        return None
    hashes = unpacked(stored["hashes"], np.uint64).reshape(-1, 4)
    return VideoPrint(
        row["_id"],
        stored["duration_s"],
        stored["interval_s"],
        hashes,
        np.unpackbits(unpacked(stored["flat"], np.uint8), count=len(hashes)).astype(bool),
        unpacked(stored["sound"], np.uint16),
        unpacked(stored["whole"], np.uint64).reshape(-1, 4) if stored.get("whole") else None,
    )
