"""A size has the name people expect, wide, high or turned."""

from __future__ import annotations

from fractions import Fraction

import pytest

from vidpipe.media.picture_format import (
    bit_depth,
    display_rotation,
    displayed_size,
    dynamic_range,
    is_plausible_aspect,
    orientation,
    resolution_name,
)


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [
        (640, 272, "SD"), (640, 480, "SD"), (720, 576, "SD"), (1024, 576, "SD"), (608, 1080, "SD"), (16, 16, "SD"),
        (1280, 720, "HD"), (720, 1280, "HD"), (1280, 536, "HD"), (960, 720, "HD"), (1366, 768, "HD"),
        (1920, 1080, "Full HD"), (1080, 1920, "Full HD"), (1920, 800, "Full HD"), (1440, 1080, "Full HD"),
        (1916, 796, "Full HD"), (1080, 1080, "Full HD"), (2560, 1440, "2K"), (2048, 858, "2K"),
        (3840, 2160, "4K"), (2160, 3840, "4K"), (3840, 1600, "4K"), (4096, 1716, "4K"), (2880, 2160, "4K"),
        (7680, 4320, "8K"), (7680, 3200, "8K"), (4320, 7680, "8K"),
    ],
)  # fmt: skip
def test_resolution_names(width: int, height: int, name: str) -> None:
    assert resolution_name(width, height) == name


def test_a_displayed_size_counts_pixel_aspect_before_rotation() -> None:
    assert displayed_size(568, 320, Fraction(1), 90) == (320, 568)
    assert displayed_size(1440, 1080, Fraction(4, 3), 0) == (1920, 1080)
    assert displayed_size(720, 576, Fraction(64, 45), 270) == (576, 1024)
    assert displayed_size(720, 480, Fraction(8, 9), 180) == (640, 480)
    assert displayed_size(1, 8, Fraction(1, 4), 0) == (1, 8)


def test_orientation() -> None:
    assert [orientation(*size) for size in ((2, 1), (1, 2), (1, 1))] == ["landscape", "portrait", "square"]


@pytest.mark.parametrize(
    ("corners", "turn"),
    [
        ((1, 0, 0, 1), (0, False)), ((0, 1, -1, 0), (90, False)), ((-1, 0, 0, -1), (180, False)),
        ((0, -1, 1, 0), (270, False)), ((2, 0, 0, 2), (0, False)),
        ((-1, 0, 0, 1), (0, True)), ((1, 0, 0, -1), (0, True)),
        ((0, 1, 1, 0), (90, True)), ((0, -1, -1, 0), (270, True)),
        ((0, 0, 0, 0), (0, False)), ((1, 0, 0, 0), (0, False)),
        ((0.005, 1, -1, 0.005), (90, False)), ((0.7, 0.7, -0.7, 0.7), (0, False)), ((0, 3, -1, 0), (90, False)),
    ],
)  # fmt: skip
def test_a_display_matrix_turns_by_quarters_and_mirroring_is_no_turn(
    corners: tuple[float, ...], turn: tuple[int, bool]
) -> None:
    a, b, c, d = (round(corner * 65536) for corner in corners)
    assert display_rotation([a, b, 0, c, d, 0, 0, 0, 1 << 30]) == turn


def test_pixels_of_real_formats_are_plausible_and_absurd_ones_are_not() -> None:
    real = ("4/3", "8/9", "16/11", "64/45", "2", "1/2", "32/11", "4/9", "1")
    assert all(is_plausible_aspect(Fraction(ratio)) for ratio in real)
    assert not any(is_plausible_aspect(Fraction(ratio)) for ratio in ("1/1000", "1000", "100", "5", "1/5"))


@pytest.mark.parametrize(
    ("pixel_format", "raw_bits", "bits"),
    [
        ("yuv420p", None, 8), ("yuv420p10le", None, 10), ("p010le", None, 10), ("gbrp12be", None, 12), ("gray", "8", 8),
        ("rgb48le", None, 16), ("yuv422p10le", "10", 10), ("grayf32le", None, 32), (None, None, None), ("nv12", "0", 8),
    ],
)  # fmt: skip
def test_bit_depth(pixel_format: str | None, raw_bits: str | None, bits: int | None) -> None:
    assert bit_depth(pixel_format, raw_bits) == bits


def test_high_dynamic_range_is_told_by_its_kind() -> None:
    pq = {"color_transfer": "smpte2084", "color_primaries": "bt2020"}
    assert dynamic_range(pq) == "HDR10"
    assert dynamic_range(pq, [{"side_data_type": "HDR Dynamic Metadata SMPTE2094-40 (HDR10+)"}]) == "HDR10+"
    assert dynamic_range({**pq, "side_data_list": [{"side_data_type": "DOVI configuration record"}]}) == "Dolby Vision"
    assert dynamic_range({"color_transfer": "smpte2084"}) == "PQ"
    assert dynamic_range({"color_transfer": "arib-std-b67"}) == "HLG"
    assert dynamic_range({"color_transfer": "bt709"}) is None
