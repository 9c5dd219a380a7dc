"""What is known of real files that nobody here made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vidpipe.media.probe import check_decodable, probe

_KNOWN: dict[str, dict[str, Any]] = {
    "bikes.mp4": {"width": 640, "height": 272, "frame_count": 250, "duration_s": 10.0, "audio": (), "resolution": "SD"},
    "bigbuckbunny.mp4": {"width": 1280, "height": 720, "resolution": "HD", "frame_rate_exact": "25/1"},
    "dj1.mp4": {"width": 640, "frame_rate_exact": "24/1"},
    "dj2.mp4": {"orientation": "portrait", "width": 480, "height": 640},
    "dj3.mp4": {"orientation": "portrait", "width": 362, "height": 640},
    "pancake.mkv": {"container": "matroska", "frame_count": 310, "frame_count_source": "packets"},
    "av1.mkv": {"video_codec": "av1", "frame_count": 125, "duration_s": 5.0},
    "h265.mp4": {"video_codec": "hevc"},
    "h264_10bit.mp4": {"video_codec": "h264", "bit_depth": 10},
    "rotated90.mov": {"rotation": 90, "coded_width": 568, "width": 320, "height": 568, "frame_count": 3},
    "corrupted.mp4": {"width": 1280, "height": 720, "frame_count": 50},
    "nasa.mp4": {
        "video_stream": 3, "video_streams": 2, "width": 480, "height": 270, "frame_rate_exact": "30000/1001",
        "frame_count": 390, "duration_s": 13.013, "container_duration_s": 16.57,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", _KNOWN)
def test_facts(clips_directory: Path, name: str) -> None:
    check_decodable(clips_directory / name)
    info = probe(clips_directory / name)
    assert {key: getattr(info, key) for key in _KNOWN[name]} == _KNOWN[name]
    assert not info.variable_frame_rate


def test_sound_and_subtitles_of_real_clips(clips_directory: Path) -> None:
    assert probe(clips_directory / "bigbuckbunny.mp4").audio[0].channels == 6
    nasa = probe(clips_directory / "nasa.mp4")
    assert [(stream.codec, stream.language, stream.text) for stream in nasa.subtitles] == [
        ("mov_text", "eng", True)
    ] * 2
    assert [len([cue for cue in nasa.cues if cue.stream == index]) for index in (2, 5)] == [4, 4]
    assert nasa.cues[0].text.startswith("NAR: This is the optical and science segment")
    assert nasa.cues[0].start_s == pytest.approx(0.21)
