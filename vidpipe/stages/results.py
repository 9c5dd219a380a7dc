"""The results of the stages; the file of a stage holds its function and declaration."""

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from vidpipe.media.facts import ActiveArea, Damage, MediaInfo, PackReference, Scene, SceneStats, Thumbnail
from vidpipe.stages.contract import Part, StageResult
from vidpipe.stages.search_fields import Moment, SearchField, stored
from vidpipe.text import names


class ModelSentiment(Part):
    """The model's judgment of the sentiment; `score` is from -1 to 1."""

    label: Literal["positive", "neutral", "negative"] = Field(description="the sentiment")
    score: float = Field(ge=-1, le=1, description="from negative to positive")
    reason: str = Field("", description="in the model's words")


class ModelTag(Part):
    """One of the model's own tags. `confidence` is from 0 to 1, as the model states it; None if it states none."""

    tag: str = Field(description="the tag")
    confidence: float | None = Field(None, ge=0, le=1, description="as the model states it")


class ModelCategory(Part):
    """The category that the model chose. `confidence` is from 0 to 1, as the model states it."""

    category: str = Field(description="the category")
    confidence: float | None = Field(None, ge=0, le=1, description="as the model states it")
    reason: str = Field("", description="in the model's words")


class QuestionAnswer(Part):
    """The answer to one of the questions in questions.json.

    Attributes:
        id: The question's id.
        value: Text, true or false, one of the choices or a number, as the question's kind requires; None if the answer
            could not be parsed.
        raw: What the model answered, if it could not be parsed.
        fault: Why it could not.
    """

    id: str
    value: Any = None
    raw: str = ""
    fault: str = ""


class WrongAnswer(Part):
    """An answer that did not have the requested form twice.

    Attributes:
        prompt: Id of the prompt.
        fault: What was wrong with it.
        raw: What the model answered.
        start_s: Start of the scene, in seconds; None if the prompt was about the whole video.
        end_s: End of the scene.
    """

    prompt: str
    fault: str
    raw: str
    start_s: float | None = None
    end_s: float | None = None


class RawVideo(StageResult):
    """The stored file exists and its bytes match the hash in its name."""

    unversioned: ClassVar[frozenset[str]] = frozenset(
        {"path", "size_bytes", "modified_ns", "verified", "refetched_from"}
    )

    content: str = Field(description="sha256 of the bytes")
    path: str = Field(description="path of the file in the media store, relative to the home")
    size_bytes: int = Field(description="its size in bytes")
    modified_ns: int = Field(description="its modification time, in nanoseconds since 1970")
    verified: Literal["size and time", "hash"] = Field(
        "size and time",
        description="what was compared: size and time with those of the last check, or the hash of all bytes",
    )
    refetched_from: str | None = Field(
        None, description="source that the file was fetched from again; None: it was there"
    )


_SIZE = re.compile(r"(\d{1,5})\s*[x×]\s*(\d{1,5})")

Stored = Mapping[str, Any]


def _resolution(name: str) -> str:
    size = _SIZE.fullmatch(name.strip().lower())
    known = f"{size[1]}x{size[2]}" if size else names.resolution(name)
    if not size and known not in names.RESOLUTIONS:
        raise ValueError(f"Allowed: {', '.join(names.RESOLUTIONS)}, 1080p and the like, and sizes such as 1280x720.")
    return known


def _size(metadata: Stored) -> Iterator[str]:
    if metadata.get("width") and metadata.get("height"):
        yield f"{metadata['width']}x{metadata['height']}"


def _languages(metadata: Stored) -> Iterator[str]:
    for stream in (*(metadata.get("audio") or ()), *(metadata.get("subtitles") or ())):
        if (stream.get("language") or "") not in names.UNKNOWN_LANGUAGES:
            yield names.language_name(stream["language"])


def _cues(metadata: Stored) -> Iterator[Moment]:
    languages = {stream["index"]: stream.get("language") or "" for stream in metadata.get("subtitles") or ()}
    for cue in metadata.get("cues") or ():
        yield Moment(cue["start_s"], cue["end_s"], cue["text"], languages.get(cue["stream"], ""))


def _chapters(metadata: Stored) -> Iterator[Moment]:
    for chapter in metadata.get("chapters") or ():
        if chapter.get("title"):
            yield Moment(chapter["start_s"], chapter["end_s"], chapter["title"])


class Metadata(StageResult, MediaInfo):
    """What the file's headers say."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("title", "text", stored("title"), "Words of a title.", weight=8, compound=True),
        SearchField("said", "moments", _cues, "Words that are spoken, according to subtitles or speech recognition."),
        SearchField("chapter", "moments", _chapters, "Words of a chapter's title.", weight=6),
        SearchField("duration", "number", stored("duration_s"), "Duration.", unit="s"),
        SearchField("fps", "number", stored("frame_rate"), "Frames per second."),
        SearchField(
            "resolution", "term", stored("resolution"), "SD, HD, Full HD, 1080p, 4K, …, or 1280x720.", weight=0,
            key=_resolution, facet=True,
        ),
        SearchField("resolution", "term", _size, "", weight=0, key=_resolution),
        SearchField("codec", "term", stored("video_codec"), "Video codec.", weight=0, key=names.codec, facet=True),
        SearchField(
            "language", "term", _languages, "Language of an audio or subtitle stream.", weight=0,
            key=names.language_code, facet=True,
        ),
    )  # fmt: skip

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {
            "duration_s": self.duration_s, "size": f"{self.width}x{self.height}", "resolution": self.resolution,
            "codec": self.video_codec, "frame_rate": self.frame_rate, "audio_streams": len(self.audio),
            "subtitle_streams": len(self.subtitles),
        }  # fmt: skip


class Scenes(StageResult):
    """Cuts, thumbnails, the model's frames and measurements, all from one decode."""

    scene_fields: ClassVar[frozenset[str]] = frozenset({"scenes"})
    unversioned: ClassVar[frozenset[str]] = frozenset({"decode_seconds", "decoder", "pack"})
    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField(
            "duration", "number", lambda scenes: [scenes["duration_s"]] if scenes.get("duration_s") else [],
            "Duration.", unit="s",
        ),
    )  # fmt: skip

    scenes: tuple[Scene, ...] = Field((), description="the scenes, in order")
    count: int = Field(0, description="number of scenes")
    detector: str = Field("", description="the detector that found the cuts")
    threshold: float = Field(0.0, description="its threshold")
    duration_s: float = Field(0.0, description="from the first frame to the end of the last, as decoded")
    frames_decoded: int = Field(0, description="fewer than the video has if `decoded` is partial")
    decoded: Literal["all", "partial"] = Field(
        "all", description="all: every frame; partial: reference frames, and every frame around possible cuts"
    )
    decoder: str = Field("software", description="software, or ffmpeg's hardware decoder: cuda, vaapi, videotoolbox")
    cuts_per_minute: float = Field(0.0, description="cuts per minute")
    mean_scene_s: float = Field(0.0, description="mean duration of a scene")
    active_area: ActiveArea | None = Field(None, description="area within black bars; None: the whole picture")
    stats: SceneStats | None = Field(None, description="of the whole video, weighted by time")
    pack: PackReference | None = Field(None, description="the frames for the model")
    frames_version: str = Field("", description="which frames the pack holds, not their bytes or the thumbnails")
    thumbnails: tuple[Thumbnail, ...] = Field((), description="thumbnails, by time")
    poster: str | None = Field(None, description="the thumbnail that represents the video")
    damage: Damage | None = Field(None, description="None: decoded without complaint")
    decode_seconds: float = Field(0.0, description="time that the decode took")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        damage = {"damage": self.damage.sentence} if self.damage else {}
        return {"scenes": self.count, "frames_decoded": self.frames_decoded, "detector": self.detector, **damage}

    def thumbnail(self) -> str | None:
        """Return the poster."""
        return self.poster


class SceneDescription(Part):
    """The description of one scene, stored in the scene's document."""

    index: int = Field(description="number of the scene, from 0")
    description: str = Field(description="its description")
    described_by: str = Field(description="the model, or statistics")
    answers: tuple[QuestionAnswer, ...] = Field((), description="to the questions that are asked of scenes")


def _described_scenes(description: Stored) -> Iterator[Moment]:
    for scene in description.get("scenes") or ():
        if scene.get("description"):
            yield Moment(scene["start_s"], scene["end_s"], scene["description"])


def _answers(description: Stored) -> Iterator[str]:
    for answer in description.get("questions") or ():
        if isinstance(answer.get("value"), str):
            yield answer["value"]


class Descriptions(StageResult):
    """What the describing model says. With `measured` it is derived from measurements alone.

    What the model was not asked, or answered malformed, is empty or None.
    """

    scene_fields: ClassVar[frozenset[str]] = frozenset({"scenes"})
    unversioned: ClassVar[frozenset[str]] = frozenset({"asked", "reused", "prompt_tokens", "output_tokens"})
    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("description", "text", stored("text", "summary", "keywords"), "Words of the description."),
        SearchField("scene", "moments", _described_scenes, "Words of a scene's description."),
        SearchField("answer", "text", _answers, "Words of the answers to questions.json."),
    )

    text: str = Field(description="the description of the whole video")
    model: str = Field(description="the model, or statistics")
    measured: bool = Field(description="made of measurements (statistics), not by a model that sees")
    found: str = Field("", description="the sentences of `text` about what analyses found, with which it begins")
    scenes: tuple[SceneDescription, ...] = Field((), description="the descriptions of the scenes")
    summary: str = Field("", description="one or two sentences; with `measured` quotes of what was said or read")
    keywords: tuple[str, ...] = Field((), description="with `measured` words that recur in what was said or read")
    sentiment: ModelSentiment | None = Field(None, description="the model's judgment; None without one")
    tags: tuple[ModelTag, ...] = Field((), description="the model's own tags")
    category: ModelCategory | None = Field(None, description="the category that the model proposes; None without one")
    questions: tuple[QuestionAnswer, ...] = Field((), description="to the questions about the whole video")
    wrong: tuple[WrongAnswer, ...] = Field((), description="answers that were in the wrong form twice")
    answers: tuple[str, ...] = Field((), description="keys of the answer cells that this result is made of")
    asked: int = Field(0, description="answers that the model gave when this was made last")
    reused: int = Field(0, description="answers that were stored already")
    prompt_tokens: int = Field(0, description="that the model read for the answers asked")
    output_tokens: int = Field(0, description="that it wrote")
    shared_from: str = Field("", description="sha256 of the copy that it describes", exclude_if=operator.not_)

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        figures: dict[str, Any] = {"model": self.model, "description": self.text}
        if self.summary:
            figures["summary"] = self.summary
        if self.wrong:
            figures["answers_in_wrong_form"] = len(self.wrong)
        if not self.measured:
            figures |= {
                "answers_asked": self.asked, "answers_reused": self.reused,
                "prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens,
            }  # fmt: skip
        return figures


SENTIMENTS = ("positive", "neutral", "negative", "no basis")


def _sentiment(label: str) -> str:
    known = " ".join(label.lower().split())
    if known not in SENTIMENTS:
        raise ValueError(f"Allowed: {', '.join(SENTIMENTS)}.")
    return known


class Sentiment(StageResult):
    """The sentiment; "no basis", with score None, if there was nothing to judge."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField(
            "sentiment", "term", stored("label"), "positive, neutral, negative or no basis.", weight=0,
            key=_sentiment, facet=True,
        ),
    )  # fmt: skip

    label: Literal["positive", "neutral", "negative", "no basis"] = Field(description="the sentiment")
    score: float | None = Field(None, ge=-1, le=1, description="from -1 to 1; None if there is no basis")
    read_from: Literal["frames", "subtitles", "speech", "screen text", "description", "nothing"] = Field(
        description="frames: judged by the describing model, which saw them"
    )
    method: str = Field("", description="what judged: the model, or the lexicon")
    reason: str = Field("", description="one sentence: which words were judged, or why none could be")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"label": self.label, "score": self.score, "read_from": self.read_from}


#: The name of the rule in tags that the describing model gave.
MODEL_TAGS = "ai_generated_tags"


class Tag(Part):
    """One tag, the rule that gave it, and the evidence."""

    tag: str = Field(description="the tag")
    rule: str = Field(description="name of the rule; ai_generated_tags for a tag of the model's")
    given_by: Literal["rule", "model", "person"] = Field("rule", description="who gave it")
    block: str = Field("", description="part of the rule that matched: metadata_conditions, ...")
    evidence: str = Field("", description="one sentence: what was found and what the rule asks for")
    confidence: float | None = Field(None, description="0 to 1, as a model says of itself; None for a rule")
    facet: bool = Field(False, description="a technical fact to filter by, shown after the other tags")
    model_tags: tuple[str, ...] = Field((), description="the model's own tags from which the rule derived it")


class SceneTag(Part):
    """A tag of some scenes, and the times of these scenes."""

    tag: str = Field(description="the tag")
    rule: str = Field(description="name of the rule")
    evidence: str = Field("", description="what was found in the first of them")
    spans: tuple[tuple[float, float], ...] = Field((), description="(start, end) in seconds, in order")


def _tagged_moments(scene_tags: Iterable[Stored]) -> Iterator[Moment]:
    for tag in scene_tags or ():
        for start_s, end_s in tag["spans"]:
            yield Moment(start_s, end_s, tag["tag"], "en")


class Tags(StageResult):
    """The tags of a video and of its scenes, in order."""

    root: ClassVar[bool] = True
    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("tag", "term", lambda tags: [tag["tag"] for tag in tags], "A tag.", weight=10, facet=True),
        SearchField("why", "term", lambda tags: [tag["rule"] for tag in tags], "The rule that gave a tag.", weight=0),
    )

    tags: tuple[Tag, ...] = Field((), description="tags of the video; facets come last")
    scene_tags: tuple[SceneTag, ...] = Field((), description="whether or not the video has them, too")

    def key_figures(self) -> dict[str, Any]:
        """Return the tags; facets come last, as stored."""
        return {"tags": ", ".join(tag.tag for tag in self.tags)}


def margin_of(candidates: Sequence[tuple[str, float]]) -> float | None:
    """Return by how much the first candidate is ahead of the second; None: there is no second."""
    return round(candidates[0][1] - candidates[1][1], 3) if len(candidates) > 1 else None


class Categories(StageResult):
    """The category; "Unclassified", with score 0, if nothing matched, not even a proposal of the model."""

    search_fields: ClassVar[tuple[SearchField, ...]] = (
        SearchField("category", "term", stored("category"), "The category.", weight=8, facet=True),
        SearchField("subcategory", "term", stored("subcategory"), "The subcategory.", weight=8, facet=True),
    )

    category: str = Field(description="the category")
    subcategory: str | None = Field(None, description="None, and not stored: none matched", exclude_if=operator.not_)
    score: float = Field(0.0, ge=0, description="its score, the sum of what matched")
    reason: str = Field("", description="one sentence: why it was chosen")
    candidates: tuple[tuple[str, float], ...] = Field((), description="every category that matched, best first")
    proposal: ModelCategory | None = Field(None, description="the describing model's own; a candidate")
    other_reasons: tuple[str, ...] = Field(
        (), description="why the candidates after the first matched; not stored if empty", exclude_if=operator.not_
    )

    @property
    def margin(self) -> float | None:
        """By how much the score exceeds that of the runner-up; None: nothing else matched."""
        return margin_of(self.candidates)

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        names = ("category", "subcategory", "score", "margin", "reason")
        return {name: value for name in names if (value := getattr(self, name)) is not None}
