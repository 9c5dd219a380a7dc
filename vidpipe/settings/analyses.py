"""Sections of config.ini about the optional analyses and their models."""

from typing import Literal

from pydantic import Field

from vidpipe.settings.operation import Listed, Section

#: vidpipe's own analyses in the order in which they run.
ANALYSES = ("fingerprint", "speech", "screen_text", "objects", "faces", "moderation", "meaning")

_MODEL = r"^[\w./:@+-]+$"


class Analyses(Section):
    """The optional analyses. Each is a stage of its own; enabling one makes every video due in it."""

    enabled: Listed = ()
    """Enabled analyses, comma-separated: fingerprint, speech, screen_text, objects, faces, moderation, meaning, and
    stages of installed plugins. Their models are installed with `vidpipe models install`."""
    threads: int = Field(2, ge=1, le=256)
    """Threads of each model's process. Does not change results."""


class Models(Section):
    """The models of the analyses, in data/models."""

    fetch: bool = False
    """Let a run install the models that it lacks, instead of going on without their stages. No sensor starts a run for
    that alone."""


class Speech(Section):
    """Speech recognition."""

    model: str = Field("whisper-base", pattern=_MODEL, max_length=200)
    """Name of an installed Whisper model in the format of CTranslate2 (`vidpipe models list`), or a folder with one."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Where it runs: with int8 weights on the CPU, with fp16 weights on a GPU."""
    language: str = Field("", pattern=r"^([a-z]{2,3})?$")
    """Code of the language spoken (en, zh); empty: detected."""
    use_subtitles: bool = False
    """Take the text of a subtitle stream in Language instead of listening, if there is one."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Segments of lower confidence are dropped."""


class ScreenText(Section):
    """Text recognition in the packed frames."""

    model: str = Field("ocr-ppocr-v6-small", pattern=_MODEL, max_length=200)
    """Name of an installed model for text recognition."""
    min_confidence: float = Field(0.6, ge=0, le=1)
    """Texts of lower confidence are dropped."""


class Objects(Section):
    """Object detection in the packed frames."""

    model: str = Field("objects-ssd-mobilenet-v2", pattern=_MODEL, max_length=200)
    """Name of an installed detector or classifier, or a folder with a model and its card (see docs/analyses.md)."""
    min_confidence: float = Field(0.5, ge=0, le=1)
    """Objects of lower confidence are dropped."""


class Faces(Section):
    """Face detection in the packed frames."""

    model: str = Field("faces-centerface", pattern=_MODEL, max_length=200)
    """Name of an installed face detector."""
    min_confidence: float = Field(0.6, ge=0, le=1)
    """Faces of lower confidence are dropped."""


class Moderation(Section):
    """Sensitive content in the packed frames: a hint for reviewers, unreliable on animation."""

    model: str = Field("moderation-open-nsfw", pattern=_MODEL, max_length=200)
    """Name of an installed classifier."""


class Meaning(Section):
    """Embeddings of what was said, read, seen and described: for search by meaning and suggested categories."""

    model: str = Field("meaning-e5-small", pattern=_MODEL, max_length=200)
    """Name of an installed model for text embeddings."""
    frame_model: str = Field("", max_length=400)
    """Folder with a SigLIP2 or CLIP checkpoint, which also embeds frames; empty: only texts. Needs the extra qwen."""
    category_margin: float = Field(0.1, ge=0, le=1)
    """Margin over the second best at which the best category becomes a video's category if no rule gives one."""
