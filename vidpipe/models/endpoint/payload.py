"""Frames and prompts as a server takes them: the frames first, the same bytes for every prompt about them.

A server that keeps the key-value cache of what it has read (vLLM, SGLang) then reads the frames of a request once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.settings.schema import QwenVL
from vidpipe.vlm.model import Frame, Request
from vidpipe.vlm.plain_text import without_control_tokens
from vidpipe.vlm.prompts import Prompt
from vidpipe.vlm.spread import spread

#: Frames a second on the time line that vLLM is told: times are exact to a hundredth of a second.
_TICKS = 100


@dataclass(frozen=True)
class Payload:
    """The frames of one request, encoded, and how a prompt about them is posted.

    opening: the parts that come before the text of every prompt
    extra:   what the server is told beside the message
    """

    settings: QwenVL
    opening: Sequence[Mapping[str, Any]]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, settings: QwenVL) -> Payload:
        """Reads the frames. Raises MediaError where there are none or they cannot be read."""
        frames = list(request.frames.load()) if request.frames else []
        if not frames:
            raise MediaError(f"Video {request.video[:12]} has no frames to describe.", "Run its stage scenes again.")
        frames = spread(frames, settings.max_frames or len(frames))
        if settings.api_style == "openai" and settings.video_format == "images":
            return cls(settings, _images(frames))
        video = {"type": "video_url", "video_url": {"url": _video_url(frames)}}
        times = {"type": "text", "text": f"Times of the pictures in seconds: {', '.join(map(_time, frames))}.\n"}
        return cls(settings, [video, times], {"media_io_kwargs": {"video": _timeline(frames)}})

    def body(self, prompt: Prompt, *, held_to_schema: bool) -> bytes:
        """The JSON to post for one prompt. held_to_schema: the server is to keep to the schema of its form."""
        text = without_control_tokens(prompt.text)
        if self.settings.api_style == "pai":
            video, times = self.opening
            return _json({"video_url": video["video_url"]["url"], "instruction": times["text"] + text})
        content = [*self.opening, {"type": "text", "text": text}]
        body: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": prompt.max_tokens,
            "temperature": 0,
            **self.extra,
        }
        if held_to_schema:
            schema = {"name": prompt.form.name, "schema": prompt.form.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return _json(body)


def _images(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Each picture after its time, as Qwen3-VL writes a video: with many, a list of times is hard to match to them."""
    parts: list[dict[str, Any]] = []
    for frame in frames:
        parts.append({"type": "text", "text": f"{_time(frame)} s:"})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(frame)}"}})
    return parts


def _video_url(frames: Sequence[Frame]) -> str:
    """vLLM's form of a video that is sampled already: its frames as JPEGs, with commas between them."""
    return f"data:video/jpeg;base64,{','.join(map(_base64, frames))}"


def _timeline(frames: Sequence[Frame]) -> dict[str, Any]:
    """What vLLM is told of such a video: to keep all of its frames, of which it otherwise takes the first 32, and when
    they are."""
    indices = [round(frame.time_s * _TICKS) for frame in frames]
    total = max(indices[-1] + 1, len(indices))
    return {
        "num_frames": -1, "fps": _TICKS, "frames_indices": indices,
        "total_num_frames": total, "duration": total / _TICKS,
    }  # fmt: skip


def _time(frame: Frame) -> str:
    return f"{frame.time_s:.2f}"


def _base64(frame: Frame) -> str:
    return base64.b64encode(frame.jpeg).decode("ascii")


def _json(body: Mapping[str, Any]) -> bytes:
    # lone surrogates, which no server reads, come from file names and broken subtitles
    return json.dumps(body, ensure_ascii=False, default=dict).encode("utf-8", "replace")
