"""The index of fingerprints: copies and parts are found with their times, look-alikes are not, groups stay apart."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.datasets.duplicates.alignment import Match, align
from vidpipe.datasets.duplicates.groups import groups_of
from vidpipe.datasets.duplicates.index import DuplicateIndex
from vidpipe.media.perceptual_hash import mirrored
from vidpipe_tests.datasets.duplicates.synthetic_prints import moving, noisy, print_of


def match(one: str, other: str, kind: str = "copy", score: float = 0.9) -> Match:
    return Match(one, other, kind, 0, 1, 0, 1, score)  # type: ignore[arg-type]


def test_a_copy_is_found_among_other_videos() -> None:
    index = DuplicateIndex(print_of(f"{seed}", moving(seed)) for seed in range(50))
    (found,) = index.matches(print_of("new", noisy(moving(7))))
    assert (found.other, found.kind, found.start_s, found.end_s, found.other_start_s) == ("7", "copy", 0, 20, 0)
    assert index.matches(print_of("unknown", moving(1234))) == []


def test_only_the_matches_of_some_videos_are_found() -> None:
    prints = [print_of(f"{seed} {copy}", noisy(moving(seed), seed=copy)) for seed in range(4) for copy in range(2)]
    done: list[tuple[int, int]] = []
    found = list(DuplicateIndex(prints).all_matches(["2 0", "unknown"], lambda *counts: done.append(counts)))
    assert [(one.video, one.other) for one in found] == [("2 0", "2 1")]
    assert done == [(1, 1)]


def test_a_caption_in_a_black_bar_does_not_hide_a_copy() -> None:
    inside, boxed = moving(12), moving(13)
    barred = replace(print_of("barred", inside), whole=boxed)
    (found,) = DuplicateIndex([barred]).matches(print_of("captioned", noisy(boxed)))
    assert (found.other, found.kind) == ("barred", "copy")


def test_a_trailer_is_found_in_the_film_with_its_times() -> None:
    film = print_of("film", moving(5, 2000))
    trailer = print_of("trailer", noisy(moving(5, 2000)[600:660]))
    (found,) = DuplicateIndex([film]).matches(trailer)
    assert (found.kind, found.start_s, found.end_s) == ("part", 0, 30)
    assert (found.other_start_s, found.other_end_s) == (300, 330)


def test_a_short_video_is_compared_at_the_interval_of_the_longer_one() -> None:
    dense = print_of("dense", np.repeat(moving(6, 40), 4, axis=0)[:100], interval_s=0.125)
    found = align(dense, print_of("long", moving(6, 40)))
    assert found is not None
    assert (found.kind, found.start_s, found.other_start_s) == ("part", 0, 0)


def test_a_mirrored_copy_is_found_and_said_to_be_one() -> None:
    (found,) = DuplicateIndex([print_of("one", moving(8))]).matches(print_of("new", mirrored(noisy(moving(8)))))
    assert found.mirrored


def test_two_videos_of_the_same_studio_are_not_joined() -> None:
    studio = moving(9, 10)[:1].repeat(40, axis=0)
    one, other = (print_of(f"{seed}", noisy(studio, 0.1, seed)) for seed in (1, 2))
    assert DuplicateIndex([one, other]).matches(one) == []


def test_still_videos_are_copies_unless_their_sound_differs() -> None:
    still = moving(10, 10)[:1].repeat(40, axis=0)
    silent = print_of("silent", still)
    assert align(silent, print_of("other", noisy(still[:1], 0.02).repeat(40, axis=0))) is not None
    assert align(silent, print_of("title", noisy(still[:1], 0.15).repeat(40, axis=0))) is None
    heard = [print_of(f"{seed}", still, audio=np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert align(heard[0], heard[1]) is not None
    assert align(heard[0], heard[2]) is None


def test_flat_pictures_match_nothing() -> None:
    black = print_of("black", moving(11), flat=True)
    index = DuplicateIndex([black, replace(black, video="black too"), print_of("seen", moving(11))])
    assert list(index.all_matches()) == []


def test_all_matches_names_each_pair_once() -> None:
    prints = [print_of(f"{seed} {copy}", noisy(moving(seed), seed=copy)) for seed in range(4) for copy in range(3)]
    prints.append(print_of("short", moving(77, 2)))
    found = [frozenset((one.video, one.other)) for one in DuplicateIndex(prints).all_matches()]
    assert len(found) == len(set(found)) == 4 * 3
    assert groups_of(DuplicateIndex(prints).all_matches(), set()) == [
        tuple(f"{seed} {copy}" for copy in range(3)) for seed in range(4)
    ]


def test_a_compilation_joins_nothing() -> None:
    clips = [print_of(f"clip {seed}", moving(seed)) for seed in range(3)]
    compilation = print_of("compilation", np.concatenate([one.hashes for one in clips]))
    matches = list(DuplicateIndex([*clips, compilation]).all_matches())
    assert {one.kind for one in matches} == {"part"}
    assert len(matches) == 3
    assert groups_of(matches, set()) == []


def test_one_match_does_not_join_two_large_groups() -> None:
    groups = [[f"{name}{number:02}" for number in range(13)] for name in "ab"]
    links = [match(*pair) for group in groups for pair in combinations(group, 2)]
    for score in (0.5, 1.0):
        assert groups_of([*links, match("a01", "b01", score=score)], set()) == [tuple(group) for group in groups]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 1)), max_size=40),
    st.sets(st.frozensets(st.integers(0, 9).map(str), min_size=2, max_size=2), max_size=10),
)
def test_no_group_contains_a_distinct_pair_and_groups_are_disjoint(
    pairs: list[tuple[int, int, float]], distinct: set[frozenset[str]]
) -> None:
    matches = [match(str(one), str(other), score=score) for one, other, score in pairs]
    groups = groups_of(matches, distinct)
    assert not any(pair <= set(group) for pair in distinct for group in groups)
    assert sum(map(len, groups)) == len({video for group in groups for video in group})
    assert groups == groups_of(reversed(matches), distinct)
