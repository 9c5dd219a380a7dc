"""Saved searches: stored by name, checked before, and part of other queries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.search.fields import Fields
from vidpipe.search.grammar import parse
from vidpipe.search.query import And, QueryError, Term, Words
from vidpipe.search.saved import SavedSearches
from vidpipe.settings import Settings
from vidpipe_tests.default_graph import GRAPH

FIELDS = Fields(GRAPH)


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, GRAPH) as library:
        yield library


@pytest.fixture
def searches(library: Library) -> SavedSearches:
    library.collections["searches"].delete_many({})
    return SavedSearches(library.collections)


def test_a_search_is_saved_listed_used_replaced_and_deleted(searches: SavedSearches) -> None:
    assert searches.get("night") is None
    assert searches.all() == []
    searches.save("night", "tag:night -drone", FIELDS)
    searches.save("Été_2026.v-1", 'title:"été"', FIELDS)
    assert [saved.name for saved in searches.all()] == ["night", "Été_2026.v-1"]
    assert abs(datetime.now(UTC) - searches.all()[0].saved_at.replace(tzinfo=UTC)) < timedelta(minutes=5)
    assert parse("saved:Été_2026.v-1 x", FIELDS, searches) == And(
        (Words("été", "title"), Words("x", "", False, 19, 20))
    )
    searches.save("night", "tag:dark", FIELDS)
    assert searches.get("night") == "tag:dark"
    assert parse("saved:night", FIELDS, searches) == Term("tag", "dark", "dark")
    assert searches.delete("night")
    assert not searches.delete("night")
    assert [saved.name for saved in searches.all()] == ["Été_2026.v-1"]


@pytest.mark.parametrize("name", ["", "a b", "a:b", 'a"', "a/b", "$x", "a\n", "\ud800", "a" * 101, "(a)"])
def test_names_that_a_query_could_not_contain_are_refused(searches: SavedSearches, name: str) -> None:
    with pytest.raises(VidpipeError, match="cannot be the name") as caught:
        searches.save(name, "x", FIELDS)
    assert caught.value.exit_code == 2
    assert searches.all() == []


@pytest.mark.parametrize("query", ["(a", "tga:x", "saved:nope", "a\ud800"])
def test_what_is_no_query_is_not_stored(searches: SavedSearches, query: str) -> None:
    with pytest.raises(QueryError):
        searches.save("x", query, FIELDS)
    assert searches.get("x") is None


@pytest.mark.parametrize("query", ["", "  "])
def test_an_empty_query_is_not_stored(searches: SavedSearches, query: str) -> None:
    with pytest.raises(VidpipeError, match="no search to save") as caught:
        searches.save("x", query, FIELDS)
    assert caught.value.exit_code == 2
    assert searches.get("x") is None


def test_an_unknown_name_is_an_error_that_suggests_a_similar_one(searches: SavedSearches) -> None:
    for name in ("holiday-2026", "cats"):
        searches.save(name, "x", FIELDS)
    with pytest.raises(QueryError, match='no saved search "holidays-2026"; did you mean "holiday-2026"') as caught:
        parse("a saved:holidays-2026", FIELDS, searches)
    assert caught.value.position == 8
    assert "vidpipe search --saved" in caught.value.hint


def test_a_search_cannot_contain_itself(searches: SavedSearches) -> None:
    with pytest.raises(QueryError, match="contains itself"):
        searches.save("a", "x saved:a", FIELDS)
    searches.save("a", "x", FIELDS)
    searches.save("b", "y OR saved:a", FIELDS)
    searches.save("c", "z saved:b", FIELDS)
    with pytest.raises(QueryError, match="contains itself") as caught:
        searches.save("a", "w saved:c", FIELDS)
    assert caught.value.position == 8
    assert searches.get("a") == "x"


def test_a_search_whose_part_was_deleted_says_so(searches: SavedSearches) -> None:
    searches.save("a", "x", FIELDS)
    searches.save("b", "saved:a", FIELDS)
    searches.delete("a")
    with pytest.raises(QueryError, match='In the saved search "b": There is no saved search "a"'):
        parse("saved:b", FIELDS, searches)
