"""Perceptual hashes: what they survive, what they tell apart, and which pictures and sounds are kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vidpipe.media.decode import SmallFrame
from vidpipe.media.facts import ActiveArea
from vidpipe.media.perceptual_hash import (
    PictureSampler,
    distances,
    keep_pictures,
    mirrored,
    picture_hashes,
    sound_bits,
    take_pictures,
    within,
)
from vidpipe.media.sound import KeptSound
from vidpipe.settings import Settings


def scenery(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    random = np.random.default_rng(seed)
    layers = [cv2.resize(random.random((side, side)), (64, 64), interpolation=cv2.INTER_CUBIC) for side in (3, 8, 20)]
    picture = layers[0] + layers[1] / 2 + layers[2] / 4
    return np.asarray(255 * (picture - picture.min()) / np.ptp(picture), np.uint8)


def test_scaling_brightness_and_bars_change_few_bits_and_another_picture_changes_half() -> None:
    one = scenery(1)
    small = cv2.resize(cv2.resize(one, (40, 24)), (64, 64))
    bright = np.clip(one * 0.7 + 60, 0, 255).astype(np.uint8)
    boxed = np.zeros((64, 64), np.uint8)
    boxed[8:56] = cv2.resize(one, (64, 48))
    (unboxed,) = within(boxed[None], ActiveArea(x=0, y=80, width=640, height=480), 640, 640)
    hashes, flat = picture_hashes(np.array([one, small, bright, unboxed, scenery(2)], np.uint8))
    assert not flat.any()
    assert distances(hashes[:1], hashes[1:4]).max() < 40
    assert distances(hashes[0], hashes[4]) > 90


def test_the_hash_of_a_mirrored_picture_is_known_without_it() -> None:
    one = scenery(3)
    hashes, _ = picture_hashes(np.array([one, one[:, ::-1]], np.uint8))
    assert distances(mirrored(hashes[:1]), hashes[1:])[0] <= 4


@pytest.mark.parametrize("level", [0, 16, 235])
def test_black_and_blank_pictures_are_flat_even_with_noise(level: int) -> None:
    noise = np.random.default_rng(4).integers(-2, 3, (64, 64))
    assert picture_hashes(np.clip(np.full((1, 64, 64), level) + noise, 0, 255).astype(np.uint8))[1].all()


def test_a_decode_that_is_repeated_begins_again(tmp_path: Path) -> None:
    sampler, settings = PictureSampler(tmp_path / "pictures"), Settings(home=tmp_path)
    picture = np.zeros((90, 160, 3), np.uint8)
    for frames in (50, 500):
        for number in range(frames):
            sampler.add(SmallFrame(1_000_000 + number * 40_000, picture, number))
    keep_pictures(settings, "a" * 64, tmp_path / "pictures")
    times_us, pictures = take_pictures(settings, "a" * 64)
    assert (sampler.first_us, times_us[0], len(times_us)) == (1_000_000, 0, len(pictures))
    assert set(np.diff(times_us)) == {120_000, 160_000, 480_000, 520_000}
    assert len(times_us) == 129 + 7


def test_the_bits_of_sound_survive_noise_and_level_and_silence_has_none(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rain = random.normal(size=20 * 16_000)
    quiet = 0.3 * rain + 0.03 * random.normal(size=len(rain))
    bits = []
    for number, samples in enumerate((rain, quiet, random.normal(size=len(rain)), 0 * rain)):
        file = tmp_path / f"{number}.0.s16"
        (5000 * samples).astype("<i2").tofile(file)
        bits.append(sound_bits(KeptSound(file)))
    one, same, other, silent = bits
    assert len(one) == len(same)
    assert np.bitwise_count(one ^ same).mean() / 16 < 0.33
    assert np.bitwise_count(one ^ other).mean() / 16 > 0.4
    assert not silent.any()
