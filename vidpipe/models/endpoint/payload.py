"""Frames and prompts as a server takes them: the frames first, the same bytes for every prompt about them.

A server that caches the keys and values of what it has read (vLLM, SGLang) then reads the frames of a request once.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.models.describing_model import Frame, ModelRequest
from vidpipe.models.prompts import Prompt
from vidpipe.models.sampling import sample_evenly
from vidpipe.models.sanitize import without_control_tokens
from vidpipe.settings.schema import QwenVL

#: Time base of the frame times sent to vLLM, in frames per second: exact to a hundredth of a second.
_TICKS_PER_S = 100


@dataclass(frozen=True)
class FramesPayload:
    """The encoded frames of one request, and the parameters of a prompt about them.

    Attributes:
        settings: The section [QwenVL].
        opening: Message parts before the text of every prompt.
        extra: Parameters besides the message.
    """

    settings: QwenVL
    opening: Sequence[dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: ModelRequest, settings: QwenVL) -> FramesPayload:
        """Read and encode the frames. Raises MediaError if there are none or they cannot be read."""
        frames = list(request.frames.load()) if request.frames else []
        if not frames:
            raise MediaError(f"Video {request.video[:12]} has no frames to describe.", "Run its stage scenes again.")
        frames = sample_evenly(frames, settings.max_frames or len(frames))
        if settings.api_style == "openai" and settings.video_format == "images":
            return cls(settings, _images(frames))
        video = {"type": "video_url", "video_url": {"url": _video_url(frames)}}
        times = {"type": "text", "text": f"Times of the pictures in seconds: {', '.join(map(_time, frames))}.\n"}
        return cls(settings, [video, times], {"media_io_kwargs": {"video": _timeline(frames)}})

    def chat_parameters(self, prompt: Prompt, *, structured: bool) -> dict[str, Any]:
        """Return the arguments of `chat.completions.create`.

        Args:
            prompt: What is asked.
            structured: Whether the server is to enforce the JSON schema of the answer.
        """
        parameters: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": [*self.opening, {"type": "text", "text": _text(prompt)}]}],
            "max_tokens": prompt.max_tokens,
            "temperature": 0,
            "extra_body": self.extra,
        }
        if structured:
            schema = {"name": prompt.form.name, "schema": prompt.form.schema, "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        return parameters

    def pai_body(self, prompt: Prompt) -> dict[str, str]:
        """Return the JSON body of a PAI-EAS request."""
        video, times = self.opening
        return {"video_url": video["video_url"]["url"], "instruction": times["text"] + _text(prompt)}


def _text(prompt: Prompt) -> str:
    # file names and broken subtitles contain lone surrogates, which JSON cannot be encoded with
    return without_control_tokens(prompt.text).encode("utf-8", "replace").decode()


def _images(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Return each picture after its time, as Qwen3-VL formats videos: a separate list of times is hard to match."""
    parts: list[dict[str, Any]] = []
    for frame in frames:
        parts.append({"type": "text", "text": f"{_time(frame)} s:"})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(frame)}"}})
    return parts


def _video_url(frames: Sequence[Frame]) -> str:
    """Return a video that is already sampled in vLLM's format: its frames as JPEGs, separated by commas."""
    return f"data:video/jpeg;base64,{','.join(map(_base64, frames))}"


def _timeline(frames: Sequence[Frame]) -> dict[str, Any]:
    """Return the frame times for vLLM, and that it is to keep all frames instead of the first 32."""
    indices = [round(frame.time_s * _TICKS_PER_S) for frame in frames]
    total = max(indices[-1] + 1, len(indices))
    return {
        "num_frames": -1,
        "fps": _TICKS_PER_S,
        "frames_indices": indices,
        "total_num_frames": total,
        "duration": total / _TICKS_PER_S,
    }


def _time(frame: Frame) -> str:
    return f"{frame.time_s:.2f}"


def _base64(frame: Frame) -> str:
    return base64.b64encode(frame.jpeg).decode("ascii")
