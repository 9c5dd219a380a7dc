"""The layout of MP4 files is read from their boxes, whatever lengths these claim."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vidpipe.media.boxes import Layout, layout
from vidpipe_tests import clips


def test_index_before_and_after_the_media_data(tmp_path: Path) -> None:
    behind = clips.moving(tmp_path / "a.mp4", seconds=0.5)
    before = clips.moving(tmp_path / "b.mp4", seconds=0.5, options=["-movflags", "+faststart"])
    assert layout(behind) == Layout(has_index=True, faststart=False, encrypted=False, cut_off=False)
    assert layout(before) == Layout(has_index=True, faststart=True, encrypted=False, cut_off=False)


def test_a_cut_off_file_has_no_index(tmp_path: Path) -> None:
    assert layout(clips.truncated(tmp_path / "a.mp4", share=0.98)) == Layout(False, None, False, cut_off=True)


def test_other_files_have_no_boxes(tmp_path: Path) -> None:
    assert layout(clips.moving(tmp_path / "a.mkv", seconds=0.5)) is None


@pytest.mark.parametrize("length", [0, 2, 7, 8, 2**31])
@pytest.mark.parametrize("wide", [0, 1, 2**63, 2**64 - 1])
def test_made_up_lengths_end_the_search(tmp_path: Path, length: int, wide: int) -> None:
    path = tmp_path / "x.mp4"
    first = struct.pack(">I4s8s", 16, b"ftyp", b"isom\0\0\0\0")
    path.write_bytes(first + struct.pack(">I4sQ", 1, b"mdat", wide) + struct.pack(">I4s", length, b"moov") + bytes(64))
    found = layout(path)
    assert found is not None
    assert not found.encrypted
