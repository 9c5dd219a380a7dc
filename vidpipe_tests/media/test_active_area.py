"""Black bars are found, whatever lies in them; what merely is dark is not cropped."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vidpipe.media.active_area import ActiveAreas, active_areas, light_profile
from vidpipe.media.facts import ActiveArea

Picture = NDArray[np.uint8]
_HIGH, _WIDE = 90, 160
_SMALL, _DISPLAYED = (_WIDE, _HIGH), (1920, 1080)


def barred(top: int, bottom: int, left: int = 0, right: int = 0, *, bar: int = 0) -> Picture:
    """A picture of random colours inside bars of this luma."""
    inside = np.random.default_rng(3).integers(30, 256, (_HIGH - top - bottom, _WIDE - left - right, 3))
    return np.pad(inside, ((top, bottom), (left, right), (0, 0)), constant_values=bar).astype(np.uint8)


def areas(scenes: Sequence[Sequence[Picture]], jpegs: Sequence[bytes] = ()) -> ActiveAreas:
    profiles = [np.sum([light_profile(picture) for picture in pictures], axis=0) for pictures in scenes]
    return active_areas(profiles, lambda _: jpegs, _SMALL, _DISPLAYED)


@pytest.mark.parametrize(
    ("picture", "area"),
    [
        (barred(11, 11), (0, 132, 1920, 816)),
        (barred(0, 0, 20, 20), (240, 0, 1440, 1080)),
        (barred(11, 12, 20, 20), (240, 132, 1440, 804)),
        (barred(0, 0, 54, 55), (648, 0, 612, 1080)),
        (barred(11, 11, bar=17), (0, 132, 1920, 816)),
    ],
)
def test_bars_are_found(picture: Picture, area: tuple[int, int, int, int]) -> None:
    found = areas([[picture] * 3])
    assert found.video == found.scenes[0]
    assert found.bars == pytest.approx(float(picture[0, 0, 0]) / 255)
    assert tuple(found.video.model_dump().values()) == area if found.video else False


def titles() -> Picture:
    picture = np.zeros((_HIGH, _WIDE, 3), np.uint8)
    cv2.putText(picture, "THE END", (20, 55), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    return picture


def slide(*boxes: tuple[int, int, int, int], heading: str = "") -> Picture:
    """Boxes of colour (left, top, right, bottom) on black, below a heading."""
    picture = np.zeros((_HIGH, _WIDE, 3), np.uint8)
    cv2.putText(picture, heading, (60, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1)
    for left, top, right, bottom in boxes:
        picture[top:bottom, left:right] = 160
    return picture


def vignette() -> Picture:
    rows, columns = np.mgrid[-1 : 1 : _HIGH * 1j, -1 : 1 : _WIDE * 1j]  # type: ignore[misc]
    return np.repeat((np.clip(1 - np.hypot(rows, columns), 0, 1) * 255)[..., None], 3, axis=2).astype(np.uint8)


def sunset() -> Picture:
    """A plain picture that goes to black at the top and at the bottom, without a step."""
    light = np.clip(300 - np.abs(np.arange(_HIGH) - 45) * 9, 0, 230)
    return np.repeat(np.repeat(light[:, None, None], _WIDE, axis=1), 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    "picture",
    [
        barred(0, 0), barred(1, 1), barred(0, 40), barred(0, 0, 80, 0), titles(), vignette(), sunset(),
        barred(11, 11) // 16, np.zeros((_HIGH, _WIDE, 3), np.uint8), barred(11, 11, bar=40),
        slide((20, 20, 70, 70), (90, 20, 140, 70)), slide((30, 17, 130, 73), heading="Heading"),
        slide((55, 30, 105, 60)),
    ],
    ids=["full", "rims", "dark ground", "half", "titles", "vignette", "sunset", "night", "black", "gray bars",
         "two panels", "chart", "logo"],
)  # fmt: skip
def test_dark_is_not_cropped(picture: Picture) -> None:
    found = areas([[picture] * 5])
    assert (found.video, found.scenes, found.shares) == (None, [None], [1.0])


def test_bars_change_from_scene_to_scene_and_dark_scenes_tell_nothing() -> None:
    letter, pillar, black = barred(11, 11), barred(0, 0, 20, 20), np.zeros((_HIGH, _WIDE, 3), np.uint8)
    wide = ActiveArea(x=0, y=132, width=1920, height=816)
    found = areas([[letter], [black], [letter, black, letter]])
    assert (found.video, found.scenes) == (wide, [wide] * 3)
    assert found.shares == pytest.approx([68 / 90] * 3)
    changing = areas([[letter], [barred(0, 0)], [black], [pillar]])
    assert changing.video is None
    assert changing.scenes == [wide, None, None, ActiveArea(x=240, y=0, width=1440, height=1080)]


def test_bars_that_come_within_a_scene_are_part_of_its_picture() -> None:
    assert areas([[barred(0, 0)] * 2 + [barred(11, 11)] * 8]).video is None


def test_subtitles_in_a_bar_do_not_hide_it() -> None:
    written = barred(11, 11)
    cv2.putText(written, "subtitles", (50, 86), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1)
    assert areas([[written] * 5]).video == ActiveArea(x=0, y=132, width=1920, height=816)
    logo = barred(0, 0, 46, 44)
    cv2.putText(logo, "LIVE", (130, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1)
    assert areas([[logo] * 5]).video == ActiveArea(x=552, y=0, width=840, height=1080)


def test_a_bar_without_a_partner_has_to_stay_for_scenes() -> None:
    lopsided = [barred(0, 20)]
    assert areas([lopsided] * 2).video is None
    assert areas([lopsided] * 3).video == ActiveArea(x=0, y=0, width=1920, height=840)


def test_edges_are_exact_in_larger_frames() -> None:
    picture = cv2.resize(np.pad(barred(0, 0), ((16, 16), (0, 0), (0, 0))), (504, 280), interpolation=cv2.INTER_AREA)
    cv2.putText(picture, "subtitles", (50, 262), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 2)
    exact = areas([[barred(11, 11)]], [cv2.imencode(".jpg", picture)[1].tobytes()]).video
    assert exact is not None
    true = 16 / 122 * 1080
    assert (exact.x, exact.width) == (0, 1920)
    assert exact.y == pytest.approx(true, abs=3)
    assert exact.y + exact.height == pytest.approx(1080 - true, abs=3)
