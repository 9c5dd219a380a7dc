"""What is measured falls to the right scene, although cuts are told late."""

from __future__ import annotations

import pytest

from vidpipe.media.scene_pass import SceneTimeline
from vidpipe.media.scene_stats import BLOCKS, BRIGHTNESS, MOTION, MOTION_SECONDS, SECONDS, SoundBlock, Sums, no_sums

FRAME_US = 40_000


def feed(timeline: SceneTimeline, number: int, brightness: float) -> None:
    sums = no_sums()
    sums[[SECONDS, BRIGHTNESS, MOTION, MOTION_SECONDS]] = 1, brightness, 0.5, 1
    timeline.add_frame(number * FRAME_US, sums)


def frames(sums: Sums, index: int = SECONDS) -> int:
    return round(sums[index] * 1e6 / FRAME_US)


def test_a_late_cut_takes_its_frames_along() -> None:
    timeline = SceneTimeline()
    for number in range(20):
        feed(timeline, number, 0.2 if number < 10 else 0.8)
        timeline.settle((number - 5) * FRAME_US)
        if number == 14:
            assert timeline.cut(10 * FRAME_US) == 1
    timeline.finish(FRAME_US / 1e6)
    first, second = timeline.scenes
    assert (second.start_frame, second.start_us) == (10, 10 * FRAME_US)
    assert (frames(first.sums), frames(second.sums)) == (10, 10)
    assert first.sums[BRIGHTNESS] / first.sums[SECONDS] == pytest.approx(0.2)
    assert second.sums[BRIGHTNESS] / second.sums[SECONDS] == pytest.approx(0.8)
    # motion is the change within 0.2 s, and that from one scene to the next is none
    assert [frames(scene.sums, MOTION_SECONDS) for scene in timeline.scenes] == [5, 5]


def test_a_frame_counts_as_long_as_it_is_shown() -> None:
    """Variable frame rate: one bright frame of 9 s, one dark one of 1 s."""
    timeline = SceneTimeline()
    for time_us, brightness in ((0, 1.0), (9_000_000, 0.0)):
        sums = no_sums()
        sums[[SECONDS, BRIGHTNESS]] = 1, brightness
        timeline.add_frame(time_us, sums)
    timeline.finish(1.0)
    (scene,) = timeline.scenes
    assert scene.sums[BRIGHTNESS] / scene.sums[SECONDS] == pytest.approx(0.9)


def test_waiting_measurements_stay_few_and_complete() -> None:
    timeline = SceneTimeline()
    for number in range(50_000):
        feed(timeline, number, 0.5)
        timeline.settle(1)  # a black picture: the detector cannot yet tell where the cut is
        assert len(timeline._waiting) <= 1025
    assert timeline.cut(49_900 * FRAME_US) == 1
    timeline.finish(0.04)
    assert timeline.scenes[1].start_frame == 49_900
    assert sum(frames(scene.sums) for scene in timeline.scenes) == 50_000


def test_no_scene_begins_where_one_begins_already() -> None:
    timeline = SceneTimeline()
    feed(timeline, 0, 0.5)
    assert timeline.cut(0) is None


def test_sound_goes_to_the_scene_that_is_on() -> None:
    timeline = SceneTimeline()
    for number in range(10):
        feed(timeline, number, 0.5)
    timeline.cut(5 * FRAME_US)
    timeline.finish(0.04)
    for time_us in (-20_000, 0, 199_999, 200_000, 9_000_000):
        timeline.add_sound(SoundBlock(time_us, 0.1))
    assert [scene.sums[BLOCKS] for scene in timeline.scenes] == [3, 2]


def test_no_scene_is_shorter_than_the_minimum() -> None:
    timeline = SceneTimeline(min_scene_us=5 * FRAME_US)
    for number in range(20):
        feed(timeline, number, 0.5)
        if number == 17:
            # rounded to milliseconds, five frames may seem a little shorter
            cuts = (4 * FRAME_US, 5 * FRAME_US - 400, 9 * FRAME_US, 10 * FRAME_US, 16 * FRAME_US)
            assert [timeline.cut(cut) for cut in cuts] == [None, 1, None, 2, 3]
    timeline.add_sound(SoundBlock(16 * FRAME_US, 0.1))
    timeline.finish(FRAME_US / 1e6)
    assert [scene.start_frame for scene in timeline.scenes] == [0, 5, 10]
    assert [frames(scene.sums) for scene in timeline.scenes] == [5, 5, 10]
    timeline.add_sound(SoundBlock(19 * FRAME_US, 0.1))
    assert timeline.scenes[-1].sums[BLOCKS] == 2
