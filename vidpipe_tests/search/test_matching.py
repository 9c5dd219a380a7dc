"""Where texts match, and what is shown of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.search.matching import CONTEXT, MatchedText, Matcher
from vidpipe.search.query import Term, Words
from vidpipe.stages.search_fields import SearchField
from vidpipe.text.stems import PLAIN, composed

DESCRIPTION = SearchField("description", "text", lambda result: (), "", weight=4)
TITLE = SearchField("title", "text", lambda result: (), "", weight=8, compound=True)
SOURCE = SearchField("source", "text", lambda result: (), "", weight=0)
TAG = SearchField("tag", "term", lambda result: (), "", weight=10)


def match(
    text: str, *wanted: Words | Term, field: SearchField = DESCRIPTION, language: str = "eng"
) -> MatchedText | None:
    return Matcher(wanted).match(field, text, language)


def highlighted(found: MatchedText | None) -> list[str]:
    return [found.text[start:end] for start, end in found.highlights] if found else []


@pytest.mark.parametrize(
    ("text", "words", "language", "highlights"),
    [
        ("Boats leave the harbour.", Words("leaving boat"), "eng", []),
        ("Boats leave the harbour.", Words("boat leaving"), "eng", ["Boats leave"]),
        ("A CAF\u00c9 at night", Words("cafe"), "eng", ["CAF\u00c9"]),
        ("A cafe\u0301 at night", Words("caf\u00e9"), "eng", ["caf\u00e9"]),
        ("Close-up of close up", Words("close-up"), "eng", ["Close-up", "close up"]),
        ("Die H\u00e4user am Meer", Words("haus"), "deu", ["H\u00e4user"]),
        ("Die H\u00e4user am Meer", Words("haus"), PLAIN, []),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", Words("\u30bf\u30ef\u30fc"), PLAIN, ["\u30bf\u30ef\u30fc"]),
        ("A lighthouse, lights", Words("light", prefix=True), "eng", ["lighthouse", "lights"]),
        ("red carpet, red rose", Words("red car", prefix=True), "eng", ["red carpet"]),
        ("running", Words("runni", prefix=True), "eng", []),  # the index has "run"
        ("running", Words("running", prefix=True), "eng", ["running"]),
        ("red red red", Words("red red"), "eng", ["red red red"]),
        ("", Words("red"), "eng", []),
        ("The news of a new day", Words("new"), "eng", ["new"]),
        ("Kinder am Kinderspielplatz", Words("kind"), "deu", ["Kinder"]),
        ("Kinder am Kinderspielplatz", Words("kinder", prefix=True), "deu", ["Kinder", "Kinderspielplatz"]),
        ("ハハとパパ", Words("パパ"), PLAIN, ["パパ"]),
        ("हिन्दी किताब", Words("हनद"), PLAIN, []),
    ],
)
def test_words(text: str, words: Words, language: str, highlights: list[str]) -> None:
    assert highlighted(match(text, words, language=language)) == highlights


@pytest.mark.parametrize(
    ("text", "words", "highlights"),
    [
        ("MyHoliday2019_v2", "holiday", ["Holiday"]),
        ("MyHoliday2019_v2", "my holiday 2019", ["MyHoliday2019"]),
        ("MyHoliday2019_v2", "2019", ["2019"]),
        ("MyHoliday2019_v2", "v2", ["v2"]),
        ("HDVideo", "video", ["Video"]),
        ("holiday", "day", []),
    ],
)
def test_parts_of_compound_words(text: str, words: str, highlights: list[str]) -> None:
    assert highlighted(match(text, Words(words), field=TITLE)) == highlights


def test_names_match_as_a_whole_and_words_within_them() -> None:
    assert highlighted(match("Golden Hour", Term("tag", "golden hour", "golden-hour"), field=TAG)) == ["Golden Hour"]
    assert match("Golden Hours", Term("tag", "golden hour", "golden-hour"), field=TAG) is None
    assert highlighted(match("Golden Hour", Words("hours"), field=TAG)) == ["Hour"]
    assert match("Golden Hour", Term("category", "golden hour", "golden hour"), field=TAG) is None


def test_words_match_in_their_field_or_wherever_words_are_searched() -> None:
    assert match("a harbour", Words("harbour", "title")) is None
    assert match("a harbour", Words("harbour", "description")) is not None
    assert match("a harbour", Words("harbour"), field=SOURCE) is None
    assert match("a harbour", Words("harbour", "source"), field=SOURCE) is not None


def test_a_word_says_more_than_a_name_that_was_asked_for() -> None:
    wanted = (Term("tag", "night", "Night"), Words("sunset", "title"), Words("sea"))
    matcher = Matcher(wanted)
    found = [
        matcher.match(TAG, "Night", "eng"),
        matcher.match(TITLE, "Sunset", "eng"),
        matcher.match(DESCRIPTION, "By the sea", "eng"),
        matcher.match(DESCRIPTION, "The sea", "eng", 5.0, 9.0),
    ]
    ranked = sorted((one for one in found if one), key=lambda one: one.rank)
    assert [(one.field, one.start_s) for one in ranked] == [
        ("description", 5.0), ("description", None), ("tag", None), ("title", None),
    ]  # fmt: skip


def test_the_words_around_the_most_different_matches_are_shown() -> None:
    text = "A boat. " + "Nothing is here. " * 30 + "A red boat in the harbour. " + "Nothing is here. " * 30
    found = match(text, Words("boat"), Words("harbour"), Words("red"), Words("boats"))
    assert found is not None
    assert highlighted(found) == ["red", "boat", "harbour"]
    assert found.different == 4
    assert (found.text[0], found.text[-1]) == ("\u2026", "\u2026")
    assert found.text[1:].startswith(("Nothing", "is", "here"))
    assert len(found.text) <= CONTEXT + 2


TEXTS = st.text(st.sampled_from("ab \u00e9\u0301\u65e5-_9\u00dfA\u0130\n"), max_size=400)


@given(TEXTS, st.lists(st.text(st.sampled_from("ab\u65e59A"), min_size=1, max_size=3), max_size=3), st.booleans())
def test_highlights_are_places_of_the_text(text: str, words: list[str], prefix: bool) -> None:
    found = match(text, *(Words(word, prefix=prefix) for word in words), field=TITLE)
    if found is None:
        return
    assert found.text.removeprefix("\u2026").removesuffix("\u2026") in composed(text)
    last = 0
    for start, end in found.highlights:
        assert last <= start < end <= len(found.text)
        last = end
    assert found.highlights
    assert len(found.text) <= 2 * CONTEXT + 2
