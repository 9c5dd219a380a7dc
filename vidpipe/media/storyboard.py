"""Storyboards: small pictures of a video in one JPEG, with a WebVTT file that says which one shows which second.

They are made from a frame pack, without decoding the video again, and stored in its folder, with which they are
deleted.
"""

import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidpipe.media.decode_plan import Size, even_side
from vidpipe.media.facts import PackedFrame
from vidpipe.media.frame_pack import FramePack, decode_jpeg, encode_jpeg
from vidpipe.safe_files import replace_file
from vidpipe.text.webvtt import timestamp

_NAME = "storyboard.jpg"
_TILE, _COLUMNS, _MOST_TILES = (160, 284), 10, 100
#: Each storyboard is made by one thread at a time.
_LOCKS = tuple(threading.Lock() for _ in range(4))


@dataclass(frozen=True)
class Storyboard:
    """The layout of a storyboard, row by row.

    Attributes:
        frames: The frames that it shows.
        tile: Width and height of each, in pixels.
        columns: Tiles in a row.
    """

    frames: Sequence[PackedFrame]
    tile: Size
    columns: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return -(-len(self.frames) // self.columns)

    def place(self, number: int) -> tuple[int, int]:
        """Return the left and top edges of a tile, in pixels."""
        row, column = divmod(number, self.columns)
        return column * self.tile[0], row * self.tile[1]

    def webvtt(self, duration_s: float) -> str:
        """Return which part of storyboard.jpg shows which time of a video that is `duration_s` long."""
        starts = [0.0, *(frame.time_s for frame in self.frames[1:])]
        ends = [*starts[1:], max(duration_s, starts[-1] + 0.1)]
        cues = ["WEBVTT\n"]
        for number, (start_s, end_s) in enumerate(zip(starts, ends, strict=True)):
            where = ",".join(map(str, (*self.place(number), *self.tile)))
            cues.append(f"{timestamp(start_s)} --> {timestamp(end_s)}\n{_NAME}#xywh={where}\n")
        return "\n".join(cues)


def layout(pack: FramePack, width: int, height: int) -> Storyboard:
    """Return the storyboard of a frame pack.

    Args:
        pack: The pack; it holds at least one frame.
        width: Width of the video as displayed, in pixels.
        height: Its height.
    """
    count = min(len(pack.frames), _MOST_TILES)
    frames = [pack.frames[number * len(pack.frames) // count] for number in range(count)]
    shrink = max(width / _TILE[0], height / _TILE[1])
    return Storyboard(frames, (even_side(width / shrink), even_side(height / shrink)), min(_COLUMNS, count))


def sprite(pack: FramePack, storyboard: Storyboard) -> Path:
    """Return the path of the JPEG, which is made by the first call.

    Raises:
        MediaError: A frame of the pack is damaged.
        OSError: The pack was deleted meanwhile, or the JPEG cannot be written.
    """
    path = pack.folder / _NAME
    with _LOCKS[zlib.crc32(bytes(path)) % len(_LOCKS)]:
        if not path.is_file():
            replace_file(path, _drawn(pack, storyboard))
    return path


def _drawn(pack: FramePack, storyboard: Storyboard) -> bytes:
    import cv2  # takes a second to import
    import numpy as np

    width, height = storyboard.tile
    canvas = np.zeros((storyboard.rows * height, storyboard.columns * width, 3), np.uint8)
    shown = set(storyboard.frames)
    for number, (frame, jpeg) in enumerate(one for one in pack if one[0] in shown):
        picture = decode_jpeg(jpeg, halved=min(frame.width / width, frame.height / height) >= 2)
        left, top = storyboard.place(number)
        canvas[top : top + height, left : left + width] = cv2.resize(
            picture, (width, height), None, 0, 0, cv2.INTER_AREA
        )
    return encode_jpeg(canvas, (canvas.shape[1], canvas.shape[0]))
