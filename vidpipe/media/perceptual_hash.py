"""Perceptual hashes of pictures and sound: bits that survive scaling, encoding again and light edits.

A picture's hash has the signs of its 256 lowest frequencies (discrete cosine transform, after pHash and PDQ), lowest
first. Signs do not depend on brightness and contrast, and mirroring inverts those of odd horizontal frequencies. The
bits of sound say whether the difference of neighboring frequency bands rises or falls (Haitsma and Kalker, 2002).
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vidpipe.media.decode import SmallFrame
from vidpipe.media.decode_plan import AUDIO_RATE_HZ
from vidpipe.media.facts import ActiveArea, Scene
from vidpipe.media.packet_times import TOLERANCE_US
from vidpipe.media.sound import KeptSound, sound_folder
from vidpipe.settings import Settings

#: Interval of the pictures that are hashed: in short videos, and in others. In very long ones it is doubled.
_SHORT_INTERVAL_S, _INTERVAL_S = 0.125, 0.5
_SHORT_S, _MAX_PICTURES = 16.0, 1 << 14
#: Interval of the bits of sound.
SOUND_INTERVAL_S = 0.128
Hashes = NDArray[np.uint64]

_SIDE, _FREQUENCIES = 64, 16
_angles = (2 * np.arange(_SIDE) + 1) * np.arange(_FREQUENCIES)[:, None] * np.pi / (2 * _SIDE)
_DCT = (np.sqrt(2 / _SIDE) * np.cos(_angles)).astype(np.float32)
_down, _across = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
_ORDER = np.argsort(_down**2 + _across**2, kind="stable")
#: The bits that mirroring left to right inverts.
MIRROR = np.packbits(_across[_ORDER] % 2).view(np.uint64)
#: A frequency is visible from this amplitude; a picture with fewer visible ones is flat: black, blank, bars.
_VISIBLE, _MIN_VISIBLE = 12.0, 40
_PICTURES_AT_ONCE = 256
_RECORD = np.dtype([("time_us", "<i8"), ("luma", "u1", (_SIDE, _SIDE))])
#: Later pictures, in broken or hostile files, are not kept: two days.
_MAX_TIME_US = 48 * 3600 * 1_000_000
_KEPT = "pictures"

_WINDOW, _HOP = 8192, round(SOUND_INTERVAL_S * AUDIO_RATE_HZ)
_HOPS_AT_ONCE = 512
_BANDS = np.geomspace(250, 4000, 18) * _WINDOW / AUDIO_RATE_HZ
#: Mean square of 16-bit samples below which sound is silence: -60 dBFS.
_SILENCE = (32768 * 10 ** (-60 / 20)) ** 2


class PictureSampler:
    """Keeps small pictures in a file: one per interval of short videos at the beginning, then fewer.

    Args:
        path: The file.

    Attributes:
        first_us: Time of the first frame as ffmpeg reports it, in microseconds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = self._slot = -1
        self.first_us = 0

    def add(self, frame: SmallFrame) -> None:
        """Add the next frame. A decode that is repeated begins again."""
        if self._slot < 0 or frame.number <= self._number:
            self.first_us, self._slot = frame.time_us, -1
            self._path.unlink(missing_ok=True)
        self._number, time_us = frame.number, frame.time_us - self.first_us
        slot = int((time_us + TOLERANCE_US) / 1e6 / _SHORT_INTERVAL_S)
        if time_us > _SHORT_S * 1e6:
            slot -= slot % round(_INTERVAL_S / _SHORT_INTERVAL_S)
        if slot > self._slot and time_us < _MAX_TIME_US:
            self._slot = slot
            luma = cv2.resize(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
            with self._path.open("ab") as file:
                file.write(np.array([(time_us, luma)], _RECORD).tobytes())


def keep_pictures(settings: Settings, sha256: str, file: Path) -> None:
    """Keep the file of a `PictureSampler`, which is moved, beside the sound."""
    folder = sound_folder(settings, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    file.rename(folder / _KEPT)


def has_pictures(settings: Settings, sha256: str) -> bool:
    """Return whether pictures are kept of a video."""
    return (sound_folder(settings, sha256) / _KEPT).exists()


def take_pictures(settings: Settings, sha256: str) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the times in microseconds and the pictures that are kept of a video, and delete the file."""
    file = sound_folder(settings, sha256) / _KEPT
    records = np.fromfile(file, _RECORD)
    file.unlink()
    return records["time_us"], records["luma"]


def within(pictures: NDArray[np.uint8], area: ActiveArea, width: int, height: int) -> NDArray[np.uint8]:
    """Return pictures of an area of the displayed picture, scaled to the whole size."""
    x, y = _SIDE / width, _SIDE / height
    columns = slice(round(area.x * x), max(round(area.x * x) + 2, round((area.x + area.width) * x)))
    rows = slice(round(area.y * y), max(round(area.y * y) + 2, round((area.y + area.height) * y)))
    scaled = [cv2.resize(one[rows, columns], (_SIDE, _SIDE)) for one in pictures]
    return np.array(scaled, np.uint8).reshape(-1, _SIDE, _SIDE)


def picture_hashes(pictures: NDArray[np.uint8]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return the hashes, shape (count, 4), and which pictures are flat.

    Args:
        pictures: Luma, shape (count, 64, 64).
    """
    bits, visible = [], []
    for first in range(0, len(pictures), _PICTURES_AT_ONCE):
        some = pictures[first : first + _PICTURES_AT_ONCE].astype(np.float32)
        found = (_DCT @ some @ _DCT.T).reshape(len(some), -1)[:, _ORDER]
        found[:, 0] = 0
        bits.append(np.packbits(found > 0, axis=1))
        visible.append(np.count_nonzero(np.abs(found) > _VISIBLE, axis=1))
    return np.ascontiguousarray(np.concatenate(bits)).view(np.uint64), np.concatenate(visible) < _MIN_VISIBLE


def mirrored(hashes: Hashes) -> Hashes:
    """Return the hashes of the same pictures, mirrored left to right."""
    return hashes ^ MIRROR


def distances(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """Return the numbers of different bits, 0 to 256, of hashes in the last axis."""
    different: NDArray[np.int64] = np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)
    return different


def sound_bits(sound: KeptSound) -> NDArray[np.uint16]:
    """Return 16 bits per `SOUND_INTERVAL_S` of sound; 0 for silence."""
    edges = np.round(_BANDS).astype(int)
    found, total = [np.zeros(0, np.uint16)], max(0, (sound.samples - _WINDOW) // _HOP)
    for first in range(0, total, _HOPS_AT_ONCE):
        count = min(_HOPS_AT_ONCE, total - first)
        samples = np.frombuffer(sound.read(first * _HOP, count * _HOP + _WINDOW), "<i2").astype(np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
        power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
        bands = np.log(np.add.reduceat(power, edges, axis=1)[:, :-1] + 1)
        rising = np.diff(np.diff(bands, axis=1), axis=0) > 0
        words = np.packbits(rising, axis=1).view(np.uint16)[:, 0]
        found.append(np.where((frames**2).mean(axis=1)[1:] < _SILENCE, 0, words).astype(np.uint16))
    return np.concatenate(found)


def packed_bits(values: NDArray[Any]) -> str:
    """Return an array's bytes in Base64."""
    return base64.b64encode(values.tobytes()).decode()


def unpacked(text: str, kind: type[np.generic]) -> NDArray[Any]:
    """Return the array of `packed_bits`."""
    return np.frombuffer(base64.b64decode(text), kind)


def video_hashes(
    times_us: NDArray[np.int64],
    pictures: NDArray[np.uint8],
    scenes: Sequence[Scene],
    size: tuple[int, int],
    duration_s: float,
) -> tuple[float, Hashes, NDArray[np.bool_], Hashes]:
    """Return the interval of a video's hashes in seconds, the hashes inside black bars, flat ones, and whole ones.

    The last are of the whole pictures, if scenes have black bars: a caption in a bar makes it one no longer.

    Args:
        times_us: Times of the sampled pictures, from the first.
        pictures: The sampled pictures.
        scenes: The scenes of the video.
        size: Displayed width and height, in pixels.
        duration_s: Duration of the video.
    """
    interval_s = _SHORT_INTERVAL_S if duration_s <= _SHORT_S else _INTERVAL_S
    while duration_s / interval_s > _MAX_PICTURES:
        interval_s *= 2
    times = np.arange(max(1, int(min(duration_s, times_us[-1] / 1e6 + interval_s) / interval_s)))
    slots = ((times_us + TOLERANCE_US) / 1e6 / interval_s).astype(np.int64)
    shown = np.maximum(0, np.searchsorted(slots, times, side="right") - 1)
    inside = pictures.copy()
    scene_of = np.searchsorted([scene.start_s for scene in scenes], times_us / 1e6 + 1e-3) - 1
    for index, scene in enumerate(scenes):
        if scene.active_area:
            inside[scene_of == index] = within(pictures[scene_of == index], scene.active_area, *size)
    hashes, flat = picture_hashes(inside)
    whole = picture_hashes(pictures)[0] if any(scene.active_area for scene in scenes) else hashes[:0]
    return interval_s, hashes[shown], flat[shown], whole[shown] if len(whole) else whole
