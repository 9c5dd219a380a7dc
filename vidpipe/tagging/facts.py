"""The facts of a video or scene that rules check."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from vidpipe.tagging.fields import FieldSpec  # older plugins import it from here
from vidpipe.text import words


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
    scenes: "tuple[RuleFacts, ...] | None" = None
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
