"""The results of the stages; the file of a stage holds its function and declaration."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from vidpipe.media.facts import ActiveArea, Damage, MediaInfo, PackReference, Scene, SceneStats, Thumbnail
from vidpipe.stages.contract import StageResult
from vidpipe.text.words import search_forms


class _Part(BaseModel):
    """Base of the models inside results."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelSentiment(_Part):
    """The model's judgment of the sentiment; `score` is from -1 to 1."""

    label: Literal["positive", "neutral", "negative"]
    score: float = Field(ge=-1, le=1)
    reason: str = ""


class ModelTag(_Part):
    """One of the model's own tags. `confidence` is from 0 to 1, as the model states it; None if it states none."""

    tag: str
    confidence: float | None = Field(None, ge=0, le=1)


class ModelCategory(_Part):
    """The category that the model chose. `confidence` is from 0 to 1, as the model states it."""

    category: str
    confidence: float | None = Field(None, ge=0, le=1)
    reason: str = ""


class QuestionAnswer(_Part):
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


class WrongAnswer(_Part):
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
    path: str
    size_bytes: int
    modified_ns: int
    verified: Literal["size and time", "hash"] = "size and time"
    refetched_from: str | None = None


class Metadata(StageResult, MediaInfo):
    """What the file's headers say."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def title_words(self) -> tuple[str, ...]:
        """Words for the text index; they have no version."""
        return search_forms([self.title or ""])

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

    scenes: tuple[Scene, ...] = ()
    count: int = 0
    detector: str = ""
    threshold: float = 0.0
    duration_s: float = Field(0.0, description="from the first frame to the end of the last, as decoded")
    frames_decoded: int = Field(0, description="fewer than the video has if `decoded` is partial")
    decoded: Literal["all", "partial"] = Field(
        "all", description="all: every frame; partial: reference frames, and every frame around possible cuts"
    )
    decoder: str = Field("software", description="software, or ffmpeg's hardware decoder: cuda, vaapi, videotoolbox")
    cuts_per_minute: float = 0.0
    mean_scene_s: float = 0.0
    active_area: ActiveArea | None = Field(None, description="area within black bars; None: the whole picture")
    stats: SceneStats | None = Field(None, description="of the whole video, weighted by time")
    pack: PackReference | None = None
    frames_version: str = Field("", description="which frames the pack holds, not their bytes or the thumbnails")
    thumbnails: tuple[Thumbnail, ...] = ()
    poster: str | None = Field(None, description="the thumbnail that represents the video")
    damage: Damage | None = Field(None, description="None: decoded without complaint")
    decode_seconds: float = 0.0

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        damage = {"damage": self.damage.sentence} if self.damage else {}
        return {"scenes": self.count, "frames_decoded": self.frames_decoded, "detector": self.detector, **damage}

    def thumbnail(self) -> str | None:
        """Return the poster."""
        return self.poster


class SceneDescription(_Part):
    """The description of one scene, stored in the scene's document."""

    index: int
    description: str
    described_by: str
    answers: tuple[QuestionAnswer, ...] = Field((), description="to the questions that are asked of scenes")


class Descriptions(StageResult):
    """What the describing model says. With `measured` it is derived from measurements alone.

    What the model was not asked, or answered malformed, is empty or None.
    """

    scene_fields: ClassVar[frozenset[str]] = frozenset({"scenes"})
    unversioned: ClassVar[frozenset[str]] = frozenset({"asked", "reused", "prompt_tokens", "output_tokens"})

    text: str
    model: str
    measured: bool = Field(description="made of measurements (statistics), not by a model that sees")
    scenes: tuple[SceneDescription, ...] = ()
    summary: str = Field("", description="one or two sentences")
    keywords: tuple[str, ...] = ()
    sentiment: ModelSentiment | None = None
    tags: tuple[ModelTag, ...] = ()
    category: ModelCategory | None = None
    questions: tuple[QuestionAnswer, ...] = Field((), description="to the questions about the whole video")
    wrong: tuple[WrongAnswer, ...] = Field((), description="answers that were in the wrong form twice")
    answers: tuple[str, ...] = Field((), description="keys of the answer cells that this result is made of")
    asked: int = Field(0, description="answers that the model gave when this was made last")
    reused: int = Field(0, description="answers that were stored already")
    prompt_tokens: int = Field(0, description="that the model read for the answers asked")
    output_tokens: int = Field(0, description="that it wrote")

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


class Sentiment(StageResult):
    """The sentiment; "no basis", with score None, if there was nothing to judge."""

    label: Literal["positive", "neutral", "negative", "no basis"]
    score: float | None = Field(None, ge=-1, le=1)
    read_from: Literal["frames", "subtitles", "description", "nothing"] = Field(
        description="frames: judged by the describing model, which saw them"
    )
    method: str = ""
    reason: str = Field("", description="one sentence: which words were judged, or why none could be")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"label": self.label, "score": self.score, "read_from": self.read_from}


#: The name of the rule in tags that the describing model gave.
MODEL_TAGS = "ai_generated_tags"


class Tag(_Part):
    """One tag, the rule that gave it, and the evidence."""

    tag: str
    rule: str = Field(description="name of the rule; ai_generated_tags for a tag of the model's")
    given_by: Literal["rule", "model"] = "rule"
    block: str = Field("", description="part of the rule that matched: metadata_conditions, ...")
    evidence: str = Field("", description="one sentence: what was found and what the rule asks for")
    confidence: float | None = Field(None, description="0 to 1, as a model says of itself; None for a rule")
    facet: bool = Field(False, description="a technical fact to filter by, shown after the other tags")
    model_tags: tuple[str, ...] = Field((), description="the model's own tags from which the rule derived it")


class Tags(StageResult):
    """The tags of a video, in order."""

    root: ClassVar[bool] = True

    tags: tuple[Tag, ...] = ()

    def key_figures(self) -> dict[str, Any]:
        """Return the tags; facets come last, as stored."""
        return {"tags": ", ".join(tag.tag for tag in self.tags)}


class Categories(StageResult):
    """The category; "Unclassified", with score 0, if nothing matched, not even a proposal of the model."""

    category: str
    score: float = Field(0.0, ge=0)
    reason: str = ""
    candidates: tuple[tuple[str, float], ...] = Field((), description="every category that matched, best first")
    proposal: ModelCategory | None = Field(None, description="the describing model's own; a candidate")

    def key_figures(self) -> dict[str, Any]:
        """Return what Dagster's page shows of the result."""
        return {"category": self.category, "score": self.score, "reason": self.reason}
