"""The facts of a video that rules can check, and the names of these fields."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from vidpipe.text import names, words
from vidpipe.text.names import language_code

#: Value of `hdr` for a picture of standard dynamic range.
STANDARD_RANGE = "none"

#: Minimum share of the picture of a color that counts as one of the video's colors.
COLOR_SHARE = 0.2


@dataclass(frozen=True)
class SeenObject:
    """One kind of object that was detected in a video.

    Attributes:
        label: Its name, as the detector spells it.
        count: Most of them in one frame.
        confidence: The highest.
        share: Share of the time, 0 to 1, during which it is seen.
        first_s: Time of the first frame with it, in seconds; None: not known.
    """

    label: str
    count: int
    confidence: float
    share: float
    first_s: float | None = None


class Judgement(NamedTuple):
    """What a person said of a tag.

    Attributes:
        tag: The tag.
        right: Whether it is right.
        says: Who said so and when, as a sentence.
    """

    tag: str
    right: bool
    says: str


@dataclass(kw_only=True, eq=False)
class RuleFacts:
    """Flat facts of one video or scene.

    Attributes:
        values: Field -> value of what conditions can check (see `FIELDS`). A condition on what is missing or None
            (unknown) never matches. Names are canonical (see `vidpipe.text.names`); a tuple has one name per stream or
            color and may be empty.
        description: Text of the describing model.
        subtitles: Text of all cues.
        title: The title in the file.
        model_tags: The describing model's own tags.
        names: All file names of the video.
        urls: All its URLs, each in decoded and encoded spelling.
        labels: Labels from the lists and users that added it, as written.
        source_titles: Titles from these, as written.
        tags: Tags given so far; this and the following are for categories only.
        tag_sources: Normalized tag -> the model's own tags from which a rule derived it.
        model_category: The category that the model chose.
        model_confidence: Its confidence.
        model_confidences: Key of a tag of the model -> its confidence, where the model states one.
        found: The texts that they found; those of an analysis that found none, or has no result, are not in it.
        examined: Names of the texts whose analysis has a result.
        objects: The objects that they detected; None: not known.
        answers: Id of a question -> the model's answer.
        source_data: What the sites of its sources say: uploader, description, licence, site.
        scenes: The facts of each scene, of its own where they are known, else of the video; None: not known.
        start_s: Start of a scene; None: these are the facts of a video.
        end_s: End of a scene.
        verdicts: What people said of its tags, by the tag's key.
        current_tags: Returns the keys of the tags given so far; rules that check `tags` are evaluated after those
            that give them.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    subtitles: str = ""
    title: str = ""
    model_tags: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    source_titles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tag_sources: Mapping[str, frozenset[str]] = field(default_factory=dict)
    model_category: str = ""
    model_confidence: float | None = None
    model_confidences: Mapping[str, float] = field(default_factory=dict)
    found: tuple[words.TimedText, ...] = ()
    examined: Collection[str] = ()
    objects: tuple[SeenObject, ...] | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    source_data: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scenes: tuple[RuleFacts, ...] | None = None
    start_s: float | None = None
    end_s: float | None = None
    verdicts: Mapping[str, Judgement] = field(default_factory=dict)
    current_tags: Callable[[], Collection[str]] = tuple

    def value(self, spec: FieldSpec) -> Any:
        """Return the value of a field; None: not known."""
        getter = _LISTS.get(spec.name)
        if getter is not None:
            return getter(self)
        return self._member(spec.name) if "." in spec.name else self.values.get(spec.name)

    def _member(self, name: str) -> Any:  # noqa: PLR0911 - one return per kind of field
        """Return a figure of a list or text ("objects.car.share", "speech.count"), or an answer; None: not known."""
        base, _, member = name.partition(".")
        label, _, figure = member.rpartition(".")
        if base == "answers" and member != "count":
            answer = self.answers.get(member)
            several = [answer] if isinstance(answer, str) else answer
            return tuple(str(one).casefold() for one in several) if isinstance(several, list | tuple) else answer
        if base == "model_tags" and label:
            absent = 0.0 if self.model_tags and label not in self.model_tag_words else None
            return self.model_confidences.get(label, absent)
        if base == "category":
            return self.model_confidence
        if base == "objects" and label:
            found = [seen for seen in self.objects or () if words.tag_key(seen.label) == label]
            return None if self.objects is None else max((getattr(seen, figure) for seen in found), default=0)
        if base in _LISTS:
            listed = _LISTS[base](self)
            return None if listed is None else len(listed)
        if base == "answers":
            return len(self.answers) or None
        texts = self.texts(base)
        return None if texts is None else sum(len(text.normal.split()) for text in texts)

    def texts(self, name: str) -> tuple[words.SearchedText, ...] | None:
        """Return the texts of a text field; None: not known, because its stage has no result."""
        found = self.known_texts(name)
        unknown = (
            (name in ("description", "answers") and not getattr(self, name))
            or (name == "speech" and not self.values.get("has_audio", True))
            or (name in _LISTS and _LISTS[name](self) is None)
            or not (found or name in _TEXTS or name in self.examined)
        )
        return None if unknown else found

    def known_texts(self, name: str) -> tuple[words.SearchedText, ...]:
        """Return the texts of a text field as far as they are known."""
        if name.startswith("answers."):
            answer = self.answers.get(name[8:])
            return () if answer is None else (words.SearchedText("answer", "the model answers", str(answer)),)
        return _TEXTS[name](self) if name in _TEXTS else self.texts_of(name)

    def _titled(self, *names: str) -> tuple[words.SearchedText, ...]:
        return tuple(text for text in self.spoken if text.name in names)

    def _stated(self, key: str, what: str) -> tuple[words.SearchedText, ...]:
        return tuple(words.SearchedText(what, f"the {what} says", text) for text in self.source_data.get(key, ()))

    def _named(self, what: str, found: Iterable[str]) -> tuple[words.SearchedText, ...]:
        return tuple(words.SearchedText(what, f"a {what} is", one) for one in found)

    def texts_of(self, name: str) -> tuple[words.SearchedText, ...]:
        """Return the texts that an analysis found under this name."""
        return tuple(text for text in self.found if text.name == name)

    @cached_property
    def described(self) -> tuple[words.SearchedText, ...]:
        """What `description_keywords` search; one object, so that it is normalized once for all rules."""
        return (words.SearchedText("description", "the description says", self.description),)

    @cached_property
    def spoken(self) -> tuple[words.SearchedText, ...]:
        """What `subtitle_keywords` search: subtitles, titles and recognized speech."""
        texts = (
            words.SearchedText("subtitles", "the subtitles say", self.subtitles),
            words.SearchedText("title", "the title says", self.title),
        )
        given = "\n".join(self.source_titles)
        listed = words.SearchedText("title from its list", "the title from its list or user says", given)
        return (*texts, *([listed] if given else []), *self.texts_of("speech"))

    @cached_property
    def any_text(self) -> tuple[words.SearchedText, ...]:
        """What `text_keywords` search: all that is said or written."""
        return (*self.spoken, *self.texts_of("screen_text"))

    @cached_property
    def label(self) -> tuple[str, ...]:
        """The keys by which labels are compared."""
        return tuple(words.label_key(label) for label in self.labels)

    @cached_property
    def tag_words(self) -> frozenset[str]:
        """The normalized tags."""
        return frozenset(words.normalize(tag).strip() for tag in self.tags)

    @cached_property
    def model_tag_words(self) -> frozenset[str]:
        """The model's own tags, normalized."""
        return frozenset(words.normalize(tag).strip() for tag in self.model_tags)


#: List fields, of rules of the full form only, and the label -> their value.
_LISTS: Mapping[str, Callable[[RuleFacts], Any]] = {
    "label": lambda facts: facts.label,
    "tags": lambda facts: facts.current_tags() or facts.tag_words,
    "model_tags": lambda facts: facts.model_tag_words or None,
    "objects": lambda facts: None if facts.objects is None else {words.tag_key(seen.label) for seen in facts.objects},
    "category": lambda facts: words.label_key(facts.model_category) or None,
}
#: Text field -> its texts; those that are not here are found by analyses.
_TEXTS: Mapping[str, Callable[[RuleFacts], tuple[words.SearchedText, ...]]] = {
    "description": lambda facts: facts.described,
    "subtitles": lambda facts: facts._titled("subtitles"),
    "title": lambda facts: facts._titled("title", "title from its list"),
    "said": lambda facts: facts.spoken,
    "text": lambda facts: facts.any_text,
    "file_name": lambda facts: tuple(words.SearchedText("file name", "the file name is", name) for name in facts.names),
    "source": lambda facts: tuple(words.SearchedText("address", "the address is", url) for url in facts.urls),
    "answers": lambda facts: tuple(words.SearchedText("answer", "the model answers", answer)
                                   for answer in facts.answers.values() if isinstance(answer, str)),
    "uploader": lambda facts: facts._stated("uploader", "name of the uploader"),
    "source_description": lambda facts: facts._stated("description", "description on the site"),
    "licence": lambda facts: facts._stated("licence", "licence"),
    "site": lambda facts: facts._stated("site", "name of the site"),
    "label": lambda facts: facts._named("label", facts.labels),
    "model_tags": lambda facts: facts._named("tag of the model", facts.model_tags),
    "objects": lambda facts: facts._named("object", [seen.label for seen in facts.objects or ()]),
    "category": lambda facts: facts._named("category", [facts.model_category] if facts.model_category else []),
}  # fmt: skip

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
        """The name in words: `cuts per minute`, `duration`."""
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

#: The texts of vidpipe's own analyses; rules ask for objects by a block of their own.
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
