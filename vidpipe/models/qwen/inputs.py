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
import itertools
from dataclasses import dataclass, replace
from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.model import Request
from vidpipe.vlm.plain_text import without_control_tokens
from vidpipe.vlm.prompts import Prompt
from vidpipe.vlm.qwen.loading import Engine

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


# DOC """What the model computes on for one request: what its prompts begin with, frames first, and the rest of each."""
# 


_END_OF_FRAMES = "<|vision_end|>"


@dataclass(frozen=True)
class Prepared:
    """One request, ready to be computed.

    prefix:      token ids that all prompts begin with: the frames, and the text that is the same; shape (length,)
    prefix_types: 0 for text, 1 image, 2 video; shape (length,)
    seen:        pixels and their grid, as the processor names them; rows of several requests are concatenated
    questions:   the token ids that follow, one list of at least one token a prompt of the request
    """

    request: Request
    prefix: torch.Tensor
    prefix_types: torch.Tensor
    seen: dict[str, torch.Tensor]
    questions: tuple[list[int], ...]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        return self.request.prompts

    @property
    def longest(self) -> tuple[int, int, int]:
        """Tokens of the prefix, of the longest question and of the longest answer: what rows are padded to."""
        questions = max(len(question) for question in self.questions)
        return len(self.prefix), questions, max(prompt.max_tokens for prompt in self.prompts)

    @property
    def length(self) -> int:
        """Tokens of one row, padding and answer included."""
        return sum(self.longest)

    def part(self, start: int, end: int) -> Prepared:
        """The same beginning with some of the prompts."""
        request = replace(self.request, prompts=self.prompts[start:end])
        return replace(self, request=request, questions=self.questions[start:end])


def budget_of(engine: Engine, settings: QwenVL) -> Budget:
    """The budget in force: the settings', or where they are silent the checkpoint's own."""
    processor = engine.processor.video_processor
    factor = processor.patch_size * processor.merge_size
    most = settings.max_pixels or int(processor.size["longest_edge"])
    least = min(settings.min_pixels or int(processor.size["shortest_edge"]), most)
    least = min(least, settings.max_video_tokens * factor**2 // 2)
    return Budget(least, most, settings.max_video_tokens, factor, processor.temporal_patch_size)


def prepare(engine: Engine, request: Request, budget: Budget) -> Prepared:
    """Reads the frames of `request` and makes tokens of them and of its prompts. Raises MediaError."""
    import torch

    if request.frames is None:
        raise MediaError(f"Video {request.video[:12]} has no frames to describe.", "Run the stage frames for it again.")
    video, times_s = to_video(request.frames.load(), budget)
    with engine.preparing:
        texts = [_chat(engine, prompt.text) for prompt in request.prompts]
        opening = texts[0][: texts[0].index(_END_OF_FRAMES) + len(_END_OF_FRAMES)]
        rate = _frames_a_second(times_s)
        seen = engine.processor(
            text=[opening],
            videos=[video],
            videos_kwargs={
                "do_resize": False,
                "do_sample_frames": False,
                "cap_pixels_per_frame": False,
                "video_metadata": [
                    {
                        "total_num_frames": max(round(times_s[-1] * rate), len(times_s) - 1) + 1,
                        "fps": rate,
                        "frames_indices": [round(time_s * rate) for time_s in times_s],
                    }
                ],
            },
            return_tensors="pt",
        )
        tokenizer = engine.processor.tokenizer
        # a control token ends the opening, so that tokens of the parts are those of the whole
        texts_ids = [tokenizer(text[len(opening) :], add_special_tokens=False)["input_ids"] for text in texts]
    shared = shared_tokens(texts_ids)
    frames, types = seen.pop("input_ids")[0], seen.pop("mm_token_type_ids")[0]
    seen.pop("attention_mask", None)
    same = frames.new_tensor(texts_ids[0][:shared])
    return Prepared(
        request,
        torch.cat([frames, same]),
        torch.cat([types, torch.zeros_like(same)]),
        {key: torch.as_tensor(value) for key, value in seen.items()},
        tuple(ids[shared:] for ids in texts_ids),
    )


def shared_tokens(texts_ids: Sequence[list[int]]) -> int:
    """How many tokens all begin with alike; each keeps at least one of its own, from which its answer goes on."""
    alike = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*texts_ids, strict=False))
    return min(sum(1 for _ in alike), min(len(ids) for ids in texts_ids) - 1)


def _chat(engine: Engine, text: str) -> str:
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": without_control_tokens(text)}]}
    chat: str = engine.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    return chat


def _frames_a_second(times_s: Sequence[float]) -> float:
    """The mean rate of the frames, by which models that know of time place them."""
    span_s = times_s[-1] - times_s[0]
    return (len(times_s) - 1) / span_s if span_s > 0 else 1.0
