"""A file that holds less than its header announces is truncated; one that is as large as it states is whole."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from vidpipe.media.probe import probe
from vidpipe_tests import clips


def test_late_sound_in_asf_makes_nothing_truncated(tmp_path: Path) -> None:
    path = clips.ffmpeg(
        tmp_path / "late.wmv", "-f", "lavfi", "-t", "3", "-i", "testsrc2=size=64x48:rate=25",
        "-itsoffset", "1.5", "-f", "lavfi", "-t", "1.5", "-i", "sine",
    )  # fmt: skip
    assert probe(path).announced_duration_s is None


@pytest.mark.parametrize(
    ("suffix", "options"), [(".flv", ()), (".mkv", ()), (".avi", ()), (".mp4", ("-movflags", "+faststart"))]
)
def test_a_file_that_holds_less_than_it_announces_is_truncated(
    tmp_path: Path, suffix: str, options: Sequence[str]
) -> None:
    whole = clips.moving(tmp_path / f"whole{suffix}", seconds=6, audio="sine", options=options)
    assert probe(whole).announced_duration_s is None
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    info = probe(cut)
    assert info.announced_duration_s == pytest.approx(6.0, abs=0.1)
    assert info.duration_s is not None
    assert 2 < info.duration_s < 4


def test_a_truncated_asf_file_is_reported_although_ffmpeg_tells_no_duration(tmp_path: Path) -> None:
    data = clips.ffmpeg(tmp_path / "whole.wmv", "-f", "lavfi", "-t", "6", "-i", "testsrc2=size=64x48:rate=25")
    cut = tmp_path / "cut.wmv"
    cut.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    assert probe(cut).announced_duration_s == 6.0


@pytest.mark.parametrize(
    ("suffix", "mark", "wrong"),
    [
        (".mp4", b"mvhd" + bytes(16), struct.pack(">I", 5_000_000)),
        (".flv", b"duration\x00", struct.pack(">d", 5000)),
        (".mkv", b"\x44\x89\x88", struct.pack(">d", 5_000_000)),
    ],
    ids=[".mp4", ".flv", ".mkv"],
)
def test_a_file_of_the_stated_size_is_whole_whatever_duration_it_states(
    tmp_path: Path, suffix: str, mark: bytes, wrong: bytes
) -> None:
    path = clips.moving(tmp_path / f"a{suffix}", options=["-bitexact"])
    data = path.read_bytes()
    place = data.index(mark[:4]) + len(mark)
    path.write_bytes(data[:place] + wrong + data[place + len(wrong) :])
    info = probe(path)
    assert (info.announced_duration_s, info.duration_s) == (None, 2.0)
    assert info.notes == ("The header states 5000.00 s, but the whole file holds less.",)
    assert info.container_duration_s == pytest.approx(2.0, abs=0.1)


def test_a_length_that_a_program_left_open_is_no_announcement(tmp_path: Path) -> None:
    """ffmpeg cannot go back to the header of what it writes to a pipe, which then says a thousand million frames."""
    path = clips.moving(tmp_path / "a.avi")
    piped = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", str(path), "-c", "copy", "-f", "avi", "-"], capture_output=True, check=True
    )
    path.write_bytes(piped.stdout)
    assert probe(path).announced_duration_s is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv", ".avi"])
def test_sound_that_is_longer_than_the_picture_is_no_truncation(tmp_path: Path, suffix: str) -> None:
    path = clips.ffmpeg(
        tmp_path / f"long{suffix}", "-f", "lavfi", "-t", "1", "-i", "testsrc2=size=64x48:rate=25",
        "-f", "lavfi", "-t", "6", "-i", "sine", "-c:v", "libx264",
    )  # fmt: skip
    info = probe(path)
    assert (info.announced_duration_s, info.frame_count) == (None, 25)
    assert info.duration_s == pytest.approx(1.0, abs=0.05)
