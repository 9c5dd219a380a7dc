"""The results of the optional analyses.

Boxes are (left, top, width, height) as shares of the picture, 0 to 1. Times are seconds from the first video frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from vidpipe.media import facts
from vidpipe.models.embeddings import elements
from vidpipe.models.frame_embedding import embedded_words
from vidpipe.models.text_embedding import embedded_query
from vidpipe.models.worker import WorkerModel
from vidpipe.stages.contract import Part, StageResult
from vidpipe.stages.search_fields import Embedding, Moment, SearchField, stored
from vidpipe.text import names

Box = facts.Box
Stored = Mapping[str, Any]


class UsedModel(Part):
    """A model that a result was made with.

    Attributes:
        name: Its name in the catalogue.
        version: Its version there.
        sha256: Hash of its files.
    """

    name: str
    version: str
    sha256: str


def used_models(*models: WorkerModel) -> tuple[UsedModel, ...]:
    """Return what results record of their models."""
    return tuple(UsedModel(**use) for model in models for use in model.uses)


class AnalysisResult(StageResult):
    """Base of the results of analyses: each names its models."""

    models: tuple[UsedModel, ...] = Field((), description="the models that it was made with")


class SpeechSegment(Part):
    """One spoken sentence or phrase. `confidence` is from 0 to 1; None for a subtitle."""

    start_s: float = Field(description="start")
    end_s: float = Field(description="end")
    text: str = Field(description="what is said")
    language: str = Field("", description="language code; empty: unknown")
    confidence: float | None = Field(None, ge=0, le=1, description="0 to 1; None for a subtitle")


def _spoken(speech: Stored) -> Iterator[Moment]:
    for segment in speech.get("segments") or ():
        yield Moment(segment["start_s"], segment["end_s"], segment["text"], segment.get("language") or "")


class SpeechResult(AnalysisResult):
    """What is said."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("said", "moments", _spoken, "Words that are spoken, according to subtitles or speech recognition."),
        SearchField(
            "language", "term", lambda speech: [names.language_name(code) for code in speech.get("languages") or ()],
            "Language of an audio or subtitle stream.", weight=0, key=names.language_code, facet=True,
        ),
    )  # fmt: skip

    segments: tuple[SpeechSegment, ...] = Field((), description="what is said, by time")
    languages: tuple[str, ...] = Field((), description="languages spoken, most of the time first")
    speech_s: float = Field(0.0, description="duration of the sound in which someone speaks")
    music_s: float | None = Field(None, description="duration of music without speech; None: not measured")
    source: Literal["recognition", "subtitles", "nothing"] = Field(
        "nothing", description="nothing: there is no sound, or no speech in it"
    )

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"segments": len(self.segments), "languages": ", ".join(self.languages), "speech_s": self.speech_s}


class TextEntry(Part):
    """A text on screen; the same text in consecutive frames is one entry.

    Attributes:
        text: The text.
        start_s: Time of the first frame that shows it.
        end_s: Time at which the next frame does not show it any more.
        box: Where it is, in the frame in which it was read best.
        confidence: 0 to 1, of the best reading.
        language: Language code; "" if unknown.
        kind: title: large; caption: a line at the place of captions; small: small print, logos and signs.
    """

    text: str
    start_s: float
    end_s: float
    box: Box
    confidence: float = Field(ge=0, le=1)
    language: str = ""
    kind: Literal["title", "caption", "small"] = "small"


def _shown(screen_text: Stored) -> Iterator[Moment]:
    for entry in screen_text.get("entries") or ():
        yield Moment(entry["start_s"], entry["end_s"], entry["text"], entry.get("language") or "")


class ScreenTextResult(AnalysisResult):
    """What is written on screen."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("screen", "moments", _shown, "Words that are written on screen."),
    )

    entries: tuple[TextEntry, ...] = Field((), description="texts on screen, by time")
    languages: tuple[str, ...] = Field((), description="most of the text first")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"texts": len(self.entries), "languages": ", ".join(self.languages)}


class DetectedObject(Part):
    """One object in one frame; `box` is None if the model names what a picture shows, but not where."""

    label: str = Field(description="the label, in English")
    confidence: float = Field(ge=0, le=1, description="0 to 1")
    box: Box | None = Field(None, description="where it is")


class FrameObjects(Part):
    """The objects in one packed frame."""

    time_s: float = Field(description="time of the frame")
    scene: int = Field(description="number of its scene")
    objects: tuple[DetectedObject, ...] = Field(description="the objects")


class ObjectLabel(Part):
    """How often a label occurs in a scene or video.

    Attributes:
        label: The label, in English.
        count: Most of them in one frame.
        confidence: The highest.
        share: Share of the time, 0 to 1, that the frames with it stand for.
        first_s: Time of the first frame with it.
        certain: Whether it may be stated. Searches and rules find the others, too.
    """

    label: str
    count: int
    confidence: float
    share: float
    first_s: float | None = None
    certain: bool = True


class SceneObjects(Part):
    """The objects of one scene, most certain first."""

    index: int = Field(description="number of the scene, from 0")
    start_s: float = Field(description="start of the scene")
    end_s: float = Field(description="end of the scene")
    labels: tuple[ObjectLabel, ...] = Field((), description="what was detected in it")


def _things(objects: Stored) -> Iterator[Moment]:
    for scene in objects.get("scenes") or ():
        for label in scene["labels"]:
            yield Moment(scene["start_s"], scene["end_s"], label["label"], "en")


class ObjectsResult(AnalysisResult):
    """Which things appear."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("object", "moments", _things, "Things that are seen, according to object detection."),
    )

    frames: tuple[FrameObjects, ...] = Field((), description="frames in which anything was detected")
    scenes: tuple[SceneObjects, ...] = Field((), description="what was detected in each scene")
    labels: tuple[ObjectLabel, ...] = Field((), description="of the whole video")
    frames_examined: int = Field(0, description="number of packed frames")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"labels": ", ".join(label.label for label in self.labels), "frames": self.frames_examined}


class FrameFaces(Part):
    """The faces in one packed frame, largest first."""

    time_s: float = Field(description="time of the frame")
    scene: int = Field(description="number of its scene")
    faces: tuple[facts.Face, ...] = Field(description="the faces")


class FacesResult(AnalysisResult):
    """How many faces are seen, where, and how large."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("faces", "number", stored("count"), "Most faces in one frame."),
    )

    frames: tuple[FrameFaces, ...] = Field((), description="frames with a face")
    count: int = Field(0, description="most faces in one frame")
    share: float = Field(0.0, description="share of the time, 0 to 1, that the frames with a face stand for")
    largest: float = Field(0.0, description="height of the largest face as a share of the picture")
    frames_examined: int = Field(0, description="number of packed frames")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"faces": self.count, "share": self.share}


class SceneScore(Part):
    """The score of one scene: the highest of its frames."""

    index: int = Field(description="number of the scene, from 0")
    start_s: float = Field(description="start of the scene")
    end_s: float = Field(description="end of the scene")
    score: float = Field(description="0 to 1")


class ModerationResult(AnalysisResult):
    """How likely frames are to show nudity, 0 to 1. A hint for a reviewer, not a verdict."""

    scenes: tuple[SceneScore, ...] = Field((), description="the score of each scene")
    score: float = Field(0.0, description="the highest")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"score": self.score}


class FingerprintResult(AnalysisResult):
    """Perceptual hashes of pictures and sound, by which copies are found. Arrays are bytes in Base64."""

    duration_s: float = Field(0.0, description="duration of the pictures")
    interval_s: float = Field(0.5, description="between two pictures; the first is the first frame")
    hashes: str = Field("", description="32 bytes per picture")
    flat: str = Field("", description="1 bit per picture: it shows nothing, so that it is like no other")
    whole: str = Field("", description="hashes with the black bars, if there are any")
    sound: str = Field("", description="2 bytes per 0.128 s; 0: silence")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"pictures": len(self.hashes) * 3 // 128, "interval_s": self.interval_s, "sound": bool(self.sound)}


class CategorySuggestion(Part):
    """The category whose sentence is nearest in meaning. Only ranks and margins mean anything.

    Attributes:
        category: The nearest one.
        runner_up: The second.
        margin: By how much the nearest one is nearer.
        chosen: Whether the margin is large enough for it to count.
    """

    category: str
    runner_up: str = ""
    margin: float = 0.0
    chosen: bool = False


class EmbeddedPart(Part):
    """A part of a video, and the embedding of the words in it, of which `text` is the beginning."""

    start_s: float = Field(description="start")
    end_s: float = Field(description="end")
    vector: str = Field(description="the embedding")
    text: str = Field("", description="the beginning of its words")


def _meanings(meaning: Stored) -> Iterator[Embedding]:
    if meaning.get("vector"):
        yield Embedding(elements(meaning["vector"]))
    for part in meaning.get("parts") or ():
        yield Embedding(elements(part["vector"]), part["start_s"], part["end_s"], part.get("text"))


def _frames(meaning: Stored) -> Iterator[Embedding]:
    for time_s, vector in meaning.get("frame_vectors") or ():
        yield Embedding(elements(vector), time_s, time_s)


class FrameLabel(Part):
    """A category whose sentence is nearest to some frames.

    Attributes:
        label: The category.
        share: Share of the frames of which it is the nearest.
        margin: By how much it is nearer than the second, on average.
    """

    label: str
    share: float
    margin: float


class MeaningResult(AnalysisResult):
    """What a video is about. Embeddings: see `vidpipe.models.embeddings`."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField(
            "meaning", "vector", _meanings, "What the words of a video mean.", encode=embedded_query,
            min_similarity=0.33,
        ),
        SearchField(
            "frame", "vector", _frames, "What a frame shows.", encode=embedded_words, min_similarity=0.0,
            only_by_meaning=True,
        ),
    )  # fmt: skip

    vector: str = Field("", description="embedding of all texts; empty: there was no text")
    parts: tuple[EmbeddedPart, ...] = Field((), description="embeddings of parts of the video, by time")
    frame_vectors: tuple[tuple[float, str], ...] = Field((), description="(time_s, embedding), evenly spaced")
    read_from: tuple[str, ...] = Field((), description="names of the texts: description, speech, ...")
    language: str = Field("", description="of most of what is said and written; empty: unknown")
    suggestion: CategorySuggestion | None = Field(None, description="None: there are too few words")
    labels: tuple[FrameLabel, ...] = Field((), description="zero-shot labels of the frames, most frequent first")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        suggested = {"suggested_category": self.suggestion.category} if self.suggestion else {}
        return {"read_from": ", ".join(self.read_from), "language": self.language, **suggested}
