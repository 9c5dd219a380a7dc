"""Hypothesis strategies: videos as MongoDB holds them, and queries with what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from vidpipe.search.fields import Fields, term_key
from vidpipe.search.query import And, Between, InState, Node, Not, Or, Term, Words
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library.sample_library import GRAPH

FIELDS = Fields(GRAPH)
#: Words with accents, capitals, joints, numbers and stems in common, in several languages and scripts.
WORDS = (
    "beach", "Beaches", "run", "running", "harbour", "a", "the", "été", "ete", "naïve", "Straße", "strasse", "Häuser",
    "Haus", "über", "mañana", "maisons", "close-up", "close", "up", "2019", "4k", "x264", "O'Brien", "長城", "城", "長",
    "東京タワー", "タ", "한국어", "ﬁre", "fire", "Ελλάδα", "дома", "snake_case", "HolidayTrip",
)  # fmt: skip
_TAGS = ("Beach", "Night-time", "close up", "Été", "4K", "長城", "C++")
_CATEGORIES = ("Nature", "Sports and games", "Unclassified")
_CODECS = ("h264", "hevc", "av1")
_SIZES = {"SD": (640, 360), "HD": (1280, 720), "Full HD": (1920, 1080), "4K": (3840, 2160)}
_LANGUAGES = (None, "und", "eng", "deu", "zho", "fra")
_DURATIONS = (0.0, 5.0, 30.0, 59.6, 60.0, 61.0, 3600.0)
_RATES = (24.0, 25.0, 29.97, 30.0, 60.0)
_DAYS = tuple(datetime(2026, month, 15, 12, tzinfo=UTC) for month in (9, 10, 11))
_SENTIMENTS = ("positive", "neutral", "negative", "no basis")
_TEXT_FIELDS = ("title", "file", "label", "said", "chapter", "description", "scene", "answer", "source", "tag")

words = st.sampled_from(WORDS)
texts = st.builds(lambda parts, joint: joint.join(parts), st.lists(words, max_size=5), st.sampled_from((" ", ", ")))
_names = st.builds(lambda parts, end: "_".join(parts) + end, st.lists(words, min_size=1, max_size=3), st.just(".mp4"))


def _spans(text: st.SearchStrategy[str], key: str, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Up to four texts with times, one after the other."""
    of_one = st.fixed_dictionaries({key: text, **more})
    return st.lists(of_one, max_size=4).map(
        lambda found: [{**one, "start_s": 2.0 * at, "end_s": 2.0 * at + 1.5} for at, one in enumerate(found)]
    )


@st.composite
def _metadata(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.sampled_from(sorted(_SIZES)))
    languages = [draw(st.sampled_from(_LANGUAGES)) for _ in range(2)]
    return {
        "title": draw(st.none() | texts),
        "cues": draw(_spans(texts, "text", stream=st.integers(1, 2))),
        "chapters": draw(_spans(st.none() | texts, "title")),
        "duration_s": draw(st.sampled_from(_DURATIONS)), "frame_rate": draw(st.sampled_from(_RATES)),
        "resolution": size, "width": _SIZES[size][0], "height": _SIZES[size][1],
        "video_codec": draw(st.sampled_from(_CODECS)),
        "subtitles": [{"index": index, "language": language} for index, language in enumerate(languages, 1)],
    }  # fmt: skip


@dataclass(frozen=True)
class StoredVideo:
    """A video's document without `_id`, and its scenes' documents without what ties them to the video."""

    document: dict[str, Any]
    scenes: list[dict[str, Any]]


@st.composite
def videos(draw: st.DrawFn) -> StoredVideo:
    """A video of which any stage may be missing or failed."""
    some_names, some_texts = st.lists(_names, max_size=2), st.lists(texts, max_size=2)
    facts = IngestFacts(
        path="data/media/x.mp4", size_bytes=1, modified_ns=1, names=tuple(draw(some_names)),
        urls=tuple(f"https://videos.example/{name}" for name in draw(some_names)),
        labels=tuple(dict.fromkeys(draw(st.lists(st.sampled_from(_TAGS), max_size=2)))), titles=tuple(draw(some_texts)),
    )  # fmt: skip
    document: dict[str, Any] = {"ingest": facts.model_dump(), "added_at": draw(st.sampled_from(_DAYS))}
    results: dict[str, st.SearchStrategy[Any]] = {
        "metadata": _metadata(),
        "scenes": st.fixed_dictionaries({"duration_s": st.sampled_from(_DURATIONS), "count": st.just(1)}),
        "description": st.fixed_dictionaries(
            {
                "text": texts, "summary": texts, "keywords": st.lists(words, max_size=2), "model": st.just("m"),
                "questions": st.lists(st.fixed_dictionaries({"value": st.none() | texts}), max_size=1),
            }
        ),
        "sentiment": st.fixed_dictionaries({"label": st.sampled_from(_SENTIMENTS)}),
        "tags": st.lists(st.sampled_from(_TAGS), max_size=3, unique=True).map(
            lambda tags: [{"tag": tag, "rule": tag.lower()} for tag in tags]
        ),
        "category": st.fixed_dictionaries({"category": st.sampled_from(_CATEGORIES)}),
    }  # fmt: skip
    for key, strategy in results.items():
        if draw(st.integers(0, 4)):  # seldom missing
            document[key] = draw(strategy)
    scenes = draw(_spans(texts, "description"))
    status = draw(st.sampled_from(("ok", "ok", "failed", "new")))
    document["stages"] = {
        stage.name: {"status": status, "ready": True, "stale": False, "spec": ""} for stage in GRAPH
    } | {"ingest": {"status": "ok"}}
    return StoredVideo(document, [{"index": index, **scene} for index, scene in enumerate(scenes)])


@dataclass(frozen=True)
class Asked:
    """A query and what it means.

    Attributes:
        text: As a user writes it.
        node: The conditions.
        binds: How tightly: 3 like a word, 2 like NOT, 1 like AND, 0 like OR.
    """

    text: str
    node: Node
    binds: int = 3

    def within(self, binds: int) -> str:
        """The text as a part of something that binds like `binds`."""
        return self.text if self.binds >= binds else f"({self.text})"


def _quoted(text: str) -> str:
    return f'"{text}"'


_plain_words = st.one_of(
    words.map(lambda word: Asked(word, Words(word))),
    words.map(lambda word: Asked(f"{word}*", Words(word, prefix=True))),
    st.lists(words, min_size=1, max_size=3).map(" ".join).map(lambda text: Asked(_quoted(text), Words(text))),
)


def _in_field(asked: Asked, field: str) -> Asked:
    return Asked(f"{field}:{asked.within(3)}", _with_field(asked.node, field))


def _with_field(node: Node, field: str) -> Node:
    match node:
        case Words():
            return replace(node, field=field, prefix=node.prefix or field == "source")  # part of a URL
        case And(parts) | Or(parts):
            return type(node)(tuple(_with_field(part, field) for part in parts))
        case Not(part):
            return Not(_with_field(part, field))
    return node


def _named(name: str, value: str) -> Asked:
    field = FIELDS.get(name)
    assert field
    return Asked(f"{name}:{_quoted(value)}", Term(name, term_key(field, value), value))


_names_of = {
    "tag": (*_TAGS, "night time", "BEACH"), "label": _TAGS, "category": (*_CATEGORIES, "nature"),
    "codec": (*_CODECS, "H.264"), "language": ("eng", "German", "zh"), "sentiment": _SENTIMENTS,
    "why": ("beach", "été"), "resolution": ("4k", "1080p", "sd", "1280x720", "full hd"),
}  # fmt: skip
_terms = st.sampled_from([(name, value) for name, values in _names_of.items() for value in values]).map(
    lambda found: _named(*found)
)


def _numbers(field: str, values: tuple[float, ...], half: float) -> st.SearchStrategy[Asked]:
    made: list[Callable[[float], Asked]] = [
        lambda number: Asked(f"{field}:>{number:g}", Between(field, number, with_low=False)),
        lambda number: Asked(f"{field}:>={number:g}", Between(field, number)),
        lambda number: Asked(f"{field}:<{number:g}", Between(field, high=number, with_high=False)),
        lambda number: Asked(f"{field}:<={number:g}", Between(field, high=number)),
        lambda number: Asked(f"{field}:{number:g}..", Between(field, number)),
        lambda number: Asked(f"{field}:{number:g}..5000", Between(field, number, 5000)),
        lambda number: Asked(f"{field}:{number:g}", Between(field, number - half, number + half, with_high=False)),
    ]
    return st.builds(lambda make, number: make(number), st.sampled_from(made), st.sampled_from(values))


_OCTOBER, _NOVEMBER = (datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (10, 11))
_dates = st.sampled_from(
    (
        Asked("added:2026-10", Between("added", _OCTOBER, _NOVEMBER, with_high=False)),
        Asked("added:>2026-10", Between("added", _NOVEMBER)),
        Asked("added:<2026-11", Between("added", high=_NOVEMBER, with_high=False)),
    )
)
_leaves = st.one_of(
    _plain_words,
    _plain_words,
    st.builds(_in_field, _plain_words, st.sampled_from(_TEXT_FIELDS).filter(lambda name: name not in _names_of)),
    _terms,
    _numbers("duration", (5, 30, 60, 3600), 0.5),
    _numbers("fps", (24, 25, 30), 0.5),
    _dates,
    st.sampled_from(("current", "due", "failed")).map(lambda state: Asked(f"state:{state}", InState(state))),
)


def _joined(parts: list[Asked], word: str, kind: type[And] | type[Or]) -> Asked:
    binds = 1 if kind is And else 0
    # A part of the same kind needs no brackets, but gets them: it is a part of its own.
    return Asked(word.join(part.within(binds + 1) for part in parts), kind(tuple(part.node for part in parts)), binds)


def _excluded(asked: Asked, word: str) -> Asked:
    return Asked(word + asked.within(2), Not(asked.node), 2)


def _combined(parts: st.SearchStrategy[Asked]) -> st.SearchStrategy[Asked]:
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        st.builds(_joined, several, st.sampled_from((" ", " AND ")), st.just(And)),
        st.builds(_joined, several, st.just(" OR "), st.just(Or)),
        st.builds(_excluded, parts, st.sampled_from(("-", "NOT "))),
    )


_within_field = st.recursive(_plain_words, _combined, max_leaves=3)
queries = st.one_of(
    st.just(Asked("", And())),
    st.recursive(
        _leaves | st.builds(_in_field, _within_field, st.sampled_from(("title", "description", "said"))),
        _combined,
        max_leaves=5,
    ),
)
