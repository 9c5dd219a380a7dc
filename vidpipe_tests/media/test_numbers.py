"""Numbers that files state and that cannot be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidpipe.media import streams
from vidpipe.media.probe import probe
from vidpipe_tests import clips


def test_numbers_beyond_any_file_are_ignored_with_a_note(tmp_path: Path) -> None:
    digits = "9" * 400
    tags = [f"BPS={'9' * 30}", f"NUMBER_OF_FRAMES={digits}"]
    options = [part for tag in tags for part in ("-metadata:s:v:0", tag)]
    info = probe(clips.moving(tmp_path / "clip.mkv", seconds=0.4, options=options))
    assert info.video_bit_rate is None
    assert info.frame_count == 10
    assert f"Stream 0 states bps {'9' * 30}, which was ignored." in info.notes
    assert f"Stream 0 states number_of_frames {digits[:40]}, which was ignored." in info.notes


@pytest.mark.parametrize("value", ["9" * 400 + ":00:00", "1e400", "nan", "-inf", "9" * 5000, "1e11", "٩" * 70, "x"])
def test_what_is_no_plausible_time_is_none(value: str) -> None:
    assert streams.seconds(value) is None


@pytest.mark.parametrize("value", ["9" * 19, 2**63, "9" * 5000, "-1", "0", "1.5", None, "nan", True])
def test_what_mongodb_cannot_hold_is_no_count(value: Any) -> None:
    assert streams.positive_int(value) is None
    assert streams.positive_int(2**63 - 1) == 2**63 - 1


@pytest.mark.parametrize("value", ["1e999999999", "1/" + "9" * 5000, "1/0", "0/0", "-25/1", "1/2147483647", "nan"])
def test_what_is_no_films_rate_is_none(value: str) -> None:
    assert streams.frame_rate(value) is None


@pytest.mark.parametrize("frames", [3, 8])
def test_a_film_of_one_picture_in_decades_is_taken_at_the_usual_rate(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "slow.y4m"
    path.write_bytes(b"YUV4MPEG2 W64 H64 F1:2147483647 C420jpeg\n" + (b"FRAME\n" + bytes(64 * 64 * 3 // 2)) * frames)
    info = probe(path)
    assert (info.duration_source, info.frame_rate, info.frame_count) == ("rate", 25, frames)
    assert any("no usable times" in note for note in info.notes)
