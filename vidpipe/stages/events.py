"""What happens to videos in a run, and who follows it."""

from dataclasses import dataclass
from typing import Literal, Protocol

from vidpipe.stages.contract import ModelTokens, StageError, StageResult


@dataclass(frozen=True)
class StageEvent:
    """What happened to one video in one stage.

    Attributes:
        sha256: The video.
        stage: The stage.
        state: "started": work begins. "computed": a new result is stored. "current": nothing to do. "blocked": an
            earlier stage has no usable result. "failed": the error is stored. "busy": another run holds the video.
            "discarded": the result was not stored, because something changed meanwhile; it is due again. "waiting": it
            needs the video's file, which was deleted after processing, and nothing allows fetching it again.
        name: File name of the video.
        seconds: Time spent in the stage's function.
        changed: Whether any data version differs from before.
        result: The new result.
        error: Why it failed.
        data_version: Version of the result.
        code_version: Version of the stage's code.
        earlier: It failed in an earlier run and was not retried now.
        used: What the describing model did, even if the stage failed.
    """

    sha256: str
    stage: str
    state: Literal["started", "computed", "current", "blocked", "failed", "busy", "discarded", "waiting"]
    name: str = ""
    seconds: float = 0.0
    changed: bool = False
    result: StageResult | None = None
    error: StageError | None = None
    data_version: str = ""
    code_version: str = ""
    earlier: bool = False
    used: ModelTokens | None = None


class Observer(Protocol):
    """Follows a run: a progress bar, Dagster. Called from one thread at a time."""

    def on_event(self, event: StageEvent) -> None:
        """Something happened to a video."""

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """A stage has done a share, 0 to 1, of its work on a video."""


class NullObserver:
    """Ignores what happens in a run."""

    def on_event(self, event: StageEvent) -> None:
        """Ignore the event."""

    def on_progress(self, sha256: str, stage: str, fraction: float) -> None:
        """Ignore the progress."""
