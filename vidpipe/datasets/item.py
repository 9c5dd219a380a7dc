"""What exporters get of a video or a part of it. Times are in seconds from the start of the item."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from vidpipe.tagging.categories import UNCLASSIFIED


class _ItemModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ItemTag(_ItemModel):
    """A tag: `rule` gave it, or ai_generated_tags, or a verdict (`given_by` person)."""

    tag: str
    rule: str
    given_by: Literal["rule", "model", "person"]
    confidence: float | None = None


class ItemSegment(_ItemModel):
    """A labelled span of time.

    Attributes:
        start_s: Start.
        end_s: End.
        label: Its label.
        kind: label: ground truth that a list states; tag: a scene tag of a rule.
        rule: The rule of a tag.
    """

    start_s: float
    end_s: float
    label: str
    kind: Literal["label", "tag"]
    rule: str = ""


class ItemScene(_ItemModel):
    """A scene, cut to the item."""

    index: int
    start_s: float
    end_s: float
    description: str = ""


class ItemText(_ItemModel):
    """Something that is said, or the title of a chapter, with its times."""

    start_s: float
    end_s: float
    text: str
    language: str = ""


class ItemAnswer(_ItemModel):
    """An answer of the describing model: `question` is the text that it was asked."""

    id: str
    question: str
    value: Any

    @property
    def in_words(self) -> str:
        """The value as a person would say it: "Yes", "3", "red, blue"."""
        if isinstance(self.value, bool):
            return "Yes" if self.value else "No"
        values = self.value if isinstance(self.value, list | tuple) else (self.value,)
        return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


class ItemSource(_ItemModel):
    """Where a video came from, without secrets."""

    url: str
    site: str = ""
    licence: str = ""


class DatasetItem(_ItemModel):
    """A video, or a part of it.

    Attributes:
        key: Unique in a dataset, and a safe file name: "0f3a…" or "0f3a…-00012480-00015000" with
            its times in milliseconds.
        video: sha256 of the video.
        name: File name of the video.
        path: Path of its file as stored (`raw_video.path`).
        start_s: Start of the item in the video.
        end_s: Its end.
        whole: Whether it is the whole video.
        split: train, validation or test; "" without splits.
        group: Items of one group are in one split.
        width: Displayed width of the video, in pixels.
        height: Displayed height, in pixels.
        frame_rate: Frames per second; None: unknown.
        has_audio: Whether the video has sound.
        video_streams: Streams of pictures in the file. Facts and clips are of one of them.
        size_bytes: Size of the video's file.
        title: Title of the video.
        labels: What lists and users say it shows: ground truth.
        tags: Its tags; of a part, those of its scenes come first.
        category: Its category; None: none.
        subcategory: Its subcategory.
        description: What is seen in the item.
        described_by: The model that described it, or statistics.
        measured: Whether the description is made of measurements, not by a model that sees.
        answers: To the questions.
        scenes: Its scenes.
        segments: Its labelled spans.
        transcript: What is said.
        chapters: Titled chapters of the container.
        sources: Where it came from.
        versions: Resource -> version of what the results depend on: custom_tags, categories, model.
    """

    key: str
    video: str
    name: str
    path: str
    start_s: float
    end_s: float
    whole: bool
    split: str = ""
    group: str = ""
    width: int = 0
    height: int = 0
    frame_rate: float | None = None
    has_audio: bool = False
    video_streams: int = 1
    size_bytes: int = 0
    title: str | None = None
    labels: tuple[str, ...] = ()
    tags: tuple[ItemTag, ...] = ()
    category: str | None = None
    subcategory: str | None = None
    description: str = ""
    described_by: str = ""
    measured: bool = False
    answers: tuple[ItemAnswer, ...] = ()
    scenes: tuple[ItemScene, ...] = ()
    segments: tuple[ItemSegment, ...] = ()
    transcript: tuple[ItemText, ...] = ()
    chapters: tuple[ItemText, ...] = ()
    sources: tuple[ItemSource, ...] = ()
    versions: dict[str, str] = {}

    @property
    def folder(self) -> str:
        """Folder of its split in an export, with "/"; "" without splits."""
        return f"{self.split}/" if self.split else ""

    @property
    def duration_s(self) -> float:
        """Duration of the item, in seconds."""
        return self.end_s - self.start_s

    @property
    def label(self) -> str:
        """The one class of the item: its first label, else its category, else unlabelled."""
        return next(iter(self.labels), None) or self.predicted or "unlabelled"

    @property
    def predicted(self) -> str:
        """The category that rules chose; "" for none."""
        return self.category if self.category and self.category != UNCLASSIFIED else ""

    def stated_times(self, otherwise: Iterable[str]) -> list[tuple[str, float, float]]:
        """Return label, start and end of the labelled times; if there are none, `otherwise` from start to end."""
        stated = [(one.label, one.start_s, one.end_s) for one in self.segments if one.kind == "label"]
        return stated or [(label, 0.0, self.duration_s) for label in otherwise]
