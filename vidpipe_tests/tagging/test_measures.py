"""Precision, recall and intervals: known values, and against a naive count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidpipe.tagging.measures import compare_labels, measure, wilson

_TAGS = st.frozensets(st.sampled_from("abcde"))
_VIDEOS = st.lists(st.tuples(_TAGS, st.none() | _TAGS, st.sampled_from(["", "x", "y"]), _TAGS, st.sampled_from("xy")))


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718),
    ],
)  # fmt: skip
def test_published_values_of_the_interval(right: int, total: int, low: float, high: float) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson(total - right, total) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_without_verdicts_nothing_is_known() -> None:
    found = measure({})
    assert (found["precision"], found["low"], found["high"], found["recall"]) == (None, 0.0, 1.0, None)


def test_recall_needs_something_that_was_missed_unless_everything_is_known() -> None:
    assert measure({"yes": 3, "no": 1})["recall"] is None
    assert measure({"yes": 3, "no": 1, "missed": 2})["recall"] == 0.6
    assert measure({"yes": 3, "no": 1}, complete=True)["recall"] == 1.0


@settings(max_examples=50)
@given(_VIDEOS)
def test_an_evaluation_equals_a_naive_count(
    videos: list[tuple[frozenset[str], frozenset[str] | None, str, frozenset[str], str]],
) -> None:
    names = {tag: tag.upper() for true, checked, *_ in videos for tag in true | (checked or frozenset())}
    pairs = [(true, checked, found, category, got) for true, checked, category, found, got in videos]
    result = compare_labels(pairs, names)
    expected = {}
    for tag in "abcde":
        right = wrong = missed = 0
        for true, checked, _, found, _ in videos:
            looked_for = tag in true or (tag in names if checked is None else tag in checked)
            right += tag in true and tag in found
            wrong += looked_for and tag not in true and tag in found
            missed += tag in true and tag not in found
        if right + wrong + missed:
            expected[tag.upper()] = (right, wrong, missed)
    assert {one["tag"]: (one["yes"], one["no"], one["missed"]) for one in result["tags"]} == expected
    for one in result["tags"]:
        right, wrong, missed = expected[one["tag"]]
        assert one["precision"] == (right / (right + wrong) if right + wrong else None)
        assert one["recall"] == (right / (right + missed) if right + missed else None)
        assert one["f1"] == pytest.approx(2 * right / (2 * right + wrong + missed))
    for category in "xy":
        for got in "xy":
            many = sum(one[2] == category and one[4] == got for one in videos)
            assert result["confusion"].get(category, {}).get(got, 0) == many
