"""What the model computes on for one request: the frames' tokens and pixels once, and each prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vidpipe.errors import MediaError
from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.model import Request
from vidpipe.vlm.prompts import Prompt
from vidpipe.vlm.qwen.frames import Budget, to_video
from vidpipe.vlm.qwen.loading import Engine

if TYPE_CHECKING:
    import torch

_END_OF_FRAMES = "<|vision_end|>"


@dataclass(frozen=True)
class Prepared:
    """One request, ready to be computed.

    prefix:      token ids up to and including the end of the frames, shape (length,)
    prefix_types: 0 for text, 1 image, 2 video; shape (length,)
    seen:        pixels and their grid, as the processor names them; rows of several requests are concatenated
    questions:   the token ids that follow, one list a prompt of the request
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
    def length(self) -> int:
        """Tokens of the longest row, its answer included."""
        return int(self.prefix.shape[0]) + max(
            len(question) + prompt.max_tokens for question, prompt in zip(self.questions, self.prompts, strict=True)
        )

    def part(self, start: int, end: int) -> Prepared:
        """The same frames with some of the prompts."""
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
        questions = tuple(tokenizer(text[len(opening) :], add_special_tokens=False)["input_ids"] for text in texts)
    ids, types = seen.pop("input_ids")[0], seen.pop("mm_token_type_ids")[0]
    seen.pop("attention_mask", None)
    return Prepared(request, ids, types, {key: _tensor(value) for key, value in seen.items()}, questions)


def plain(text: str) -> str:
    """`text` without the model's control tokens: what a title or a subtitle says must not end the user's turn."""
    return text.replace("<|", "< |")


def _chat(engine: Engine, text: str) -> str:
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": plain(text)}]}
    chat: str = engine.processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    return chat


def _frames_a_second(times_s: Sequence[float]) -> float:
    """The mean rate of the frames, by which models that know of time place them."""
    span_s = times_s[-1] - times_s[0]
    return (len(times_s) - 1) / span_s if span_s > 0 else 1.0


def _tensor(value: Any) -> torch.Tensor:
    import torch

    return value if isinstance(value, torch.Tensor) else torch.tensor(value)
