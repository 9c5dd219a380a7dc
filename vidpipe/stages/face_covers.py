"""Finds the faces of a whole video, and makes a video with transparency that covers them when it is laid over it."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise, product
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vidpipe.errors import MediaError
from vidpipe.media.decode import Decoded, DecodePass
from vidpipe.media.decode_plan import DecodePlan, Size, even_side
from vidpipe.media.face_blur import blur
from vidpipe.media.facts import Box
from vidpipe.media.frame_pack import decode_jpeg
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.contract import Item, StageContext
from vidpipe.stages.face_blurring import faces_in
from vidpipe.stages.video_decode import decode_within_limits, plan_for

#: Incremented whenever the same faces are covered in another way.
COVERS = "vidpipe-covers/1"
Picture = NDArray[np.uint8]
#: Faces are searched in frames this far apart, in pictures whose longer side has so many pixels.
_RATE, _LONG_SIDE = 5, 960
_SMALL = (16, 16)
#: A face is covered from so many searched frames before it was found to as many after: detectors miss some.
_NEIGHBORS = 2
#: In widths or heights: faces in neighboring frames that are nearer are one that moves.
_SAME_FACE = 2.0
_TIME_LIMIT_S, _SLOWER = 600.0, 60.0


class _Searched(NamedTuple):
    """A searched frame: number of its cover, its JPEG, and the boxes of its faces."""

    number: int
    jpeg: bytes
    boxes: list[Box]


def cover_faces(item: Item, context: StageContext, model: WorkerModel, path: Path) -> dict[str, int]:
    """Write the video that covers the faces of `item` to `path`.

    Returns:
        In how many frames faces were `searched`, and how many of these were `with_faces`.

    Raises:
        StageError: The video cannot be decoded.
        MediaError: The detector or ffmpeg fails.
        OutOfReach: The detector cannot be loaded.
        Cancelled: The work was stopped.
    """
    width, height = item["metadata.width"], item["metadata.height"]
    shrink = max(1.0, max(width, height) / _LONG_SIDE)
    size = even_side(width / shrink), even_side(height / shrink)
    whole = replace(plan_for(item, context.settings), audio_stream=None, dense_from_s=None)
    plan = replace(whole, detection=_SMALL, candidate=size, candidate_interval_s=1 / _RATE)
    found = Counter[str]()

    def decode(source: Path, plan: DecodePlan, limit_s: float) -> Decoded:
        found.clear()
        with DecodePass(source, plan, time_limit_s=limit_s, cancelled=context.cancelled) as running:
            _write(path, size, _covers(_searched(running, context, model, found), size))
            return Decoded(found["searched"], 0, running.finish())

    decode_within_limits(item, context, plan, decode, max(_TIME_LIMIT_S, _SLOWER * (item["metadata.duration_s"] or 0)))
    return dict(found)


def _searched(
    running: DecodePass, context: StageContext, model: WorkerModel, found: Counter[str]
) -> Iterator[_Searched]:
    first_us: int | None = None
    for frame in chain(running.frames(), [None]):
        if frame is None:
            running.finish()
        while running.candidates:
            time_us, jpeg, _ = running.candidates.popleft()
            first_us = time_us if first_us is None else first_us
            boxes = [box for _, _, box in chain(*faces_in(jpeg, model, context))]
            found.update(searched=1, with_faces=bool(boxes))
            yield _Searched((time_us - first_us + 500) * _RATE // 1_000_000, jpeg, boxes)


def _covers(searched: Iterator[_Searched], size: Size) -> Iterator[Picture]:
    """Yield the covers at `_RATE`, in BGRA."""
    nothing: list[_Searched | None] = [None] * _NEIGHBORS
    window = deque(nothing, 2 * _NEIGHBORS + 1)
    for frame in chain(searched, nothing):
        window.append(frame)
        if len(window) < 2 * _NEIGHBORS + 1 or (middle := window[_NEIGHBORS]) is None:
            continue
        groups = [one.boxes for one in window if one]
        boxes = [box for group in groups for box in group]
        boxes += [_hull(*pair) for two in pairwise(groups) for pair in product(*two) if _near(*pair)]
        cover = np.zeros((size[1], size[0], 4), np.uint8)
        if boxes:
            picture = decode_jpeg(middle.jpeg)
            for place in blur(picture, boxes):
                cover[place] = np.dstack([picture[place], np.full(picture[place].shape[:2], 255, np.uint8)])
        after = window[_NEIGHBORS + 1]
        for _ in range(after.number - middle.number if after else 1):
            yield cover


def _near(one: Box, other: Box) -> bool:
    middles = zip(one[:2], one[2:], other[:2], other[2:], strict=True)
    return all(
        abs(a + a_side / 2 - b - b_side / 2) < _SAME_FACE * max(a_side, b_side) for a, a_side, b, b_side in middles
    )


def _hull(one: Box, other: Box) -> Box:
    left, top = min(one[0], other[0]), min(one[1], other[1])
    right, bottom = (max(one[at] + one[at + 2], other[at] + other[at + 2]) for at in (0, 1))
    return (left, top, right - left, bottom - top)


def _write(path: Path, size: Size, covers: Iterator[Picture]) -> None:
    try:
        with av.open(str(path), "w", format="matroska") as made:
            stream = made.add_stream("ffv1", rate=_RATE, width=size[0], height=size[1], pix_fmt="bgra")
            for cover in covers:
                made.mux(stream.encode(av.VideoFrame.from_ndarray(cover, format="bgra")))
            made.mux(stream.encode())
    except av.FFmpegError as error:
        raise MediaError(f"The cover of the faces could not be written: {error}.", "The disk may be full.") from error
