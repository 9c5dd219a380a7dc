"""Frames under a pixel and token budget, by the rules of qwen-vl-utils."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from vidpipe.errors import MediaError
from vidpipe.vlm.model import Frame
from vidpipe.vlm.spread import spread

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Budget:
    """What the frames of one request may cost.

    min_pixels, max_pixels: of one frame
    max_tokens:             of all frames together
    factor:                 pixels along one side of a visual token: 28 for Qwen2-VL
    frames_a_token:         frames that one visual token spans: 2
    """

    min_pixels: int
    max_pixels: int
    max_tokens: int
    factor: int = 28
    frames_a_token: int = 2

    def size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """(height, width) that `frames` frames are shown in.

        As qwen-vl-utils' `fetch_video`: each frame has an even share of the total, at most `max_pixels`, at least a
        little over `min_pixels`. Raises MediaError for a picture that is 200 times longer than wide.
        """
        from qwen_vl_utils.vision_process import smart_resize

        share = self.max_tokens * self.factor**2 * self.frames_a_token / max(frames, self.frames_a_token)
        most = max(min(self.max_pixels, share), int(self.min_pixels * 1.05))
        try:
            resized = smart_resize(
                height, width, factor=self.factor, min_pixels=min(self.min_pixels, most), max_pixels=most
            )
        except ValueError as error:
            raise MediaError(f"Frames of {width}x{height} are too long or too wide for the model.") from error
        # its floor leaves nothing of the short side of a long picture under a small budget
        return max(resized[0], self.factor), max(resized[1], self.factor)

    def tokens(self, frames: int, height: int, width: int) -> int:
        """What `frames` frames cost when they are shown in height x width."""
        return math.ceil(frames / self.frames_a_token) * (height // self.factor) * (width // self.factor)


def to_video(frames: Sequence[Frame], budget: Budget) -> tuple[torch.Tensor, list[float]]:
    """(uint8 of shape (frames, 3, height, width), their times in seconds).

    Frames are left out, evenly, where even the smallest size costs more than the budget. Raises MediaError for a frame
    that is no picture.
    """
    import numpy as np
    import torch

    if not frames:
        raise MediaError("There are no frames to describe.")
    with _picture(frames[0]) as first:
        width, height = first.size
    chosen = list(frames)
    shown = budget.size(len(chosen), height, width)
    while len(chosen) > 1 and budget.tokens(len(chosen), *shown) > budget.max_tokens:
        chosen = spread(frames, len(chosen) - 1)
        shown = budget.size(len(chosen), height, width)
    pictures = np.empty((len(chosen), shown[0], shown[1], 3), dtype=np.uint8)
    for place, frame in zip(pictures, chosen, strict=True):
        with _picture(frame) as picture:
            place[:] = np.asarray(picture.convert("RGB").resize((shown[1], shown[0]), Image.Resampling.BICUBIC))
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), [frame.time_s for frame in chosen]


def _picture(frame: Frame) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(frame.jpeg), formats=["JPEG"])
        picture.load()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"The frame at {frame.time_s:.2f} s is no readable JPEG: {error}.") from error
    return picture
