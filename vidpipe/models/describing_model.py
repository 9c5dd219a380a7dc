"""The interface of a describing model: batches of requests in, answers out."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from vidpipe.errors import VidpipeError
from vidpipe.media.facts import SceneStats
from vidpipe.vlm.cells import digest
from vidpipe.vlm.prompts import Prompt, Scope
from vidpipe.settings import Settings
from vidpipe.vlm.statistics import StatisticsDescriber



@dataclass(frozen=True)
class Frame:
    """One picture: a JPEG, and its time in seconds from the first frame of the video."""

    time_s: float
    jpeg: bytes


class FrameSource(Protocol):
    """Frames that are read when a model asks for them. Raises MediaError where they cannot be read."""

    @property
    def version(self) -> str:
        """Names which frames these are (times, sizes, extractor)."""

    def load(self) -> Sequence[Frame]: ...


@dataclass(frozen=True)
class Facts:
    """What was measured of a video, or of one scene of it; all a model may say without looking.

    duration_s:        of what is described
    scenes:            number of scenes in it
    cuts_per_minute:   0 within a scene
    stats:             light, colours, motion and sound; None where nothing could be measured
    orientation:       landscape, portrait or square
    resolution:        SD, HD, Full HD, 2K, 4K or 8K
    has_sound:         there is an audio stream
    subtitle_languages: of its subtitle streams; "" for one whose language is not given
    hdr:               kind of high dynamic range
    scene_stats:       for a whole video: (start_s, stats) of each scene
    """

    duration_s: float
    scenes: int
    cuts_per_minute: float
    stats: SceneStats | None
    orientation: str = "landscape"
    resolution: str = ""
    has_sound: bool = False
    subtitle_languages: tuple[str, ...] = ()
    hdr: str | None = None
    scene_stats: tuple[tuple[float, SceneStats], ...] = ()

    @property
    def version(self) -> str:
        """Names these facts: what a model that only measures depends on."""
        return digest(repr(self))


@dataclass(frozen=True)
class Request:
    """Several prompts about the same frames.

    video:          sha256
    start_s, end_s: the span that is described, in seconds from the first frame
    frames:         read only when the model asks for them; None where there are none
    """

    video: str
    scope: Scope
    start_s: float
    end_s: float
    prompts: tuple[Prompt, ...]
    facts: Facts
    frames: FrameSource | None = None


@dataclass(frozen=True)
class Answer:
    """What the model said to one prompt.

    tokens:        generated; 0 where no model was asked
    prompt_tokens: read for it. What several prompts of one request share counts for the first of them alone, where the
                   model computes it once
    """

    prompt: Prompt
    text: str
    tokens: int = 0
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """What became of one request: answers to all its prompts, or an error for it alone.

    answers:   with an error, those that were there before it
    transient: the same request may succeed later (a busy server)
    """

    request: Request
    answers: Sequence[Answer] = ()
    error: VidpipeError | None = None
    transient: bool = False


class DescribingModel(Protocol):
    """A describing model: a resource of the stage `descriptions`.

    name:     as it is recorded with each description
    measured: says only what was measured, and sees no frames
    """

    measured: bool

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Names what the answers depend on: configuration and weights, not path or address."""

    def texts(self) -> Mapping[str, str]: ...

    def readiness(self) -> str:
        """What `vidpipe doctor` says of it: on which device it would compute, whether its server answers. Loads no
        weights. Raises VidpipeError where it could not be asked."""

    def basis(self, request: Request) -> str:
        """The version of what this model looks at in a request: its frames, or its facts."""

    def answer(self, requests: Sequence[Request], cancelled: threading.Event) -> Iterator[Reply]:
        """One reply a request, in any order; weights are loaded at the first call.

        Prompts of one request share its frames. A fault of one request is a `Reply` with an error; UnavailableError is
        raised where the model itself is out of reach. Stops early, without further replies, once `cancelled` is set.
        """

    def close(self) -> None:
        """Releases weights and connections; the next `answer` loads them again."""


# DOC """The describing model that the settings name."""
# 


def build_model(settings: Settings) -> DescribingModel:
    """The model of Backend in [QwenVL]. Raises UnavailableError where a setting that it needs is missing or wrong."""
    if settings.qwen_vl.backend == "qwen":
        from vidpipe.vlm.qwen.backend import QwenModel

        return QwenModel(settings)
    if settings.qwen_vl.backend == "endpoint":
        from vidpipe.vlm.endpoint.model import EndpointModel

        return EndpointModel(settings)
    return StatisticsDescriber()
