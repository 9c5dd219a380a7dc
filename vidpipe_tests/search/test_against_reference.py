"""What the engine finds is what a slow reference finds by reading every document, whatever was changed in between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.search.engine import Engine
from vidpipe.search.grammar import parse
from vidpipe.search.index import SearchIndex
from vidpipe.search.pages import Order
from vidpipe.search.query import And, Node, Not, Or, Term, Words, wanted
from vidpipe.settings import Settings
from vidpipe.text.stems import LANGUAGES, composed, stems, tokens, words_in
from vidpipe_tests.library.sample_library import GRAPH, plan_of
from vidpipe_tests.search import reference
from vidpipe_tests.search.strategies import FIELDS, Asked, StoredVideo, queries, videos

_MOST_VIDEOS = 6
_QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
_LONG = settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Question:
    """What the engine is asked."""

    query: Asked
    filters: tuple[Asked, ...]
    order: Order
    limit: int


@dataclass(frozen=True)
class Change:
    """What happens to the video with this number.

    Attributes:
        number: The number.
        video: What is stored; None: it is deleted.
        late: It becomes visible only after the next questions, with a number taken before them.
    """

    number: int
    video: StoredVideo | None
    late: bool


class Searched:
    """A library whose videos are replaced, with the engine that searches it."""

    def __init__(self, library: Library, indexes: Sequence[SearchIndex]) -> None:
        self._library = library
        self._changes = Changes(library.collections)
        self.specs = plan_of(library).specs
        self._readers = cycle([(index, Engine(library, self.specs, index)) for index in indexes])

    def numbered(self, changes: Iterable[Change]) -> list[tuple[Change, int]]:
        """Take the numbers of changes."""
        return [(change, *self._changes.take()) for change in changes]

    def put(self, number: int, video: StoredVideo, seq: int) -> None:
        """Add or replace the video with this number; its scenes are of a new generation."""
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        generation = f"{seq:016d}"
        rows = [
            {**scene, "_id": f"{sha256}:{generation}:{scene['index']:05d}", "video": sha256, "generation": generation}
            for scene in video.scenes
        ]
        stages = {name: {**entry, "spec": self.specs.get(name, "")} for name, entry in video.document["stages"].items()}
        document = {**video.document, "stages": stages, "scene_generation": generation, "change_seq": seq}
        if rows:
            self._library.collections["scenes"].insert_many(rows)
        self._library.collections["videos"].replace_one({"_id": sha256}, document, upsert=True)

    def remove(self, number: int) -> None:
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        self._changes.add_tombstone(sha256)
        self._library.collections["videos"].delete_one({"_id": sha256})

    def make(self, changes: Iterable[tuple[Change, int]]) -> None:
        for change, seq in changes:
            if change.video is None:
                self.remove(change.number)
            else:
                self.put(change.number, change.video, seq)

    def replace_all(self, stored: Sequence[StoredVideo]) -> None:
        some = [*stored, *[None] * (_MOST_VIDEOS - len(stored))]
        self.make(self.numbered(Change(number, video, late=False) for number, video in enumerate(some)))

    def check(self, question: Question) -> None:
        """Compare the answer of one of the engines with the reference's."""
        index, self._engine = next(self._readers)
        index.refresh()
        asked, order, limit = question.query, question.order, question.limit
        filters = [one.text for one in question.filters]
        parsed = [parse(text, FIELDS) for text in (asked.text, *filters)]
        assert list(map(_meaning, parsed)) == [_meaning(one.node) for one in (asked, *question.filters)]
        expected = reference.find(self._library, FIELDS, self.specs, *parsed)
        page = self._engine.find(asked.text, filters, order=order, limit=limit)
        assert (page.matched, page.total) == (expected.matched, len(expected.videos))
        assert {name: counts for name, counts in page.facets.items() if counts} == {
            name: counts for name, counts in expected.facets.items() if counts
        }
        hits = self._all_hits(asked.text, filters, limit, order=order)
        ids = [hit["video"] for hit in hits]
        assert sorted(ids) == sorted(expected.videos)
        assert self._engine.ids(asked.text, filters) == (sorted(ids) if expected.matched == "all" else [])
        _check_order(hits, order)
        for hit in hits:
            _check_matches(hit, expected.videos[hit["video"]], expected.node)
        of_moments = self._all_hits(asked.text, filters, limit, order=order, moments=True)
        assert sorted((hit["video"], *_place(hit)) for hit in of_moments) == sorted(
            (sha256, *place)
            for sha256, video in expected.videos.items()
            for place in video.listed_moments(expected.node)
        )

    def _all_hits(self, text: str, filters: Sequence[str], limit: int, **options: Any) -> list[dict[str, Any]]:
        hits, after = [], None
        while True:
            page = self._engine.find(text, filters, limit=limit, after=after, facets=False, **options)
            assert len(page.hits) <= limit
            hits += page.hits
            if page.next is None:
                return hits
            after = page.next


def _meaning(node: Node) -> Node:
    """The conditions without the places where they were written; excluding twice is as good as not at all."""
    match node:
        case Words():
            return replace(node, start=0, end=0)
        case And(parts) | Or(parts):
            return type(node)(tuple(map(_meaning, parts)))
        case Not(Not(part)):
            return _meaning(part)
        case Not(part):
            return Not(_meaning(part))
    return node


def _check_order(hits: Sequence[dict[str, Any]], order: Order) -> None:
    if order == "date":
        dates = [hit["added_at"] for hit in hits]
        assert dates == sorted(dates, reverse=True)
    elif order == "duration":
        known = [hit["duration_s"] for hit in hits if hit["duration_s"]]
        assert known == sorted(known, reverse=True)
    elif order == "name":
        names = [" ".join(tokens(hit["name"])) for hit in hits]
        assert names == sorted(names)


def _place(match: dict[str, Any]) -> reference.Place:
    return match["matched_in"], match["start_s"], match["end_s"]


def _check_matches(hit: dict[str, Any], video: reference.Video, node: Node) -> None:
    """Every match with a time is one of the reference's moments, and what is highlighted in it is wanted."""
    matches = hit["matches"]
    assert bool(matches) == video.mentions(node)
    assert {_place(match) for match in matches if match["start_s"] is not None} <= set(video.moments(node))
    if matches:
        assert {key: hit[key] for key in matches[0]} == matches[0]
    for match in matches:
        for start, end in match["highlights"]:
            assert 0 <= start < end <= len(match["text"])
            assert any(_says(match, match["text"][start:end], one) for one in wanted(node))


def _says(match: dict[str, Any], text: str, one: Words | Term) -> bool:
    """Whether `text` is what is wanted, in whatever language."""
    if isinstance(one, Term):
        return bool(match["matched_in"] == one.field and text == match["text"])
    for language in LANGUAGES:
        found = [word.stem for word in words_in(composed(text), language)]
        looked_for = stems(one.text, language)
        if any(stem in looked_for or (one.prefix and stem.startswith(tokens(one.text)[-1])) for stem in found):
            return True
    return False


@pytest.fixture(scope="module")
def searched(module_settings: Settings) -> Iterator[Searched]:
    with Library.open(module_settings, GRAPH) as library, ExitStack() as opened:
        yield Searched(library, [opened.enter_context(SearchIndex.open(library)) for _ in range(2)])


_questions = st.lists(
    st.builds(
        Question, queries, st.lists(queries, max_size=1).map(tuple), st.sampled_from(get_args(Order)), st.integers(1, 4)
    ),
    min_size=1,
    max_size=4,
)
_libraries = st.tuples(st.lists(videos(), min_size=1, max_size=_MOST_VIDEOS), _questions)
_changes = st.builds(
    Change, st.integers(0, _MOST_VIDEOS - 1), st.one_of(videos(), videos(), st.none()), late=st.booleans()
)
_steps = st.lists(st.tuples(st.lists(_changes, max_size=3), _questions), max_size=4)


def _of_a_library(searched: Searched, stored: Sequence[StoredVideo], questions: Sequence[Question]) -> None:
    searched.replace_all(stored)
    for question in questions:
        searched.check(question)


def _of_changes(searched: Searched, steps: Sequence[tuple[Sequence[Change], Sequence[Question]]]) -> None:
    searched.replace_all([])
    late: list[tuple[Change, int]] = []
    for changes, questions in steps:
        numbered = searched.numbered(changes)
        searched.make([*(one for one in numbered if not one[0].late), *late])
        late = [one for one in numbered if one[0].late]
        for question in questions:
            searched.check(question)


@_QUICK
@given(example=_libraries)
def test_the_engine_finds_what_the_reference_finds(searched: Searched, example: Any) -> None:
    _of_a_library(searched, *example)


@_QUICK
@given(steps=_steps)
def test_videos_may_be_added_changed_and_removed_between_queries(searched: Searched, steps: Any) -> None:
    _of_changes(searched, steps)


@pytest.mark.soak
@_LONG
@given(example=_libraries)
def test_the_engine_finds_what_the_reference_finds_in_many_examples(searched: Searched, example: Any) -> None:
    _of_a_library(searched, *example)


@pytest.mark.soak
@_LONG
@given(steps=_steps)
def test_many_sequences_of_changes_and_queries(searched: Searched, steps: Any) -> None:
    _of_changes(searched, steps)
