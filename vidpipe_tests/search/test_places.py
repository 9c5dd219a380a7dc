"""Which places of a video are shown first, which are listed, and on which page, in a library of hand-made documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.search.engine import Engine, SearchPage
from vidpipe.search.index import SearchIndex
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library import sample_library


class Made:
    """A library whose videos are only documents."""

    def __init__(self, library: Library, index: SearchIndex) -> None:
        self._library = library
        self._index = index
        self._engine = Engine(library, {}, index)

    def add(self, number: int, *, title: str = "", cues: Sequence[str] = (), **values: Any) -> str:
        """Add or replace a video; its cues last a second each."""
        sha256 = sample_library.sha256_of(str(number))
        name = values.pop("name", f"clip{number}.mp4")
        url = values.pop("url", f"https://videos.example/{number}")
        facts = IngestFacts(
            path="x", size_bytes=1, modified_ns=1, names=(name,), urls=(url,), titles=(title,) if title else ()
        )
        (seq,) = Changes(self._library.collections).take()
        spoken = [{"stream": 1, "start_s": at, "end_s": at + 1.0, "text": text} for at, text in enumerate(cues)]
        metadata = {"cues": spoken, "subtitles": [{"index": 1, "language": "eng"}]}
        document = {
            "ingest": facts.model_dump(), "metadata": metadata, "stages": {}, "change_seq": seq,
            "added_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number), **values,
        }  # fmt: skip
        self._library.collections["videos"].replace_one({"_id": sha256}, document, upsert=True)
        return sha256

    def remove(self, sha256: str) -> None:
        Changes(self._library.collections).add_tombstone(sha256)
        self._library.collections["videos"].delete_one({"_id": sha256})

    def find(self, query: str = "", filters: Sequence[str] = (), **options: Any) -> SearchPage:
        self._index.refresh()
        return self._engine.find(query, filters, **options)


@pytest.fixture
def made(settings: Settings) -> Any:
    with Library.open(settings, sample_library.GRAPH) as library, SearchIndex.open(library) as index:
        yield Made(library, index)


def videos(page: SearchPage) -> list[str]:
    return [hit["video"] for hit in page.hits]


def best(page: SearchPage) -> tuple[str, float | None]:
    (hit,) = page.hits
    return hit["matched_in"], hit["start_s"]


def test_a_name_that_narrows_the_search_does_not_displace_the_place_of_a_word(made: Made) -> None:
    made.add(1, title="Night", cues=["hello", "the sea"], tags=[{"tag": "Night", "rule": "night"}])
    assert best(made.find("tag:night sea")) == ("said", 1.0)
    assert best(made.find("title:night sea")) == ("said", 1.0)
    assert best(made.find("source:videos.example sea")) == ("said", 1.0)
    assert best(made.find("tag:night said:hello")) == ("said", 0.0)
    assert best(made.find("tag:night")) == ("tag", None)
    assert best(made.find("night sea")) == ("tag", None)


def test_of_moments_the_one_with_the_most_different_words_is_best_then_the_earliest(made: Made) -> None:
    made.add(1, cues=["zebra", *["Zebra, zebra, zebra, zebra!"] * 9, "There is the zebra.", "zebra"])
    for number in range(2, 30):
        made.add(number, cues=["the end"])
    assert best(made.find("the zebra")) == ("said", 10.0)
    (hit,) = made.find("zebra zebra the").hits
    assert [match["start_s"] for match in hit["matches"]] == [10.0, 0.0, 1.0, 2.0, 3.0]
    (hit,) = made.find("zebra").hits
    assert [match["start_s"] for match in hit["matches"]] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_all_words_that_continue_the_last_one_of_a_phrase_are_found(made: Made) -> None:
    many = [f"la{first}{second}" for first in "abcdefgh" for second in "abcdefgh"]
    made.add(1, cues=[*many, "the lazy dog"])
    made.add(2, cues=["the dog"])
    page = made.find('"the la"*')
    assert best(page) == ("said", 64.0)
    (moment,) = made.find('"the la"*', moments=True).hits
    assert moment["text"] == "the lazy dog"


def test_without_words_only_videos_with_moments_are_listed_by_moments(made: Made) -> None:
    spoken = made.add(1, cues=["hello", "goodbye"])
    for number in range(2, 6):
        made.add(number, title="silent")
    for query in ("", "file:clip1", "-silent", "title:silent OR file:clip1"):
        page = made.find(query, moments=True, limit=2)
        assert (videos(page), page.total, page.next) == ([spoken] * 2, 1, None), query


def test_filters_neither_rank_nor_count_as_words(made: Made) -> None:
    first = made.add(1, url="https://videos.example/sea/sea/sea", title="Sea")
    second = made.add(2, url="https://videos.example/sea/a/b/c/d/e/f", title="Sea")
    assert videos(made.find("", ["source:sea"])) == [second, first]
    assert made.find("", ["source:sea"]).hits[0]["score"] is None
    scores = [hit["score"] for hit in made.find("sea", ["source:sea"]).hits]
    assert scores[0] == scores[1] == made.find("sea").hits[0]["score"]


@pytest.mark.parametrize("order", ["date", "duration", "name"])
def test_videos_that_do_not_change_are_on_one_page_whatever_else_does(made: Made, order: Any) -> None:
    kept = {made.add(number, title="sea", cues=["sea"] * 3, scenes={"duration_s": number % 7}) for number in range(200)}
    for moments in (False, True):
        seen, after, number = list[str](), None, 1000
        while True:
            page = made.find("sea", order=order, limit=31, after=after, facets=False, moments=moments)
            seen += videos(page)
            if page.next is None:
                break
            after = page.next
            for _ in range(2):
                number += 1
                made.add(number, title="sea", cues=["sea"], name=f"clip{number % 200}.mp4", scenes={"duration_s": 3})
            changing = page.hits[-1]["video"]
            if changing in kept:  # the page ends within its moments
                made.remove(changing)
                kept.remove(changing)
        assert sorted(video for video in seen if video in kept) == sorted([*kept] * (3 if moments else 1))


def test_by_relevance_pages_far_into_the_results_fit_together(made: Made) -> None:
    for number in range(220):
        made.add(number, title="sea " * (number % 3 + 1))
    everything = videos(made.find("sea", limit=0))
    seen, after = list[str](), None
    while True:
        page = made.find("sea", limit=23, after=after, facets=False)
        seen += videos(page)
        if page.next is None:
            break
        after = page.next
    assert seen == everything
    assert len(set(seen)) == 220


@pytest.mark.parametrize(
    ("query", "offered"),
    [
        ("lighthuose xqzzwq", "lighthouse xqzzwq"),
        ("xqzzwq lighthuose", "xqzzwq lighthouse"),
        ("lighthuose harbour", "lighthouse harbour"),
        ("lighthuose OR harbour", "lighthouse OR harbour"),
        ("lighthuose lighthuose", "lighthouse lighthouse"),
        ("title:lighthuose", "title:lighthouse"),
        ("title:hrabour", None),
        ("sceen: lighthouse", None),
        ("lighthuose codec:vp9", None),
        ('"old lighthuose" xqzzwq', '"old lighthouse" xqzzwq'),
    ],
)
def test_each_word_that_can_be_corrected_is(made: Made, query: str, offered: str | None) -> None:
    made.add(1, title="The old lighthouse")
    made.add(2, cues=["harbour", "a scene"], url="https://videos.example/lighthuose")
    assert made.find(query).did_you_mean == offered


def test_phrases_are_words_of_which_one_may_suffice(made: Made) -> None:
    first = made.add(1, title="The old lighthouse")
    made.add(2, title="The lighthouse is old")
    page = made.find('"old lighthouse" zeppelin')
    assert (page.matched, videos(page)) == ("any", [first])
    assert made.find('"old lighthouse" zeppelin (sea OR zeppelin)').total == 0
