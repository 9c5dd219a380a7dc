"""Frames are chosen evenly, within their budgets, without knowing the end, in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.media.decode import Candidate
from vidpipe.media.frame_selection import (
    IntervalCandidates,
    SceneCandidates,
    SelectedFrame,
    SpillFile,
    allocate,
    evenly_spaced,
    model_frames,
    poster,
    representative,
    scene_thumbnails,
)
from vidpipe.settings.schema import SceneDetection


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[SpillFile]:
    with SpillFile(tmp_path) as spill:
        yield spill


def candidate(second: float) -> Candidate:
    return Candidate(round(second * 1e6), f"jpeg at {second}".encode())


def test_one_long_scene_keeps_evenly_spaced_frames_from_its_whole_length(spill: SpillFile) -> None:
    settings = SceneDetection(frames_per_scene=8)
    chosen = SceneCandidates(spill, settings)
    for half_second in range(7200):
        chosen.add(0, candidate(half_second / 2))
    kept = chosen.finish()
    seconds = [frame.time_us / 1e6 for frame in model_frames(kept, {0: 3600.0}, settings)]
    assert len(seconds) == 8
    gaps = [later - earlier for earlier, later in itertools.pairwise(seconds)]
    assert max(gaps) <= 2 * min(gaps)
    assert seconds[0] < 600
    assert seconds[-1] > 3000
    assert spill.read(kept[0][0]) == f"jpeg at {kept[0][0].time_us / 1e6}".encode()


def test_what_is_kept_does_not_grow_with_the_number_of_scenes(spill: SpillFile) -> None:
    settings = SceneDetection(frames_per_video=10, max_thumbnails=10, frames_per_scene=4)
    chosen = SceneCandidates(spill, settings)
    for scene in range(5000):
        for part in range(6):
            chosen.add(scene, candidate(scene * 3 + part / 2))
    kept = chosen.finish()
    assert sum(map(len, kept.values())) <= 40
    assert len(scene_thumbnails(kept, 10)) == 10
    frames = model_frames(kept, dict.fromkeys(range(5000), 3.0), settings)
    assert len(frames) == 10
    assert frames[0].scene < 1000
    assert frames[-1].scene > 4000


def test_a_scene_without_a_candidate_gets_its_first_frame_and_only_then(spill: SpillFile) -> None:
    chosen = SceneCandidates(spill, SceneDetection())
    for scene in range(4):
        chosen.offer_fallback(scene, scene * 1_000_000, lambda: b"small")
        if scene in (0, 2):
            chosen.add(scene, candidate(scene + 0.5))
    kept = chosen.finish()
    assert {scene: frames[0].fallback for scene, frames in kept.items()} == {0: False, 1: True, 2: False, 3: True}
    assert spill.read(kept[3][0]) == b"small"


def test_thumbnails_at_an_interval_get_sparser_when_there_are_too_many(spill: SpillFile) -> None:
    by_time = IntervalCandidates(spill, 10.0, 20)
    for half_second in range(7200):
        by_time.add(0, candidate(half_second / 2))
    seconds = [kept.time_us / 1e6 for kept in by_time.finish()]
    assert 10 <= len(seconds) <= 20
    assert {later - earlier for earlier, later in itertools.pairwise(seconds)} == {320.0}


def test_thumbnails_at_an_interval_wait_a_little_for_a_fade(spill: SpillFile) -> None:
    by_time = IntervalCandidates(spill, 4.0, 20)
    for half_second in range(20):
        by_time.add(0, candidate(half_second / 2)._replace(clarity=min(40.0, 20.0 * half_second)))
    assert [kept.time_us / 1e6 for kept in by_time.finish()] == [1.0, 4.0, 8.0]


@given(
    durations=st.lists(st.floats(0.1, 1000), min_size=1, max_size=40),
    budget=st.integers(1, 60),
    most=st.integers(1, 10),
)
def test_the_budget_is_shared_fairly(durations: list[float], budget: int, most: int) -> None:
    scenes = dict(enumerate(durations))
    shares = allocate(scenes, dict.fromkeys(scenes, most), budget)
    assert sum(shares.values()) == min(budget, most * len(scenes))
    assert len(shares) == min(budget, len(scenes))
    assert all(1 <= share <= most for share in shares.values())
    for scene, share in shares.items():
        for other, more in shares.items():
            if len(scenes) <= budget and scenes[scene] > scenes[other]:
                assert share >= more or share == most


@given(count=st.integers(1, 30), items=st.lists(st.integers(), min_size=1, max_size=100, unique=True))
def test_evenly_takes_different_items_in_order(count: int, items: list[int]) -> None:
    chosen = evenly_spaced(items, count)
    assert len(chosen) == min(count, len(items))
    assert [items.index(item) for item in chosen] == sorted({items.index(item) for item in chosen})


def test_black_frames_stand_for_nothing() -> None:
    frames = [SelectedFrame(time, 0, 0, 0, clarity) for time, clarity in enumerate((1.0, 2.0, 40.0, 41.0, 0.5))]
    assert representative(frames) == frames[2]
    black, flash, shot = (
        SelectedFrame(0, 0, 0, 0, 1.0),
        SelectedFrame(1, 1, 0, 0, 41.0),
        SelectedFrame(2, 2, 0, 0, 40.0),
    )
    assert poster([black, flash, shot], {0: 10.0, 1: 0.2, 2: 10.0}) == shot


def test_a_clear_frame_survives_among_dim_ones_however_long_the_scene(spill: SpillFile) -> None:
    settings = SceneDetection(frames_per_scene=4)
    chosen = SceneCandidates(spill, settings)
    for number in range(1000):
        chosen.add(0, candidate(number / 2)._replace(clarity=40.0 if number % 130 == 77 else 5.0))
    frames = model_frames(chosen.finish(), {0: 500.0}, settings)
    assert [frame.clarity for frame in frames] == [40.0] * 4
    assert [int(frame.time_us / 125e6) for frame in frames] == [0, 1, 2, 3]
