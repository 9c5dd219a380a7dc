"""The fields that rules can check: their names, kinds and meanings, and what plugins add to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from vidpipe.text import names, words
from vidpipe.text.names import language_code

#: Value of `hdr` for a picture of standard dynamic range.
STANDARD_RANGE = "none"

#: Minimum share of the picture of a color that counts as one of the video's colors.
COLOR_SHARE = 0.2

#: Name -> meaning of the texts that rules of the full form search; plugins add those of their analyses.
TEXT_FIELDS: dict[str, str] = {
    "description": "the description",
    "subtitles": "the text of all subtitles",
    "title": "titles from the file and its sources",
    "speech": "recognized speech",
    "screen_text": "the text on screen",
    "said": "subtitles, titles and recognized speech",
    "text": "all that is said or written",
    "file_name": "file names",
    "source": "addresses",
    "answers": "the model's answers to questions.json",
    "uploader": "the channel or person, as the site says",
    "source_description": "the description on the site",
    "licence": "the licence, as the site says",
    "site": "the name of the site",
}

FieldKind = Literal["number", "flag", "name", "names", "hdr"]


@dataclass(frozen=True)
class FieldSpec:
    """One field that conditions can check.

    Attributes:
        name: Canonical name of the field.
        kind: number, flag (true or false), name, names (one per stream or color) or hdr (a name, or true or false).
        meaning: Description for the documentation.
        unit: Unit of a number.
        aliases: Other names of the field.
        canonical: Returns the canonical spelling of a name.
        allowed: All values of a name, if they are few.
        ordered: Whether `allowed` is in ascending order, which _gt and the like compare by.
    """

    name: str
    kind: FieldKind
    meaning: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    canonical: Callable[[str], str] = names.plain
    allowed: tuple[str, ...] = ()
    ordered: bool = False

    @property
    def label(self) -> str:
        """The name in words, without its unit: `cuts per minute`, `duration`."""
        return self.name.removesuffix("_s").removesuffix("_bytes").removesuffix("_db").replace("_", " ")

    @property
    def operators(self) -> tuple[str, ...]:
        """The allowed suffixes of the name; "" is the bare name."""
        equality = ("", "_not", "_in")
        if self.kind == "flag":
            return equality[:2]
        return (*equality, "_gt", "_gte", "_lt", "_lte") if self.kind == "number" or self.ordered else equality


def _field(name: str, kind: FieldKind, meaning: str, unit: str = "", *aliases: str, **more: Any) -> FieldSpec:
    return FieldSpec(name, kind, meaning, unit, aliases, **more)


_SPECS = (
    _field("duration_s", "number", "length of the video", "s", "duration"),
    _field("size_bytes", "number", "size of the file", "bytes", "file_size", "size"),
    _field("bit_rate", "number", "of the whole file", "bits/s", "bitrate"),
    _field("container", "name", "format of the file", "", "format", canonical=names.container),
    _field("video_codec", "name", "ffmpeg's name of the video codec", "", "codec", canonical=names.codec),
    _field(
        "resolution", "name", "name of the picture's size", canonical=names.resolution,
        allowed=names.RESOLUTIONS, ordered=True,
    ),
    _field("width", "number", "as displayed", "px"),
    _field("height", "number", "as displayed", "px"),
    _field("aspect_ratio", "number", "width through height, as displayed"),
    _field("orientation", "name", "of the displayed picture", allowed=("landscape", "portrait", "square")),
    _field("rotation", "number", "clockwise turn for display: 0, 90, 180, 270", "degrees"),
    _field("frame_rate", "number", "average", "frames/s", "fps"),
    _field("variable_frame_rate", "flag", "the frames are not evenly spaced", "", "vfr"),
    _field("bit_depth", "number", "of the picture", "bits"),
    _field("hdr", "hdr", "name of the high dynamic range format, or whether there is one"),
    _field("year", "number", "of the creation time in the file", "", "created_year"),
    _field("has_audio", "flag", "there is an audio stream"),
    _field("audio_streams", "number", "how many"),
    _field("audio_codec", "names", "of any audio stream", canonical=names.codec),
    _field("audio_language", "names", "of any audio stream; eng, en, English", canonical=language_code),
    _field("channels", "number", "most channels of an audio stream"),
    _field("has_subtitles", "flag", "there is a subtitle stream"),
    _field("subtitle_language", "names", "of any subtitle stream", canonical=language_code),
    _field("scene_count", "number", "how many scenes were found", "", "scenes"),
    _field("cuts_per_minute", "number", "how often the picture is cut"),
    _field("mean_scene_s", "number", "mean length of a scene", "s"),
    _field("brightness", "number", "mean, 0 to 1"),
    _field("contrast", "number", "mean within a frame, 0 to 0.5"),
    _field("saturation", "number", "mean, 0 (grey) to 1"),
    _field("motion", "number", "mean change of the picture within 1/25 s, 0 to 1"),
    _field("dark_share", "number", "share of the picture that is dark, 0 to 1"),
    _field("colored_share", "number", "share of the time with visible colour anywhere, 0 to 1", "", "coloured_share"),
    _field("colorful_share", "number", "share of the time that is vivid, in three colours or more, 0 to 1", "",
           "colourful_share"),
    _field("moving_share", "number", "share of the time in which anything visibly moves, 0 to 1"),
    _field("loudness_db", "number", "mean level of the sound", "dBFS"),
    _field("silence_share", "number", "share of the time that is silent, 0 to 1"),
    _field("color", "names", f"colours that fill at least {COLOR_SHARE:.0%} of the picture", "", "colour",
           canonical=names.color),
    _field("damaged", "flag", "the decoder complained"),
    _field("truncated", "flag", "the file ends before the time that its header announces"),
    _field("label", "names", "any label from the list or user that added it", "", "labels",
           canonical=words.label_key),
    _field("sentiment", "name", "label of the sentiment stage",
           allowed=("positive", "neutral", "negative", "no basis")),
    _field("sentiment_score", "number", "-1 to 1"),
    # The fields of vidpipe's own analyses. Rules may name them whether or not the analysis is enabled, so that one file
    # of rules serves every library; the declaration of the analysis says where the values come from.
    _field("spoken_language", "names", "any language spoken", canonical=language_code),
    _field("speech_s", "number", "how long someone speaks in words that were understood", "s"),
    _field("music_s", "number", "how long there is music without speech", "s"),
    _field("screen_language", "names", "any language written on screen", canonical=language_code),
    _field("has_caption", "flag", "there are lines of text at the place of captions"),
    _field("has_title", "flag", "there is large text on screen"),
    _field("object", "names", "any object detected"),
    _field("face_count", "number", "most faces in one frame"),
    _field("face_share", "number", "share of the time with a face, 0 to 1"),
    _field("moderation_score", "number", "highest score for nudity of a scene, 0 to 1"),
    _field("language", "name", "language of most of what is described, said and written", canonical=language_code),
)  # fmt: skip


#: Canonical name -> field.
FIELDS: dict[str, FieldSpec] = {spec.name: spec for spec in _SPECS}

#: Canonical name or alias -> field.
FIELD_NAMES: dict[str, FieldSpec] = {name: spec for spec in FIELDS.values() for name in (spec.name, *spec.aliases)}

#: Fields that only rules of the full form check.
_LIST_SPECS = (
    _field("tags", "names", "any tag given by rules or people", canonical=words.tag_key),
    _field("model_tags", "names", "any of the model's own tags", canonical=words.tag_key),
    _field("objects", "names", "any object detected", canonical=words.tag_key),
    _field("category", "name", "the category that the model chose", canonical=words.label_key),
)
LIST_FIELDS: dict[str, FieldSpec] = {spec.name: spec for spec in _LIST_SPECS}

#: The texts of vidpipe's own analyses, which templates may use even if the analysis is disabled; rules ask for objects
#: by a block of their own.
TEXTS = ("speech", "screen_text", "objects")


@dataclass(frozen=True)
class Vocabulary:
    """What plugins add to the rule language; names that vidpipe uses itself are left out.

    Attributes:
        fields: Fields of metadata_conditions.
        texts: Names of texts.
        synonyms: Key of a synonym of a tag -> the tag to use; rule files add them.
    """

    fields: tuple[FieldSpec, ...] = ()
    texts: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def names(self) -> Mapping[str, FieldSpec]:
        """Name or alias -> field, vidpipe's own included."""
        return {name: spec for spec in self.fields for name in (spec.name, *spec.aliases)} | FIELD_NAMES

    @cached_property
    def list_fields(self) -> Mapping[str, FieldSpec]:
        """`LIST_FIELDS`, of which `tags` knows the synonyms."""
        key = words.tag_key
        tags = replace(LIST_FIELDS["tags"], canonical=lambda tag: key(self.synonyms.get(key(tag), tag)))
        return {**LIST_FIELDS, "tags": tags} if self.synonyms else LIST_FIELDS

    @cached_property
    def keyword_blocks(self) -> tuple[str, ...]:
        """Keys of the blocks that search the texts of one analysis each."""
        return tuple(f"{name}_keywords" for name in (*TEXTS[:2], *self.texts))


#: The rule language without plugins.
OWN_VOCABULARY = Vocabulary()
