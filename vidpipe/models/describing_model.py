"""The interface of a describing model: batches of requests in, answers out."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vidpipe.errors import VidpipeError
from vidpipe.media.facts import SceneStats
from vidpipe.models.prompts import Prompt
from vidpipe.models.questions import Scope
from vidpipe.text.words import digest


@dataclass(frozen=True)
class Frame:
    """One frame as a JPEG, and its time in seconds from the first frame of the video."""

    time_s: float
    jpeg: bytes


class FrameSource(Protocol):
    """Frames that are read when a model needs them."""

    @property
    def version(self) -> str:
        """Identifies the frames (times, sizes, extractor)."""

    def load(self) -> Sequence[Frame]:
        """Read the frames. Raises MediaError if they cannot be read."""


@dataclass(frozen=True)
class MeasuredFacts:
    """What was measured of a video or scene: all that a model which sees no frames may state.

    Attributes:
        duration_s: Duration of what is described, in seconds.
        scenes: Number of scenes in it.
        cuts_per_minute: 0 within a scene.
        stats: Light, colors, motion and sound; None if nothing could be measured.
        orientation: landscape, portrait or square.
        resolution: SD, HD, Full HD, 2K, 4K or 8K.
        has_sound: Whether there is an audio stream.
        subtitle_languages: Language code of each subtitle stream; "" if it has none.
        hdr: Kind of high dynamic range.
        scene_stats: (start_s, stats) of each scene; only for a whole video.
        findings: Sentences about what the analyses found in it.
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
    findings: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Identifies these facts, on which the answers of the statistics backend depend."""
        return digest(repr(self))


@dataclass(frozen=True)
class ModelRequest:
    """Several prompts about the same frames.

    Attributes:
        video: sha256 of the video.
        scope: Whether a scene or the whole video is described.
        start_s: Start of what is described, in seconds from the first frame.
        end_s: Its end.
        prompts: What is asked.
        facts: What was measured.
        frames: Read only if the model needs them; None if there are none.
    """

    video: str
    scope: Scope
    start_s: float
    end_s: float
    prompts: tuple[Prompt, ...]
    facts: MeasuredFacts
    frames: FrameSource | None = None


@dataclass(frozen=True)
class ModelAnswer:
    """The answer to one prompt.

    Attributes:
        prompt: What was asked.
        text: What the model generated.
        tokens: Generated tokens; 0 if no model was asked.
        prompt_tokens: Tokens read for this answer. What the prompts of a request share is counted with the first one
            only if the model computes it once.
    """

    prompt: Prompt
    text: str
    tokens: int = 0
    prompt_tokens: int = 0


@dataclass(frozen=True)
class ModelReply:
    """The outcome of one request: answers to all of its prompts, or an error.

    Attributes:
        request: What was asked.
        answers: With an error, those received before it.
        error: Why answers are missing.
        transient: Whether the same request may succeed later (busy server).
    """

    request: ModelRequest
    answers: Sequence[ModelAnswer] = ()
    error: VidpipeError | None = None
    transient: bool = False


class DescribingModel(ABC):
    """A describing model: a resource of the stage `descriptions`.

    Attributes:
        measured: Whether it states measurements only and sees no frames.
    """

    measured = False

    @property
    @abstractmethod
    def name(self) -> str:
        """As recorded with each description."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Identifies what answers depend on: configuration and weights, not paths or addresses."""

    @abstractmethod
    def readiness(self) -> str:
        """Return what `vidpipe doctor` reports: the device, or that the server answers. Loads no weights.

        Raises:
            VidpipeError: The model cannot be used.
        """

    @abstractmethod
    def answer(self, requests: Sequence[ModelRequest], cancelled: threading.Event) -> Iterator[ModelReply]:
        """Yield one reply per request, in any order. Weights are loaded on the first call.

        Prompts of one request share its frames. Stops early, without further replies, once `cancelled` is set.

        Raises:
            UnavailableError: The model itself is unavailable. An error of a single request is part of its reply.
        """

    def basis(self, request: ModelRequest) -> str:
        """Return the version of what this model sees of a request: its frames, or its facts."""
        if self.measured:
            return request.facts.version
        return request.frames.version if request.frames else "none"

    def texts(self) -> Mapping[str, str]:
        """Return the texts for the lineage by their hash: none."""
        return {}

    def server_use(self) -> Mapping[str, Mapping[str, float]]:
        """Return how busy each server was since this object was made, by its address; empty without servers.

        The figures: seconds (since the first request), busy_seconds (with at least one request in flight),
        request_seconds (duration of all requests together), requests (finished ones, retries included), failures.
        """
        return {}

    def close(self) -> None:  # noqa: B027 - models that hold nothing between calls need not override it
        """Release weights and connections; the next `answer` loads them again."""


def answer_key(
    *, video: str, scope: str, start_s: float, end_s: float, prompt_hash: str, model: str, frames_version: str
) -> str:
    """Return the key of a stored answer: equal keys have equal answers.

    Args:
        video: sha256 of its bytes.
        scope: "video" or "scene". A scene is identified by its times, so that it keeps its answers while other scenes
            change.
        start_s: Start of what is described, in seconds.
        end_s: Its end.
        prompt_hash: Hash of the prompt.
        model: The model's `version`.
        frames_version: Version of what the model saw: frames, or measurements.
    """
    span = f"{start_s:.3f}-{end_s:.3f}"
    return f"{video[:16]}:{scope}:{span}:{digest(video, scope, span, prompt_hash, model, frames_version)}"
