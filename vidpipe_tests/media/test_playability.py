"""Which files all browsers play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidpipe.media.facts import AudioStream, Damage, MediaInfo
from vidpipe.media.playability import measured_start, playability
from vidpipe.media.probe import probe
from vidpipe_tests import clips

PLAYED: dict[str, Any] = {
    "container": "mov", "size_bytes": 1, "video_stream": 0, "video_codec": "h264", "video_profile": "High",
    "pixel_format": "yuv420p", "bit_depth": 8, "coded_width": 1920, "coded_height": 1080, "width": 1920, "height": 1080,
    "resolution": "Full HD", "audio": (AudioStream(index=1, codec="aac"),),
}  # fmt: skip
OPUS = (AudioStream(index=1, codec="opus"),)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"audio": ()},
        {"faststart": False},
        {"rotation": 90},
        {"pixel_format": "yuvj420p"},
        {"video_codec": "av1", "video_profile": None},
        {"audio": (AudioStream(index=1, codec="mp3"),)},
        *({"container": "matroska", "video_codec": codec, "audio": OPUS} for codec in ("vp8", "vp9", "av1")),
    ],
)
def test_what_browsers_play(changes: dict[str, Any]) -> None:
    found = playability(MediaInfo(**PLAYED | changes), webm=True)
    assert found.playable
    assert found.reason.startswith("Browsers play ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"container": "mpegts"}, "MPEG-TS files"),
        ({"container": "avi"}, "AVI files"),
        ({"container": "flv"}, "Flash files"),
        ({"container": "asf"}, "Windows Media files"),
        ({"video_codec": "hevc"}, "HEVC pictures in MP4"),
        ({"video_codec": "mpeg4"}, "MPEG-4 Part 2"),
        ({"video_codec": "prores"}, "ProRes"),
        ({"bit_depth": 10}, "10 bits"),
        ({"pixel_format": "yuv422p"}, "yuv422p"),
        ({"pixel_format": "yuv444p"}, "yuv444p"),
        ({"hdr": "HLG"}, "HLG"),
        ({"field_order": "tt"}, "deinterlace"),
        ({"mirrored": True}, "mirror"),
        ({"video_streams": 2}, "several video streams"),
        ({"coded_width": 7680, "coded_height": 4320}, "this large"),
        ({"audio": (AudioStream(index=1, codec="ac3"),)}, "ac3 sound"),
        ({"audio": OPUS}, "opus sound in MP4"),
        ({"clock_jumps": 1}, "times jump"),
        ({"container": "matroska", "video_codec": "vp9", "audio": OPUS}, "Matroska files"),
    ],
)
def test_what_some_browser_does_not_play(changes: dict[str, Any], reason: str) -> None:
    found = playability(MediaInfo(**PLAYED | changes))
    assert not found.playable
    assert reason in found.reason
    assert found.reason.endswith(".")


def test_a_damaged_file_and_one_whose_picture_starts_late_are_not_played_as_they_are() -> None:
    assert "damaged" in playability(MediaInfo(**PLAYED), Damage(errors=1)).reason
    assert "starts at 2.50 s" in playability(MediaInfo(**PLAYED), starts_s=2.5).reason


def test_webm_is_told_from_matroska_by_its_header(tmp_path: Path) -> None:
    webm = clips.moving(tmp_path / "a.webm", codec="libvpx-vp9", size="64x64", seconds=0.2)
    mkv = clips.ffmpeg(tmp_path / "b.mkv", "-i", str(webm), "-c", "copy")
    found = [playability(probe(path), webm=measured_start(path, 0)[0]).playable for path in (webm, mkv)]
    assert found == [True, False]
