"""Queries answered on the sample library: what is found, where in it, how often, in which order and on which page."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library.changes import Changes
from vidpipe.library.library import Library
from vidpipe.search.engine import Engine, SearchPage
from vidpipe.search.index import SearchIndex
from vidpipe.search.query import QueryError
from vidpipe.search.saved import SavedSearches
from vidpipe.settings import Settings
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.library import sample_library

HARBOUR, RACE, HOSTILE = (sample_library.sha256_of(name) for name in sample_library.CONTENTS)


def engine_of(library: Library) -> Engine:
    with SearchIndex.open(library) as index:
        return Engine(library, sample_library.plan_of(library).specs, index)


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, sample_library.GRAPH) as opened:
        sample_library.fill(opened)
        yield opened


@pytest.fixture(scope="module")
def engine(library: Library) -> Engine:
    """For tests that only ask."""
    return engine_of(library)


@pytest.fixture
def own_library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, sample_library.GRAPH) as opened:
        sample_library.fill(opened)
        yield opened


def found(page: SearchPage) -> list[str]:
    return [hit["video"] for hit in page.hits]


def shown(hit: dict[str, Any]) -> list[str]:
    return [hit["text"][start:end] for start, end in hit["highlights"]]


def test_the_more_relevant_video_comes_first(engine: Engine) -> None:
    page = engine.find("blue car")
    assert sorted(found(page)) == sorted([RACE, HOSTILE])
    assert page.hits[0]["score"] >= page.hits[1]["score"] > 0
    assert found(engine.find("car OR race"))[0] == RACE


@pytest.mark.parametrize(
    ("query", "field", "start_s", "highlights"),
    [
        ("lighthouse", "scene", 0.0, ["lighthouse"]),
        ("leaving", "scene", 200.0, ["leave"]),
        ("sailors", "said", 1.0, ["sailors"]),
        ("documentary", "category", None, ["Documentary"]),
        ("dawn", "title", None, ["dawn"]),
        ("night", "tag", None, ["Night"]),
        ("tag:night-time", "tag", None, ["Night-time"]),
        ("description:boats", "description", None, ["boats"]),
        ("file:harbour", "file", None, ["harbour"]),
        ("source:videos.example/harb", "source", None, ["videos.example/harbour"]),
    ],
)
def test_a_hit_says_what_matches_and_when(
    engine: Engine, query: str, field: str, start_s: float | None, highlights: Sequence[str]
) -> None:
    (hit,) = engine.find(query).hits
    assert (hit["video"], hit["matched_in"], hit["start_s"], shown(hit)) == (HARBOUR, field, start_s, highlights)


@pytest.mark.parametrize("query", ["motor", "grand", "prix", "2019", '"grand prix"', "GrandPrix_2019", 'label:"=1+1"'])
def test_labels_and_parts_of_compound_titles_are_found_and_shown(engine: Engine, query: str) -> None:
    (hit,) = engine.find(query).hits
    assert hit["video"] == RACE
    assert hit["matched_in"] in ("label", "title")
    assert shown(hit)


def test_the_best_match_has_the_most_different_words(engine: Engine) -> None:
    (hit,) = engine.find("documentary harbour lighthouse").hits
    assert (hit["matched_in"], shown(hit)) == ("scene", ["lighthouse", "harbour"])
    assert [match["matched_in"] for match in hit["matches"]][:3] == ["scene", "description", "category"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"red car"', [RACE]),
        ('"car red"', []),
        ("car -race", [HOSTILE]),
        ("car NOT (race OR parked)", []),
        ("-car", [HARBOUR]),
        ("lightho*", [HARBOUR]),
        ("over*", [RACE]),
        ('"fishing bo"*', [HARBOUR]),
        ("lighthouse OR parked", [HARBOUR, HOSTILE]),
        ("(lighthouse OR car) duration:>40", [HARBOUR, RACE]),
        ("tag:fast-PACED", [RACE]),
        ('tag:"High Resolution" tag:night-time', []),
        ("label:motor_sport", [RACE]),
        ("label:motor", []),
        ("category:(sports OR documentary)", [HARBOUR, RACE]),
        ("duration:45..50", [RACE]),
        ("resolution:UHD OR resolution:1080p", [HARBOUR, RACE]),
        ("resolution:640x360", [HOSTILE]),
        ("codec:H.265", [RACE]),
        ("sentiment:Positive", [HARBOUR]),
        ("why:night-time", [HARBOUR]),
        ("source:example/RACE", [RACE]),
        ("added:>2020", [HARBOUR, RACE, HOSTILE]),
        ("state:current", [HARBOUR, RACE, HOSTILE]),
        ("state:failed", []),
        ("-state:current", []),
        ("", [HARBOUR, RACE, HOSTILE]),
    ],
)
def test_conditions(engine: Engine, query: str, expected: list[str]) -> None:
    page = engine.find(query)
    assert sorted(found(page)) == sorted(expected)
    assert page.total == len(expected)
    assert (page.matched, page.next) == ("all", None)
    assert engine.ids(query) == sorted(expected)
    assert engine.ids("", [query]) == sorted(expected)


def test_states_are_those_of_today(own_library: Library) -> None:
    sample_library.put(own_library, sample_library.BROKEN)
    sample_library.fill(own_library, sample_library.BROKEN)
    sample_library.put(own_library, "new.mp4")
    engine = engine_of(own_library)
    for state in ("current", "due", "blocked", "failed", "quarantined"):
        page = engine.find(f"state:{state}")
        assert {hit["state"] for hit in page.hits} <= {state}
        everything = engine.find("").hits
        assert sorted(found(page)) == sorted(hit["video"] for hit in everything if hit["state"] == state)
    assert len(found(engine.find("state:failed"))) == 1
    assert len(found(engine.find("state:due"))) == 1


def test_any_word_suffices_where_no_video_has_all(engine: Engine) -> None:
    page = engine.find("lighthouse parked zebra")
    assert (sorted(found(page)), page.matched, page.total) == (sorted([HARBOUR, HOSTILE]), "any", 2)
    assert found(engine.find("lighthouse parked zebra -harbour")) == [HOSTILE]
    assert found(engine.find("lighthouse parked zebra", ["duration:>40"])) == [HARBOUR]
    assert engine.ids("lighthouse parked zebra") == []
    assert engine.find("zebra").matched == "all"


def test_values_are_counted_over_all_hits(engine: Engine) -> None:
    page = engine.find("car", limit=1)
    assert page.total == 2
    assert page.facets["tag"] == {"Fast-paced": 1, "High Resolution": 1, "Short Clip": 1}
    assert page.facets["codec"] == {"av1": 1, "hevc": 1}
    assert page.facets["label"] == {"=1+1": 1, "Motor sport": 1}
    assert engine.find("", limit=1).facets["category"] == {"Documentary": 1, "Sports": 1, "Unclassified": 1}
    assert engine.find("car", facets=False).facets == {}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("date", [HOSTILE, RACE, HARBOUR]),
        ("duration", [HARBOUR, RACE, HOSTILE]),
        ("name", [HARBOUR, RACE, HOSTILE]),
        ("relevance", [HOSTILE, RACE, HARBOUR]),
    ],
)
def test_orders(engine: Engine, order: Any, expected: list[str]) -> None:
    assert found(engine.find("", order=order)) == expected


@pytest.mark.parametrize("order", ["relevance", "date", "duration", "name"])
@pytest.mark.parametrize("query", ["", "car OR lighthouse", "example*"])
def test_pages_neither_repeat_nor_skip(engine: Engine, order: Any, query: str) -> None:
    everything = found(engine.find(query, order=order, limit=0))
    after, paged = None, []
    while True:
        page = engine.find(query, order=order, limit=1, after=after)
        paged += found(page)
        after = page.next
        if after is None:
            break
    assert paged == everything
    assert [found(engine.find(query, order=order, limit=1, offset=skip))[:1] for skip in range(3)] == [
        everything[skip : skip + 1] for skip in range(3)
    ]


@pytest.mark.parametrize("order", ["relevance", "date", "duration", "name"])
def test_pages_of_many_equal_videos(settings: Settings, order: Any) -> None:
    with Library.open(settings, sample_library.GRAPH) as library:
        for number in range(150):
            facts = IngestFacts(path="x", size_bytes=1, modified_ns=1, names=("same.mp4",), labels=(f"l{number % 2}",))
            library.videos.add(sample_library.sha256_of(str(number)), facts)
        library.collections["videos"].update_many({}, {"$set": {"added_at": datetime(2026, 1, 1, tzinfo=UTC)}})
        engine = engine_of(library)
        first = engine.find("same", order=order, limit=40)
        paged, following = found(first), first.next
        while following:
            page = engine.find("same", order=order, limit=40, after=following)
            paged, following = paged + found(page), page.next
        assert len(paged) == len(set(paged)) == first.total == 150
        assert first.facets["label"] == {"l0": 75, "l1": 75}
        assert found(engine.find("same", order=order, limit=10, offset=100)) == paged[100:110]
        skipped = engine.find("same", order=order, limit=10, offset=100)
        assert found(engine.find("same", order=order, limit=10, after=skipped.next)) == paged[110:120]
        assert engine.ids("same") == sorted(paged)


@pytest.mark.parametrize("wrong", ["", "x", "e30", "W10", "WyJkYXRlIiwgWzEsIDJdLCAiYSIsIDEsIDFd", "é", "[" * 5000])
def test_a_page_cannot_begin_anywhere(engine: Engine, wrong: str) -> None:
    with pytest.raises(SettingsError, match="not from a page"):
        engine.find("car", after=wrong or "A")


@pytest.mark.parametrize(
    "made",
    [
        *('["relevance", [false, -1.5], 1, 1.5, 0]', '["relevance", [false, -1.5], Infinity, 1, 1]'),
        *(
            '["relevance", {"a": 1}, 1, 1, 1]',
            '["relevance", [false, 1e999], 1, 1, NaN]',
            '["relevance", [1], 1, 1, 1]',
        ),
        *(
            '["relevance", [false, NaN], 1, 1, 1]',
            f'["relevance", [false, 1{"0" * 999}], 1, 1, 1]',
            '{"order": "name"}',
        ),
        *(
            '["relevance", null, 1, 1, 1e3, 7]',
            '["relevance", [true, "x"], 1, 1, 1]',
            '["relevance", null, -1, -1, -1]',
        ),
        '["relevance", [false, 0], 99999999999999999999999999, 99999999999999999999999999, 99999999999999999999999999]',
    ],
)
@pytest.mark.parametrize("moments", [False, True])
def test_a_forged_cursor_is_refused_or_the_beginning_of_some_page(engine: Engine, made: str, moments: bool) -> None:
    forged = base64.urlsafe_b64encode(made.encode()).decode().rstrip("=")
    with contextlib.suppress(SettingsError):
        assert set(found(engine.find("car", after=forged, moments=moments))) <= {RACE, HOSTILE}


def test_the_next_of_another_order_is_refused(engine: Engine) -> None:
    following = engine.find("", order="name", limit=1).next
    with pytest.raises(SettingsError, match="not from a page"):
        engine.find("", order="date", after=following)


def test_moments_are_listed_by_video_and_time(engine: Engine) -> None:
    page = engine.find("harbour OR boats OR sailors", moments=True)
    assert [(hit["video"], hit["matched_in"], hit["start_s"]) for hit in page.hits] == [
        (HARBOUR, "scene", 0.0), (HARBOUR, "said", 1.0), (HARBOUR, "scene", 200.0),
    ]  # fmt: skip
    assert page.total == 1
    everything = engine.find("", moments=True, order="duration").hits
    assert [hit["video"] for hit in everything] == [HARBOUR, HARBOUR, HARBOUR, RACE, HOSTILE]
    assert everything[1]["text"] == "Good morning, sailors"


def test_of_moments_those_with_all_words_are_listed_if_there_are_any(engine: Engine) -> None:
    assert [hit["start_s"] for hit in engine.find("lighthouse harbour", moments=True).hits] == [0.0]
    assert [hit["start_s"] for hit in engine.find("lighthouse boats", moments=True).hits] == [0.0, 200.0]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_of_moments_end_within_a_video(engine: Engine, limit: int) -> None:
    whole = [(hit["video"], hit["start_s"], hit["text"]) for hit in engine.find("", moments=True, limit=0).hits]
    after, paged = None, []
    while True:
        page = engine.find("", moments=True, limit=limit, after=after)
        paged += [(hit["video"], hit["start_s"], hit["text"]) for hit in page.hits]
        after = page.next
        if after is None:
            break
    assert paged == whole


@pytest.mark.parametrize(
    ("query", "offered"),
    [
        ("lighthuose", "lighthouse"),
        ("-race lighthuose", "-race lighthouse"),
        ('"fishing baots"', '"fishing boats"'),
        ("description:harbur", "description:harbour"),
        ("teh lighthouse", "the lighthouse"),
        ("lighthouse", None),
        ("xylophone", None),
    ],
)
def test_typing_errors_are_offered_not_applied(engine: Engine, query: str, offered: str | None) -> None:
    page = engine.find(query)
    assert page.did_you_mean == offered
    assert not offered or page.total == 0 or page.matched == "any"


def test_saved_searches_are_part_of_queries(own_library: Library) -> None:
    engine = engine_of(own_library)
    with SearchIndex.open(own_library) as index:
        SavedSearches(own_library.collections).save("cars", "car -race", index.fields)
    assert found(engine.find("saved:cars")) == [HOSTILE]
    with pytest.raises(QueryError, match="no saved search"):
        engine.find("saved:other")


def test_a_field_that_nothing_fills_is_mentioned(engine: Engine) -> None:
    assert "screen" in engine.find("screen:exit").notes[0]
    assert engine.find("exit").notes == []


def test_a_video_that_was_deleted_meanwhile_is_no_hit(own_library: Library) -> None:
    engine = engine_of(own_library)
    own_library.collections["videos"].delete_one({"_id": RACE})
    assert found(engine.find("car")) == [HOSTILE]
    assert RACE not in found(engine.find("", moments=True))


def test_hostile_texts_are_found_and_shown_in_part(own_library: Library) -> None:
    texts = {
        "word": "x" * 1_000_000, "marks": "a" + "\u0301" * 300_000, "many": "zebra " * 200_000, "cjk": "日本" * 200_000,
        "late": "y " * 200_000 + "quagga",
    }  # fmt: skip
    for name, text in texts.items():
        document = {"description.text": text, "description.summary": f"okapi{name}"}
        own_library.collections["videos"].update_one({"_id": RACE}, {"$set": document})
        own_library.collections["videos"].update_one(
            {"_id": RACE}, {"$set": {"change_seq": Changes(own_library.collections).take()[0]}}
        )
        engine = engine_of(own_library)
        assert found(engine.find(f"okapi{name}")) == [RACE]
        for query in (text[:400].split()[0], "zebra", "日本", "quagga"):
            for hit in engine.find(query).hits:
                assert all(len(match["text"]) <= 400 for match in hit["matches"])


@pytest.mark.parametrize(
    "hostile",
    [
        '{"$gt": ""}', "$where", ".*", "\\", "\0zz\0", "[a-", "x" * 5000, "a*", "x" * 9000 + "*", "\U0001f600",
        " OR ".join(f"w{number}" for number in range(400)), " ".join(f"w{number}" for number in range(400)),
        " OR ".join(f"w{number}*" for number in range(300)), '"' + "the " * 2000 + '"', "(" * 40 + "a" + ")" * 40,
        "tag:" + "x" * 9000, "tag:\0", "NOT " * 100 + "a", "\u0301" * 5000 + "a", "日" * 3000,
    ],
)  # fmt: skip
def test_hostile_queries_are_only_queries(engine: Engine, hostile: str) -> None:
    for moments in (False, True):
        with contextlib.suppress(QueryError):
            assert set(found(engine.find(hostile, moments=moments))) <= {HARBOUR, RACE, HOSTILE}


@pytest.mark.parametrize("moments", [False, True])
def test_hits_that_were_deleted_meanwhile_are_left_out(own_library: Library, moments: bool) -> None:
    engine = engine_of(own_library)
    own_library.collections["videos"].delete_many({})  # the engine's index still has them
    page = engine.find("car", limit=1, moments=moments)
    seen = [page.next]
    while page.next:
        assert page.hits == []
        page = engine.find("car", limit=1, moments=moments, after=page.next)
        assert page.next not in seen, "it would never end"
        seen.append(page.next)
    assert page.hits == []


def test_a_selection_is_never_out_of_date(own_library: Library) -> None:
    with SearchIndex.open(own_library) as index:
        engine = Engine(own_library, sample_library.plan_of(own_library).specs, index)
        index.behind = 1  # another process has been writing it for long
        assert found(engine.find("lighthouse")) == [HARBOUR]
        with pytest.raises(UnavailableError, match="missing the changes to 1 video"):
            engine.ids("lighthouse")
        assert engine.ids("lighthouse", stale=True) == [HARBOUR]
