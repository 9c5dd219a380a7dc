"""Timecodes count frames as editors do: drop-frame numbers, rates that timecode lacks, and more than a day."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpipe.datasets.exporters.timecode import exact_rate, is_drop_frame, timecode, timecode_rate

NTSC, FILM = 30000 / 1001, 24000 / 1001


@pytest.mark.parametrize(
    ("frame", "rate", "expected"),
    [
        (0, 25.0, "00:00:00:00"), (1799, NTSC, "00:00:59;29"), (1800, NTSC, "00:01:00;02"),
        (17981, NTSC, "00:09:59;29"),
        (17982, NTSC, "00:10:00;00"), (107892, NTSC, "01:00:00;00"), (3600, 60000 / 1001, "00:01:00;04"),
        (86400, FILM, "01:00:00:00"), (25 * 3600 * 24, 24.0, "25:00:00:00"), (25 * 107892, NTSC, "25:00:00;00"),
    ],
)  # fmt: skip
def test_frames_have_the_numbers_of_smpte_timecode(frame: int, rate: float, expected: str) -> None:
    assert timecode(frame / rate, rate) == expected


@given(st.integers(0, 10_000_000), st.sampled_from([NTSC, 60000 / 1001, FILM, 24.0, 25.0, 30.0, 50.0, 60.0]))
def test_the_next_frame_has_the_next_number(frame: int, rate: float) -> None:
    one, following = timecode(frame / rate, rate), timecode((frame + 1) / rate, rate)
    assert one < following
    hours, minutes, seconds, frames = map(int, re.split("[:;]", one))
    counted_s = hours * 3600 + minutes * 60 + seconds + frames / round(rate)
    clock_s = frame / rate if is_drop_frame(rate) else frame / round(rate)
    assert abs(counted_s - clock_s) < 0.2 + clock_s * 1e-6, "drop-frame timecode keeps the time of the clock"


@given(st.floats(1, 240))
def test_every_video_gets_a_rate_that_editors_know(rate: float) -> None:
    chosen = timecode_rate(rate)
    assert chosen >= min(rate - 0.001, 60.0)
    assert round(chosen) in (24, 25, 30, 50, 60)


def test_measured_rates_are_made_exact_and_odd_ones_get_a_multiple() -> None:
    assert [exact_rate(one) for one in (29.97, 23.976, 59.94, 25.0, 12.5)] == [NTSC, FILM, 60000 / 1001, 25.0, 12.5]
    assert [timecode_rate(one) for one in (29.97, 12.5, 15.0, 10.0, 17.3, 120.0, None)] == [
        NTSC, 25.0, 30.0, 30.0, FILM, 60.0, 25.0
    ]  # fmt: skip
