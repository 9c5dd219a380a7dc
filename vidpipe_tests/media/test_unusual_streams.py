"""The unusual test clips are what they say: their frames decode, and their structure is the unusual one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidpipe_tests.field_pictures import field_pictures
from vidpipe_tests.unusual_streams import CUTS, FRAMES, unusual


def _frames(path: Path, *options: str) -> np.ndarray[Any, Any]:
    """Every decoded frame, small: uint8, shape (frames, 18, 32)."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "quiet", *options, "-i", path, "-map", "0:v:0", "-vf", "scale=32:18:flags=area,format=gray",
         "-fps_mode", "passthrough", "-f", "rawvideo", "-"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    return np.frombuffer(raw, np.uint8).reshape(-1, 18, 32)


def _packets(path: Path) -> list[dict[str, str]]:
    shown = subprocess.run(
        ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags",
         "-of", "json", path],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    packets: list[dict[str, str]] = json.loads(shown)["packets"]
    return packets


@pytest.mark.parametrize(
    "name",
    ["h264_open_gop_ts", "h264_pyramid", "h264_mbaff", "h264_one_key", "h264_fields_ts", "h265_open_gop",
     "mpeg2_fields", "av1_svt", "prores"],
)  # fmt: skip
def test_every_frame_decodes_and_the_cuts_are_where_they_are_said_to_be(tmp_path: Path, name: str) -> None:
    frames = _frames(unusual(tmp_path, name)).astype(int)
    assert len(frames) == FRAMES
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))
    assert sorted(np.argsort(change)[-len(CUTS) :] + 1) == list(CUTS)


def test_half_of_the_frames_of_an_open_gop_are_references(tmp_path: Path) -> None:
    path = unusual(tmp_path, "h264_open_gop")
    assert FRAMES // 4 < len(_frames(path, "-skip_frame", "noref")) < FRAMES * 3 // 4
    assert sum("K" in packet["flags"] for packet in _packets(path)) == FRAMES // 25


def test_leading_pictures_without_their_reference_are_not_decoded(tmp_path: Path) -> None:
    path = unusual(tmp_path, "h265_cut_ts")
    packets = _packets(path)
    first_key = next(packet for packet in packets if "K" in packet["flags"])
    leading = [packet for packet in packets if float(packet["pts_time"]) < float(first_key["pts_time"])]
    assert leading
    assert len(_frames(path)) == len(packets) - len(leading)


def test_avi_has_no_presentation_times(tmp_path: Path) -> None:
    assert not any("pts_time" in packet for packet in _packets(unusual(tmp_path, "h264_avi")))


def test_an_edit_list_hides_frames_that_the_decoder_needs(tmp_path: Path) -> None:
    path = unusual(tmp_path, "h264_edit_list")
    assert len(_frames(path)) == FRAMES - 35 < len(_packets(path))


def test_field_pictures_decode_to_the_samples_they_were_made_of(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    frames = [
        [random.integers(16, 236, shape, np.uint8) for shape in ((32, 48), (16, 24), (16, 24))] for _ in range(30)
    ]
    path = tmp_path / "fields.h264"
    path.write_bytes(field_pictures(frames))
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-"], capture_output=True, check=True
    ).stdout
    assert raw == b"".join(plane.tobytes() for planes in frames for plane in planes)
    assert len(_packets(path)) == 2 * len(frames)
