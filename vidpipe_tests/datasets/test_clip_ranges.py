"""Which parts of a video become clips."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.datasets.clips.ranges import ClipRange, area_of, by_length, by_moments, by_tag, summary


def scene(index: int, start_s: float, end_s: float, **stats: float) -> dict[str, Any]:
    measured = {"brightness": 0.5, "contrast": 0.2, "saturation": 0.3, "motion": 0.02, **stats}
    return {"index": index, "start_s": start_s, "end_s": end_s, "stats": measured}


@given(
    st.floats(0.1, 500, allow_nan=False),
    st.floats(0.5, 60),
    st.floats(0, 0.9),
    st.sampled_from(["keep", "drop", "merge"]),
)
def test_parts_of_equal_length_cover_a_video(duration_s: float, length_s: float, share: float, remainder: Any) -> None:
    found = by_length(duration_s, length_s, share * length_s, remainder)
    assert found == sorted(found)
    assert all(0 <= one.start_s < one.end_s <= duration_s + 1e-5 for one in found)
    lengths = [one.end_s - one.start_s for one in found]
    assert all(one == pytest.approx(length_s, abs=1e-5) for one in lengths[:-1])
    if remainder == "drop":
        assert all(one == pytest.approx(length_s, abs=1e-5) for one in lengths)
    else:
        assert found[-1].end_s == pytest.approx(duration_s, abs=1e-5)
        assert all(after.start_s <= before.end_s + 1e-5 for before, after in itertools.pairwise(found))


def test_a_remainder_is_kept_dropped_or_merged() -> None:
    ends = {name: [one.end_s for one in by_length(35, 15, 0, name)] for name in ("keep", "drop", "merge")}
    assert ends == {"keep": [15, 30, 35], "drop": [15, 30], "merge": [15, 35]}
    assert [one.end_s for one in by_length(3, 15, 0, "merge")] == [3]


def test_moments_that_overlap_are_one_clip() -> None:
    hits = [{"video": "a", "start_s": start, "end_s": end} for start, end in ((5, 6), (1, 3), (2, 4), (8, 8))]
    hits += [{"video": "b", "start_s": None, "end_s": None}]
    found = by_moments(hits, "cat")
    assert found == {"a": [ClipRange(1, 4, "cat"), ClipRange(5, 6, "cat"), ClipRange(8, 9, "cat")]}


def test_tags_and_rules_select_scenes() -> None:
    tags = [
        {"tag": "Cat", "rule": "pets", "spans": [(1, 2), (4, 5)]},
        {"tag": "car", "rule": "traffic", "spans": [(0, 1)]},
    ]
    assert by_tag(tags, "cat", None) == [ClipRange(1, 2, "Cat"), ClipRange(4, 5, "Cat")]
    assert by_tag(tags, None, "traffic") == [ClipRange(0, 1, "car")]


def test_a_summary_shows_different_scenes_in_order_and_no_dark_ones() -> None:
    scenes = [scene(n, n * 10, n * 10 + 10, brightness=0.3 + 0.4 * (n % 2)) for n in range(12)]
    scenes[3]["stats"]["brightness"] = 0.01
    scenes[5]["end_s"] = scenes[5]["start_s"] + 0.5
    found = summary(scenes, 20)
    assert sum(one.end_s - one.start_s for one in found) == pytest.approx(20)
    assert found == sorted(found)
    assert not {one.scene for one in found} & {3, 5}
    assert len({one.scene % 2 for one in found if one.scene is not None}) == 2
    assert summary(scenes, 500) == [ClipRange(0, 120)]
    assert summary([], 10) == []


def test_the_area_inside_black_bars_is_that_of_all_scenes() -> None:
    bars = {"x": 0, "y": 20, "width": 160, "height": 56}
    scenes = [
        scene(0, 0, 1) | {"active_area": bars},
        scene(1, 1, 2) | {"active_area": {**bars, "y": 10}},
        scene(2, 2, 3),
    ]
    found = area_of(scenes, 0, 2)
    assert found is not None
    assert (found.y, found.height) == (10, 66)
    assert area_of(scenes, 0, 3) is None
