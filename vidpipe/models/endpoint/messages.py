"""Requests as the server takes them, and its answers, which are not trusted.

The frames come first, the same bytes for every prompt about them: a server that caches the keys and values of what it
has read (vLLM, SGLang) then reads the frames of a request once.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.models.describing_model import Frame, ModelAnswer, ModelRequest
from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.models.endpoint.errors import EndpointError, clean
from vidpipe.models.prompts import Prompt, sample_evenly
from vidpipe.settings.schema import QwenVL
from vidpipe.text.messages import without_control_tokens

#: Time base of the frame times sent to vLLM, in frames per second: exact to a hundredth of a second.
_TICKS_PER_S = 100
#: Shorter keys ("EMPTY", "token") are words that may occur in a description.
_MIN_SECRET_LENGTH = 12
_MAX_TOKENS = 10**9


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
    def of(cls, request: ModelRequest, settings: QwenVL) -> "FramesPayload":
        """Read and encode the frames. Raises MediaError if there are none or they cannot be read."""
        frames = list(request.frames.load()) if request.frames else []
        if not frames:
            raise MediaError(f"Video {request.video[:12]} has no frames to describe.", "Run its stage scenes again.")
        frames = sample_evenly(frames, settings.max_frames or len(frames))
        if settings.api_style == "openai" and settings.video_format == "images":
            return cls(settings, _images(frames))
        # a video that is already sampled, in vLLM's format: its frames as JPEGs, separated by commas
        url = f"data:video/jpeg;base64,{','.join(map(_base64, frames))}"
        video = {"type": "video_url", "video_url": {"url": url}}
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


def parse_response(answer: Any, prompt: Prompt, server: ServerAddress, settings: QwenVL) -> ModelAnswer:
    """Return the answer to `prompt` in the JSON of a successful response. Raises EndpointError.

    Token counts are 0 if the server does not report them; tokens from its cache are not counted.
    """
    if not isinstance(answer, dict):
        raise _unexpected(server, "is not a JSON object")
    if settings.api_style == "pai":
        if not isinstance(answer.get("description"), str):
            raise _unexpected(server, "has no `description`")
        text = _clean(answer["description"], server)
    else:
        text = _content(answer, server)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
    read = max(0, _count(usage, "prompt_tokens") - cached)
    return ModelAnswer(prompt, text, _count(usage, "completion_tokens"), read)


def _content(answer: Mapping[str, Any], server: ServerAddress) -> str:
    """Return the text of the first choice.

    An answer cut at its token limit, or one that the model left empty, is returned as with every backend: the parser of
    its form rejects it.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise _unexpected(server, "has no `choices`")
    finish = choice.get("finish_reason")
    refusal = message.get("refusal")
    if finish == "content_filter" or (isinstance(refusal, str) and refusal):
        why = " ".join(clean(refusal, server).split())[:300] if isinstance(refusal, str) else "its content filter"
        message = f"The model at {server.shown} refused to answer: {why or 'no reason given'}."
        raise EndpointError(message, kind="request")
    content = message.get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    text = _clean(content, server) if isinstance(content, str) else ""
    if text or (isinstance(content, str) and finish == "stop"):
        return text
    hint = "The chat template of the server may not fit the model."
    if finish == "length":
        hint = "All tokens were spent on reasoning: disable thinking on the server."
    raise EndpointError(f"The model at {server.shown} returned no text.", hint, kind="request")


def _clean(text: str, server: ServerAddress) -> str:
    return clean(text, server if len(server.key.get_secret_value()) >= _MIN_SECRET_LENGTH else None).strip()


def _count(usage: Mapping[str, Any], name: str) -> int:
    found = usage.get(name)
    return found if type(found) is int and 0 <= found < _MAX_TOKENS else 0


def _unexpected(server: ServerAddress, what: str) -> EndpointError:
    hint = f"Check {server.setting} and ApiStyle in [QwenVL]: the server may be of another kind."
    return EndpointError(f"The answer of {server.shown} {what}.", hint, kind="transient", status=200)
