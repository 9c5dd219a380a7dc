"""Texts become the same words wherever they come from: in the index, in a query, and where a match is shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidpipe.text.stems import LANGUAGES, PLAIN, composed, folded, language_of, stems, tokens, words_in


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Close-up of the LIGHTHOUSE_2", ["close", "up", "of", "the", "lighthouse", "2"]),
        ("Caf\u00e9 cafe\u0301 CAF\u00c9", ["cafe", "cafe", "cafe"]),
        ("Stra\u00dfe \u0130stanbul \ufb01sh", ["strasse", "istanbul", "fish"]),
        ("\u6771\u4eac\u30bf\u30ef\u30fc2", ["\u6771", "\u4eac", "\u30bf", "\u30ef", "\u30fc", "2"]),
        ("\ud55c\uad6d", ["\ud55c", "\uad6d"]),
        ("ハハ パパ", ["ハ", "ハ", "パ", "パ"]),
        ("किताब क़लम।", ["किताब", "क\u093cलम"]),
        ("தமிழ் தமிழில்", ["தமிழ்", "தமிழில்"]),
        ("Йод ёлка", ["йод", "елка"]),
        ("--- \U0001f600 !", []),
    ],
)
def test_case_and_accents_are_ignored_and_unspaced_scripts_split(text: str, words: list[str]) -> None:
    assert tokens(text) == words


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("running boats", "eng", ["run", "boat"]),
        ("H\u00e4user", "deu", ["haus"]),
        ("chevaux", "fra", ["cheval"]),
        ("running boats", PLAIN, ["running", "boats"]),
        ("красный красного", "rus", ["красн", "красн"]),
        ("தமிழ் தமிழில்", "tam", ["தமிழ்", "தமிழ்"]),
        ("new news", "eng", ["new", "news"]),
        ("Kinder Kinderspielplatz", "deu", ["kind", "kinderspielplatz"]),
    ],
)
def test_words_are_reduced_by_the_rules_of_their_language(text: str, language: str, words: list[str]) -> None:
    assert list(stems(text, language)) == words


@pytest.mark.parametrize(
    ("texts", "stated", "language"),
    [
        (["A red car is parked in front of the house."], "", "eng"),
        (["Ein rotes Auto steht vor dem Haus."], "", "deu"),
        (["A red car"], "German", "deu"),
        (["A red car"], "pt-BR", "por"),
        (["A red car"], "ja", PLAIN),
        (["தமிழ் ஒரு மொழி"], "", "tam"),
        (["\x00\x01"], "", PLAIN),
        ([], "", PLAIN),
    ],
)
def test_the_stated_language_counts_else_the_detected(texts: list[str], stated: str, language: str) -> None:
    assert language_of(texts, stated) == language


@given(st.text(max_size=60), st.sampled_from(LANGUAGES))
@example("\u0130\u0307 \u00df\u0149 \ufb03", "eng")
@example("e\u0301" * 20, "fra")
def test_words_with_their_places_are_the_words_of_the_index(text: str, language: str) -> None:
    text = composed(text)
    found = words_in(text, language)
    assert tuple(word.stem for word in found) == stems(text, language)
    assert [word.stem for word in words_in(text, PLAIN)] == tokens(text)
    assert all(word.stem in folded(text[word.start : word.end]) for word in words_in(text, PLAIN))
    assert all(0 <= word.start < word.end <= len(text) for word in found)
