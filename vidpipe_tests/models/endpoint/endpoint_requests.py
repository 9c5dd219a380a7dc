"""Requests with frames in memory, and settings under which faults cost no time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidpipe.models.describing_model import Frame, MeasuredFacts, ModelReply, ModelRequest
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe.models.prompts import Prompt
from vidpipe.settings import Settings
from vidpipe.settings.schema import QwenVL

FACTS = MeasuredFacts(duration_s=3.0, scenes=1, cuts_per_minute=0.0, stats=None)
#: What the server of these tests does not look at.
JPEGS = tuple(Frame(index / 2, b"\xff\xd8\xff" + bytes([index]) * 20) for index in range(4))
WHAT = Prompt("describe_scene", "scene", "What is it?", max_tokens=24)


@dataclass(frozen=True)
class Frames:
    """Frames in memory, where the real ones are in a pack."""

    frames: Sequence[Frame]
    version: str = "frames"

    def load(self) -> Sequence[Frame]:
        return self.frames


def request(*prompts: Prompt, video: str = "a", frames: Sequence[Frame] = JPEGS) -> ModelRequest:
    return ModelRequest(video * 64, "scene", 0.0, 3.0, prompts or (WHAT,), FACTS, Frames(frames))


def settings(url: str, **qwen_vl: object) -> Settings:
    quick = {
        "request_backoff": 0.01,
        "request_max_wait": 0.05,
        "request_timeout": 10,
        "request_retries": 2,
        "server_wait": 0,
    }
    named = {"backend": "endpoint", "public_endpoint": url, **quick, **qwen_vl}
    return Settings(home=Path("/nowhere"), qwen_vl=QwenVL.model_validate(named))


def replies(url: str, *requests: ModelRequest, **qwen_vl: object) -> list[ModelReply]:
    model = EndpointModel(settings(url, **qwen_vl))
    return list(model.answer(requests or [request()], threading.Event()))


def one(url: str, *prompts: Prompt, **qwen_vl: object) -> ModelReply:
    """The reply to one request."""
    (reply,) = replies(url, request(*prompts), **qwen_vl)
    return reply


def error(reply: ModelReply) -> str:
    assert reply.error is not None
    return str(reply.error)
