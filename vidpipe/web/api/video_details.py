"""What is known of one video, as the API documents it. Analyses and former versions may have stored more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from vidpipe.library.states import State


class VideoFacts(BaseModel, extra="allow"):
    """What is known of a file.

    Attributes:
        name: The first of its `names`.
        names: File names, the first hundred.
        urls: URLs of its sources, the first hundred.
        title: Title according to its sources, else to the file.
        titles: Titles according to its sources.
        labels: Labels of its sources.
        path: Of the file in the media store, relative to the home; or of the referenced file.
        referenced: The file stays where it is, outside the media store.
        state: The worst of the states of its stages.
    """

    sha256: str
    name: str
    names: list[str]
    urls: list[str]
    title: str | None
    titles: list[str]
    labels: list[str]
    path: str | None
    size_bytes: int
    referenced: bool
    added_at: datetime | None
    state: State


class SceneDetails(BaseModel, extra="allow"):
    """A scene.

    Attributes:
        index: From 0.
        thumbnail: Path of its picture, relative to the home.
        described_by: The model, or statistics.
    """

    index: int
    start_s: float
    end_s: float
    start_frame: int | None = None
    end_frame: int | None = None
    thumbnail: str | None = None
    description: str | None = None
    described_by: str | None = None


class DescriptionDetails(BaseModel, extra="allow"):
    """The description of a whole video; `model` made it."""

    text: str
    model: str | None = None


class SentimentDetails(BaseModel, extra="allow"):
    """The mood of a video; `score` is from -1 to 1, null if there is no basis."""

    label: str
    score: float | None = None


class TagDetails(BaseModel, extra="allow"):
    """A tag, the rule that gave it, and what was found."""

    tag: str
    rule: str | None = None
    given_by: str | None = None
    evidence: str | None = None
    facet: bool | None = None


class CategoryDetails(BaseModel, extra="allow"):
    """The category of a video, and why it was chosen."""

    category: str
    subcategory: str | None = None
    reason: str | None = None


class StageDetails(BaseModel, extra="allow"):
    """The state of a stage of a video.

    Attributes:
        state: unknown: the stage cannot run now.
        error: What failed.
        at: When it ran last.
        seconds: How long that took.
    """

    state: State | Literal["unknown"]
    error: dict[str, Any] | None = None
    attempts: int | None = None
    next_try_at: datetime | None = None
    at: datetime | None = None
    seconds: float | None = None
    run: str | None = None


class VideoDetails(BaseModel, extra="allow"):
    """Everything that is known of a video, as `vidpipe show --json` writes it; analyses add their own fields.

    What has not been computed is null.
    """

    video: VideoFacts
    metadata: dict[str, Any] | None
    scenes: list[SceneDetails]
    description: DescriptionDetails | None = None
    sentiment: SentimentDetails | None = None
    tags: list[TagDetails]
    category: CategoryDetails | None = None
    stages: dict[str, StageDetails]


class SceneList(BaseModel):
    """The scenes of a video, in order."""

    items: list[SceneDetails]


class StoredAnswer(BaseModel, extra="allow"):
    """An answer of the model, and what it was made of.

    Attributes:
        scope: Whether the whole video or a scene was asked about.
        in_force: The stored description is made of it.
    """

    scope: str
    start_s: float | None = None
    end_s: float | None = None
    raw_text: str | None = None
    in_force: bool


class AnswerList(BaseModel):
    """Answers of the model about a video, by scope and time."""

    items: list[StoredAnswer]
