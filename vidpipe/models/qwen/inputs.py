"""The model's input for one request: frames within a budget, and the tokens of its prompts."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from vidpipe.errors import MediaError
from vidpipe.models.describing_model import Frame, ModelRequest
from vidpipe.models.prompts import Prompt, sample_evenly
from vidpipe.models.qwen.loading import LoadedModel
from vidpipe.settings.schema import QwenVL
from vidpipe.text.messages import without_control_tokens

if TYPE_CHECKING:
    import torch


_END_OF_FRAMES = "<|vision_end|>"


@dataclass(frozen=True)
class FrameBudget:
    """Limits for the frames of one request, by the rules of qwen-vl-utils.

    Attributes:
        min_pixels: Minimum pixels of one frame.
        max_pixels: Maximum pixels of one frame.
        max_tokens: Maximum visual tokens of all frames together.
        factor: Pixels along one side of a visual token: 28 for Qwen2-VL.
        frames_per_token: Frames in one visual token: 2.
    """

    min_pixels: int
    max_pixels: int
    max_tokens: int
    factor: int = 28
    frames_per_token: int = 2

    def size(self, frames: int, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) to which `frames` frames are resized.

        As in qwen-vl-utils' `fetch_video`, each frame has an equal share of the total, at most `max_pixels` and at
        least slightly more than `min_pixels`.

        Raises:
            MediaError: One side of the frames is 200 times longer than the other.
        """
        from qwen_vl_utils.vision_process import smart_resize

        share = self.max_tokens * self.factor**2 * self.frames_per_token / max(frames, self.frames_per_token)
        most = max(min(self.max_pixels, share), int(self.min_pixels * 1.05))
        try:
            resized = smart_resize(
                height, width, factor=self.factor, min_pixels=min(self.min_pixels, most), max_pixels=most
            )
        except ValueError as error:
            raise MediaError(f"Frames of {width}x{height} are too long or too wide for the model.") from error
        # rounding down leaves nothing of the short side of a long picture with a small budget
        return max(resized[0], self.factor), max(resized[1], self.factor)

    def tokens(self, frames: int, height: int, width: int) -> int:
        """Return the visual tokens of `frames` frames of size height x width."""
        return math.ceil(frames / self.frames_per_token) * (height // self.factor) * (width // self.factor)


def to_video(frames: Sequence[Frame], budget: FrameBudget) -> tuple[torch.Tensor, list[float]]:
    """Resize frames to a budget; if even the smallest size exceeds it, frames are dropped evenly.

    Returns:
        (uint8 of shape (frames, 3, height, width), their times in seconds).

    Raises:
        MediaError: A frame cannot be decoded.
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
        chosen = sample_evenly(frames, len(chosen) - 1)
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
        raise MediaError(f"The frame at {frame.time_s:.2f} s is not a readable JPEG: {error}.") from error
    return picture


@dataclass(frozen=True)
class PreparedRequest:
    """One request, ready to be computed.

    Attributes:
        request: The request.
        prefix: Token ids with which all prompts begin (the frames and common text), of shape (length,).
        prefix_types: 0 for text, 1 for images, 2 for videos, of shape (length,).
        seen: Pixels and their grid, named as by the processor; rows of several requests can be concatenated.
        questions: The token ids that follow, one list of at least one token per prompt.
    """

    request: ModelRequest
    prefix: torch.Tensor
    prefix_types: torch.Tensor
    seen: dict[str, torch.Tensor]
    questions: tuple[list[int], ...]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts of the request."""
        return self.request.prompts

    @property
    def longest(self) -> tuple[int, int, int]:
        """Tokens of the prefix, the longest question and the longest answer, to which rows are padded."""
        questions = max(len(question) for question in self.questions)
        return len(self.prefix), questions, max(prompt.max_tokens for prompt in self.prompts)

    @property
    def length(self) -> int:
        """Tokens of one row, including padding and answer."""
        return sum(self.longest)

    def part(self, start: int, end: int) -> PreparedRequest:
        """Return the same prefix with some of the prompts."""
        request = replace(self.request, prompts=self.prompts[start:end])
        return replace(self, request=request, questions=self.questions[start:end])


def frame_budget(engine: LoadedModel, settings: QwenVL) -> FrameBudget:
    """Return the budget of the settings, or of the checkpoint where they set none."""
    processor = engine.processor.video_processor
    factor = processor.patch_size * processor.merge_size
    most = settings.max_pixels or int(processor.size["longest_edge"])
    least = min(settings.min_pixels or int(processor.size["shortest_edge"]), most)
    least = min(least, settings.max_video_tokens * factor**2 // 2)
    return FrameBudget(least, most, settings.max_video_tokens, factor, processor.temporal_patch_size)


def prepare_request(engine: LoadedModel, request: ModelRequest, budget: FrameBudget) -> PreparedRequest:
    """Read the frames of `request`, and tokenize them and its prompts. Raises MediaError."""
    import torch

    if request.frames is None:
        raise MediaError(f"Video {request.video[:12]} has no frames to describe.", "Run its stage scenes again.")
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
        # the opening ends with a control token, so that the parts have the same tokens as the whole
        texts_ids = [tokenizer(text[len(opening) :], add_special_tokens=False)["input_ids"] for text in texts]
    shared = shared_tokens(texts_ids)
    frames, types = seen.pop("input_ids")[0], seen.pop("mm_token_type_ids")[0]
    seen.pop("attention_mask", None)
    same = frames.new_tensor(texts_ids[0][:shared])
    return PreparedRequest(
        request,
        torch.cat([frames, same]),
        torch.cat([types, torch.zeros_like(same)]),
        {key: torch.as_tensor(value) for key, value in seen.items()},
        tuple(ids[shared:] for ids in texts_ids),
    )


def shared_tokens(texts_ids: Sequence[list[int]]) -> int:
    """Return the length of the common beginning; at least one token of each text remains to continue from."""
    alike = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*texts_ids, strict=False))
    return min(sum(1 for _ in alike), min(len(ids) for ids in texts_ids) - 1)


def _chat(engine: LoadedModel, text: str) -> str:
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": without_control_tokens(text)}]}
    chat: str = engine.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    return chat


def _frames_a_second(times_s: Sequence[float]) -> float:
    """Return the mean frame rate, which tells time-aware models the times of the frames."""
    span_s = times_s[-1] - times_s[0]
    return (len(times_s) - 1) / span_s if span_s > 0 else 1.0
