"""Light, colour names, motion and sound are what the picture and the samples say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vidpipe.media.scene_stats import (
    COLOR_NAMES,
    FLOOR_DBFS,
    FrameMeter,
    SoundBlock,
    Sums,
    add_sound,
    block_power,
    color_shares,
    level_dbfs,
    no_sums,
    scene_stats,
    set_duration,
    without_bars,
)


@pytest.mark.parametrize(
    ("name", "rgb"),
    [
        ("black", (0, 0, 0)), ("white", (255, 255, 255)), ("gray", (128, 128, 128)), ("red", (220, 20, 20)),
        ("orange", (255, 140, 0)), ("brown", (120, 70, 20)), ("yellow", (250, 240, 40)), ("green", (30, 160, 40)),
        ("cyan", (0, 220, 230)), ("blue", (20, 40, 200)), ("purple", (130, 20, 180)), ("pink", (255, 170, 190)),
    ],
)  # fmt: skip
def test_colors_have_the_names_people_use(name: str, rgb: tuple[int, int, int]) -> None:
    picture = np.full((4, 4, 3), rgb[::-1], np.uint8)
    assert color_shares(picture)[COLOR_NAMES.index(name)] == 1


def sums_of(pictures: Sequence[NDArray[np.uint8]], rate: int = 25) -> Sums:
    meter, total = FrameMeter(), None
    for number, picture in enumerate(pictures):
        sums = meter.measure(picture, round(number * 1e6 / rate))
        set_duration(sums, 1 / rate)
        total = sums if total is None else total + sums
    assert total is not None
    return total


def test_statistics_of_a_picture_half_white_half_black() -> None:
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :80] = 255
    found = scene_stats(sums_of([picture] * 3), sound=False)
    assert (found.brightness, found.contrast, found.saturation, found.motion) == (0.5, 0.5, 0, 0)
    assert {color.name: color.share for color in found.colors} == {"black": 0.5, "white": 0.5}
    assert found.loudness_db is None


@pytest.mark.parametrize("rate", [25, 50])
def test_motion_does_not_depend_on_the_frame_rate(rate: int) -> None:
    """Luma rises by 100 a second, whatever the rate: 4 in 1/25 s."""
    pictures = [np.full((90, 160, 3), 20 + number * 100 // rate, np.uint8) for number in range(rate)]
    assert scene_stats(sums_of(pictures, rate), sound=False).motion == pytest.approx(4 / 255, rel=0.05)


@pytest.mark.parametrize("bar", [0, 16])
def test_bars_leave_no_trace_in_the_statistics(bar: int) -> None:
    """A scene that fades in, with and without bars that take 4 of 9 lines."""
    random = np.random.default_rng(5)
    shots = [(random.integers(0, 256, (50, 160, 3)) * (number / 20)).astype(np.uint8) for number in range(21)]
    barred = [np.pad(shot, ((20, 20), (0, 0), (0, 0)), constant_values=bar) for shot in shots]
    plain = scene_stats(sums_of(shots), sound=False)
    cleared = scene_stats(without_bars(sums_of(barred), 5 / 9, bar / 255), sound=False)
    for name in ("brightness", "contrast", "saturation", "motion"):
        assert getattr(cleared, name) == pytest.approx(getattr(plain, name), rel=0.02), name
    assert [color.name for color in cleared.colors] == [color.name for color in plain.colors]


def test_noise_in_black_is_no_colour() -> None:
    noise = np.random.default_rng(5).integers(0, 4, (90, 160, 3)).astype(np.uint8)
    assert scene_stats(sums_of([noise]), sound=False).saturation == 0


def still(rgb: tuple[int, int, int] = (128, 128, 128)) -> NDArray[np.uint8]:
    return np.full((90, 160, 3), rgb[::-1], np.uint8)


def test_pure_blue_is_not_dark_but_black_is_also_beside_bars() -> None:
    assert scene_stats(sums_of([still((0, 0, 255))]), sound=False).dark_share == 0
    assert scene_stats(sums_of([still((40, 40, 60))]), sound=False).dark_share == 1
    half = np.vstack([np.zeros((46, 160, 3), np.uint8), still()[:46]])
    assert scene_stats(sums_of([half]), sound=False).dark_share == 0.5
    assert scene_stats(without_bars(sums_of([half]), 0.5), sound=False).dark_share == 0


def test_a_small_spot_of_colour_for_a_moment_is_colour() -> None:
    grey = np.random.default_rng(5).integers(0, 256, (90, 160, 1)).astype(np.uint8).repeat(3, axis=2)
    photo = grey.copy()
    photo[40:44, 80:84] = (60, 90, 120)
    assert scene_stats(sums_of([grey] * 50), sound=False).colored_share == 0
    assert scene_stats(sums_of([grey] * 45 + [photo] * 5), sound=False).colored_share == pytest.approx(0.1, abs=0.02)
    tinted = np.clip(grey + np.array([3, 0, -3]), 0, 255).astype(np.uint8)
    assert scene_stats(sums_of([tinted] * 5), sound=False).colored_share == 0


def test_several_vivid_colours_are_colourful_one_or_dim_ones_are_not() -> None:
    bars = np.hstack([still(rgb)[:, :40] for rgb in ((220, 20, 20), (20, 180, 40), (30, 40, 220), (128, 128, 128))])
    assert scene_stats(sums_of([bars]), sound=False).colorful_share == 1
    for dull in (still((0, 0, 255)), bars // 5, 110 + bars // 6):
        assert scene_stats(sums_of([dull]), sound=False).colorful_share == 0


def test_a_small_thing_that_moves_slowly_is_movement_and_noise_is_none() -> None:
    random = np.random.default_rng(5)
    strip = [still() for _ in range(50)]
    for number, picture in enumerate(strip):
        picture[20 + number // 10 : 23 + number // 10] = 160
    found = scene_stats(sums_of(strip), sound=False)
    assert found.motion < 0.001
    assert found.moving_share is not None
    assert found.moving_share == pytest.approx(0.2, abs=0.1)
    noise = [np.clip(still() + random.normal(0, 2, (90, 160, 3)), 0, 255).astype(np.uint8) for _ in range(25)]
    assert scene_stats(sums_of(noise), sound=False).moving_share == 0


def test_a_sine_of_half_amplitude_is_nine_db_down() -> None:
    wave = np.sin(np.arange(1600) * 2 * math.pi * 100 / 16_000) * 0.5 * 32767
    power = block_power(wave.astype("<i2").tobytes())
    assert level_dbfs(power) == pytest.approx(-9.03, abs=0.05)
    total = no_sums()
    for block in (power, power, 0.0, 0.0):
        add_sound(total, SoundBlock(0, block))
    found = scene_stats(total, sound=True)
    assert found.silence_share == 0.5
    assert found.loudness_db == pytest.approx(-12.0, abs=0.1)


def test_a_scene_after_the_end_of_the_sound_is_silent() -> None:
    found = scene_stats(no_sums(), sound=True)
    assert (found.loudness_db, found.silence_share) == (FLOOR_DBFS, 1.0)
