"""A slow, simple reference: what a query finds, answered by reading every document of MongoDB.

It knows the fields and how texts become words, and nothing of the index, its documents or its queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidpipe.library.library import Library
from vidpipe.library.queries.show import overall_state
from vidpipe.search.fields import Fields, term_key
from vidpipe.search.query import And, Between, InState, Node, Not, Or, Term, Words, wanted
from vidpipe.stages.search_fields import Moment, SearchField
from vidpipe.text.stems import language_of, stems, tokens
from vidpipe.text.words import search_forms

MOMENT_FIELDS = ("said", "scene", "chapter", "screen")
#: Field, start_s, end_s.
Place = tuple[str, float, float]


@dataclass(frozen=True)
class Text:
    """A text of a video, or of a moment in it."""

    field: SearchField
    language: str
    stems: tuple[str, ...]
    moment: Moment | None = None

    def has(self, words: Words) -> bool:
        if not (self.field.name == words.field or (not words.field and self.field.weight)):
            return False
        looked_for = stems(words.text, self.language)
        written = tokens(words.text)
        for start in range(len(self.stems) - len(looked_for) + 1):
            *before, last = self.stems[start : start + len(looked_for)]
            if tuple(before) == looked_for[:-1] and (
                last == looked_for[-1] or (words.prefix and last.startswith(written[-1]))
            ):
                return True
        return False

    def has_all(self, node: Node) -> bool:
        """Whether it has the words that `node` wants of a moment."""
        match node:
            case Words():
                return self.has(node)
            case And(parts):
                return all(self.has_all(part) for part in parts if in_moments(part))
            case Or(parts):
                return any(self.has_all(part) for part in parts if in_moments(part))
        return False

    @property
    def place(self) -> Place:
        assert self.moment
        return self.field.name, self.moment.start_s, self.moment.end_s


def in_moments(node: Node) -> bool:
    """Whether it wants a word that a moment can have."""
    return any(isinstance(one, Words) and one.field in ("", *MOMENT_FIELDS) for one in wanted(node))


@dataclass
class Video:
    """What is known of a video."""

    sha256: str
    state: str
    texts: list[Text] = field(default_factory=list)
    terms: dict[str, set[str]] = field(default_factory=dict)
    facets: dict[str, set[str]] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)

    def matches(self, node: Node) -> bool:  # noqa: PLR0911 - one for each kind of condition
        match node:
            case Words():
                return any(text.has(node) for text in self.texts)
            case Term():
                return node.key in self.terms.get(node.field, ())
            case Between():
                return node.field in self.numbers and _within(self.numbers[node.field], node)
            case InState():
                return self.state == node.state
            case And():
                return all(map(self.matches, node.parts))
            case Or():
                return any(map(self.matches, node.parts))
            case Not():
                return not self.matches(node.part)

    def mentions(self, node: Node) -> bool:
        """Whether it has a wanted word or name, wherever."""
        return any(
            any(text.has(one) for text in self.texts) if isinstance(one, Words) else self.matches(one)
            for one in wanted(node)
        )

    def moments(self, node: Node) -> list[Place]:
        """Those in which a wanted word is."""
        words = [one for one in wanted(node) if isinstance(one, Words)]
        return [text.place for text in self.texts if text.moment and any(map(text.has, words))]

    def listed_moments(self, node: Node) -> list[Place]:
        """Those with all wanted words at once, else those with any; all, if no words that moments have are wanted."""
        timed = [text for text in self.texts if text.moment]
        together = [text.place for text in timed if text.has_all(node)]
        return together or (self.moments(node) if in_moments(node) else [text.place for text in timed])


@dataclass
class Found:
    """The answer to a query.

    Attributes:
        node: The query, as far as it was loosened to find anything.
        videos: sha256 -> video.
        facets: field -> value -> number of the videos.
        matched: "any" if no video has all words.
    """

    node: Node
    videos: dict[str, Video]
    facets: dict[str, dict[str, int]]
    matched: str


def find(library: Library, fields: Fields, specs: Mapping[str, str], node: Node, *filters: Node) -> Found:
    """Answer a parsed query from MongoDB's documents."""
    videos = [video for video in all_videos(library, fields, specs) if video.matches(And(filters))]
    found, matched = [video for video in videos if video.matches(node)], "all"
    if not found and (relaxed := any_words(node)):
        node = relaxed
        found, matched = [video for video in videos if video.matches(node)], "any"
    facets = {
        name: dict(Counter(value for video in found for value in video.facets.get(name, ()))) for name in fields.facets
    }
    return Found(node, {video.sha256: video for video in found}, facets, matched)


def any_words(node: Node) -> Node | None:
    """Return the query with any of the words at its top level instead of all; None if there are not several."""
    parts = node.parts if isinstance(node, And) else ()
    words = [part for part in parts if isinstance(part, Words) and not part.field]
    return And((Or(tuple(words)), *(part for part in parts if part not in words))) if len(words) > 1 else None


def all_videos(library: Library, fields: Fields, specs: Mapping[str, str]) -> Iterator[Video]:
    for document in library.collections["videos"].find():
        generation = document.get("scene_generation")
        of_video = {"video": document["_id"], "generation": generation}
        scenes = list(library.collections["scenes"].find(of_video).sort("index")) if generation else []
        yield _video(fields, document, scenes, overall_state(document, specs))


def _video(fields: Fields, document: Mapping[str, Any], scenes: Sequence[Mapping[str, Any]], state: str) -> Video:
    video = Video(document["_id"], state)
    for declared, stored in fields.values(document, scenes):
        values = list(stored)
        if declared.kind == "number":
            video.numbers.update((declared.name, float(value)) for value in values)
        elif declared.kind == "moments":
            video.texts += _moments(declared, values)
        elif declared.kind == "term":
            video.terms.setdefault(declared.name, set()).update(term_key(declared, name) for name in values)
            if declared.facet:
                video.facets.setdefault(declared.name, set()).update(values)
            if declared.weight:
                video.texts += _texts(declared, values, declared.language or "en")
        else:
            video.texts += _texts(declared, values, declared.language)
    return video


def _texts(declared: SearchField, values: Sequence[str], stated: str) -> Iterator[Text]:
    language = language_of(values, stated)
    forms: Sequence[str] = ()
    if declared.compound:
        forms = search_forms((), values) if declared.name == "file" else search_forms(values)
    for text in (*values, *forms):
        yield Text(declared, language, tuple(stems(text, language)))


def _moments(declared: SearchField, moments: Sequence[Moment]) -> Iterator[Text]:
    for moment in moments:
        language = language_of((one.text for one in moments if one.language == moment.language), moment.language)
        yield Text(declared, language, tuple(stems(moment.text, language)), moment)


def _within(number: float, bounds: Between) -> bool:
    above = bounds.low is None or number > bounds.low or (bounds.with_low and number == bounds.low)
    below = bounds.high is None or number < bounds.high or (bounds.with_high and number == bounds.high)
    return above and below
