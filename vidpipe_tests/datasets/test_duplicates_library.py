"""What is shown of duplicates: which copy to keep and why, parts with their times, and groups for splits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from vidpipe.datasets.duplicates.alignment import Match
from vidpipe.datasets.duplicates.decisions import DistinctPair, mark_distinct, withdraw_distinct
from vidpipe.datasets.duplicates.library import ComparedVideo, best_copy, duplicates_of
from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe_tests.library.sample_library import GRAPH, HOSTILE, fill, sha256_of

HARBOUR, RACE, EVIL = map(sha256_of, ("harbour.mp4", "race.mkv", HOSTILE))
GONE = "f" * 64


@pytest.fixture(scope="module")
def library(module_settings: Settings) -> Iterator[Library]:
    with Library.open(module_settings, GRAPH) as library:
        fill(library)
        yield library


def compared(video: str, **facts: Any) -> ComparedVideo:
    known = {"name": video, "added_at": datetime(2026, 1, 1, tzinfo=UTC), "width": 1280, "height": 720}
    return ComparedVideo(video=video, **{**known, "duration_s": 60.0, "bit_rate": 2_000_000, "size_bytes": 9, **facts})


@pytest.mark.parametrize(
    ("facts", "other", "why"),
    [
        ({"width": 1920, "height": 1080}, {"duration_s": 70.0}, "It has the highest resolution (1920x1080)."),
        ({}, {"duration_s": 50.0, "bit_rate": 9_000_000}, "It is the longest (1:00.0)."),
        ({}, {"damage": "3 errors", "bit_rate": 9_000_000}, "It is not damaged."),
        ({}, {"bit_rate": 1_000_000}, "It has the highest bit rate (2 Mbit/s)."),
        ({}, {"added_at": datetime(2026, 1, 2, tzinfo=UTC)}, "It was added first."),
        # a container's rounding and a rate that differs by little decide nothing
        ({}, {"added_at": datetime(2026, 1, 2, tzinfo=UTC), "duration_s": 60.04, "bit_rate": 2_020_000},
         "It was added first."),
        ({"width": 0, "height": 0, "duration_s": 0, "bit_rate": 0, "damage": "no frame"},
         {"width": 0, "height": 0, "duration_s": 0, "bit_rate": 0, "damage": "no frame"}, "It was added first."),
    ],
)  # fmt: skip
def test_the_copy_to_keep_is_named_with_what_decided(facts: dict[str, Any], other: dict[str, Any], why: str) -> None:
    better, worse = compared("a", **facts), compared("b", **other)
    assert best_copy([worse, better]) == best_copy([better, worse]) == (better, why)


def test_each_fact_that_ruled_out_a_copy_is_named() -> None:
    copies = [compared("a"), compared("b", width=640, height=360), compared("c", bit_rate=1_000_000)]
    assert best_copy(copies)[1] == ("It has the highest resolution (1280x720) and has the highest bit rate (2 Mbit/s).")


def match(video: str, other: str, kind: Any = "copy", score: float = 0.9) -> Match:
    return Match(video, other, kind, 1.0, 3.0, 11.0, 13.0, score)


def test_copies_are_compared_with_the_one_to_keep_and_parts_keep_their_times(library: Library) -> None:
    found = duplicates_of(library, [match(RACE, EVIL), match(HARBOUR, RACE, "part"), match(GONE, RACE)])
    (group,) = found.groups
    assert (group.keep, group.why) == (RACE, "It has the highest resolution (3840x2160).")
    assert group.copies == [Match(EVIL, RACE, "copy", 11.0, 13.0, 1.0, 3.0, 0.9)]
    assert found.parts == [match(HARBOUR, RACE, "part")]
    assert found.videos.keys() == {HARBOUR, RACE, EVIL}
    assert (found.videos[EVIL].name, found.videos[EVIL].damage) == (
        HOSTILE,
        "Damaged: 3 errors. What decodes was processed.",
    )


def test_scores_videos_and_pages_select_what_is_shown(library: Library) -> None:
    matches = [match(RACE, EVIL, score=0.6), match(HARBOUR, GONE)]
    assert not duplicates_of(library, matches, min_score=0.7).groups
    assert not duplicates_of(library, matches, videos=[HARBOUR]).groups, "the other one is gone"
    assert duplicates_of(library, matches, videos=[EVIL]).groups
    first = duplicates_of(library, matches, limit=1)
    second = duplicates_of(library, matches, limit=1, after=first.next)
    assert first.next
    assert second.next is None
    assert len([*first.groups, *second.groups]) == 1


def test_videos_that_are_no_duplicates_join_no_group(library: Library) -> None:
    matches = [match(RACE, EVIL)]
    mark_distinct(library, DistinctPair(video=EVIL, other=RACE, by="ada"))
    assert not duplicates_of(library, matches).groups
    withdraw_distinct(library, EVIL, RACE, "ada")
    assert duplicates_of(library, matches).groups
