"""Playable copies: what comes out of files that browsers cannot play, and that their seconds are the library's."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vidpipe.errors import MediaError
from vidpipe.media import memory
from vidpipe.media.encode import EncodeFormat, EncodeOrder, encode
from vidpipe.media.facts import MediaInfo
from vidpipe.media.playability import measured_start, playability
from vidpipe.media.probe import probe
from vidpipe.settings.schema import Settings
from vidpipe.stages.contract import Item
from vidpipe.stages.video_decode import plan_for
from vidpipe_tests import clips

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


def made(clip: Path, **changes: Any) -> tuple[MediaInfo, MediaInfo, Path]:
    """(what the clip is, what its proxy is, the proxy)"""
    info = probe(clip)
    item = Item("0" * 64, {f"metadata.{name}": value for name, value in dict(info).items()})
    order = {
        "path": clip, "plan": plan_for(item, Settings(home=clip.parent)), "size": (info.width, info.height),
        "duration_s": info.duration_s, "limits": memory.FileLimits(pixels=info.width * info.height),
        "time_limit_s": 60.0, "max_bytes": 10**8, "cancelled": threading.Event(), "progress": lambda share: None,
    }  # fmt: skip
    destination = clip.with_name("proxy.mp4")
    encode(EncodeOrder(**{**order, **changes}), destination)
    return info, probe(destination), destination


def shown(path: Path) -> NDArray[np.float64]:
    """The mean color of what a player shows at each 25th of a second."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=8:8:flags=area,format=rgb24"]
    done = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, 64, 3).mean(axis=1)


def assert_shows(path: Path, colors: Sequence[tuple[int, int, int]], tolerance: float = 30) -> None:
    """Each color for a second: from its first frame to its last."""
    frames = shown(path)
    for second, color in enumerate(colors):
        for number in (25 * second, 25 * second + 24):
            assert np.abs(frames[number] - color).max() < tolerance, (number, frames[number])


CLIPS: dict[str, dict[str, Any]] = {
    "hevc.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "audio": "sine"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "interlaced.ts": {
        "codec": "mpeg2video", "audio": "sine",
        "options": ("-flags", "+ildct+ilme", "-top", "1", "-c:a", "mp2", "-q:v", "2", "-g", "10"),
    },
    "xvid.avi": {"codec": "mpeg4", "audio": "sine", "options": ("-q:v", "2", "-c:a", "mp2")},
}  # fmt: skip


@pytest.mark.parametrize("name", [
    name if name in ("hevc.mp4", "interlaced.ts") else pytest.param(name, marks=pytest.mark.soak) for name in CLIPS
])  # fmt: skip
def test_a_proxy_shows_the_same_picture_at_the_same_second(tmp_path: Path, name: str) -> None:
    clip = clips.color_cuts(tmp_path / name, **{"size": "160x96", **CLIPS[name]})
    info, proxy, path = made(clip)
    assert not playability(info).playable
    assert (info.field_order == "tt") == (name == "interlaced.ts")
    assert (proxy.container, proxy.video_codec, proxy.pixel_format) == ("mov", "h264", "yuv420p")
    assert (proxy.width, proxy.height, proxy.faststart, proxy.field_order) == (160, 96, True, "progressive")
    assert [(stream.codec, stream.channels) for stream in proxy.audio] == ([("aac", 2)] if info.audio else [])
    assert proxy.duration_s == pytest.approx(info.duration_s, abs=0.08)
    assert abs((proxy.frame_count or 0) - (info.frame_count or 0)) <= 1
    assert_shows(path, (RED, GREEN, BLUE))
    assert playability(proxy, starts_s=measured_start(path, 0)[1]).playable


@pytest.mark.parametrize("suffix", ["mkv", *(pytest.param(name, marks=pytest.mark.soak) for name in ("mp4", "ts"))])
def test_times_count_from_the_first_picture_also_if_it_starts_after_the_sound(tmp_path: Path, suffix: str) -> None:
    picture = clips.color_cuts(tmp_path / "picture.mp4", size="160x96", options=("-bf", "0"))
    clip = clips.ffmpeg(
        tmp_path / f"late.{suffix}", "-itsoffset", "2", "-i", str(picture), "-f", "lavfi", "-t", "5", "-i",
        # silent until the picture begins, and for another half second
        "sine=frequency=440:sample_rate=44100,volume='gte(t,2.5)':eval=frame", "-map", "0:v", "-map", "1:a",
        "-c:v", "copy", "-c:a", "aac",
    )  # fmt: skip
    info, proxy, path = made(clip)
    assert not playability(info, starts_s=measured_start(clip, 0)[1]).playable
    assert measured_start(path, 0)[1] == pytest.approx(0.0, abs=0.01)
    assert proxy.duration_s == pytest.approx(info.duration_s, abs=0.08)
    assert_shows(path, (RED, GREEN, BLUE))
    assert sound_begins(path) == pytest.approx(0.5, abs=0.06)


def sound_begins(path: Path) -> float:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a", "-ac", "1", "-ar", "8000", "-f", "f32le", "-"]
    samples = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)
    return float(np.argmax(np.abs(samples) > 0.02)) / 8000


def test_hdr_is_tone_mapped_to_bt709(tmp_path: Path) -> None:
    tags = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
    clip = clips.color_cuts(
        tmp_path / "hdr.mp4", ("0x808080",), size="160x96", codec="libx265", pixel_format="yuv420p10le", options=tags,
    )  # fmt: skip
    info, proxy, path = made(clip)
    assert info.hdr
    assert (proxy.hdr, proxy.color_transfer, proxy.bit_depth) == (None, "bt709", 8)
    assert 120 < shown(path)[12].mean() < 220  # 92 cd/m² of 150 are white


def test_the_picture_is_rotated_and_at_most_720_pixels_high(tmp_path: Path) -> None:
    _, proxy, _ = made(clips.rotated(tmp_path / "phone.mov", 90, size="1920x1080", seconds=0.2))
    assert (proxy.width, proxy.height, proxy.rotation) == (720, 1280, 0)
    assert EncodeFormat().size(1921, 801) == (1280, 534)
    assert EncodeFormat().size(333, 99) == (332, 100)
    assert EncodeFormat().size(10_000, 3) == (1280, 2)


def test_a_variable_rate_stays_variable(tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "variable.mkv", size="160x96", options=(
        "-vf", "select='not(between(mod(n,10),3,7))'", "-vsync", "vfr"))  # fmt: skip
    info, proxy, _ = made(clip)
    assert info.variable_frame_rate
    assert (proxy.variable_frame_rate, proxy.frame_count) == (True, info.frame_count)


def test_what_cannot_be_decoded_gives_an_error_with_a_reason(tmp_path: Path) -> None:
    clip = clips.moving(tmp_path / "broken.mp4", size="160x96", seconds=1)
    info = probe(clip)
    data = bytearray(clip.read_bytes())
    at = data.index(b"mdat") + 4
    data[at : at + 5000] = bytes(len(data[at : at + 5000]))
    clip.write_bytes(data[: at + 5000])
    item = Item("0" * 64, {f"metadata.{name}": value for name, value in dict(info).items()})
    plan = plan_for(item, Settings(home=tmp_path))
    order = EncodeOrder(
        clip, plan, (160, 96), 1.0, memory.FileLimits(pixels=160 * 96), 60.0, 10**8, threading.Event(), print
    )
    with pytest.raises(MediaError, match=r"No playable copy could be made: .+"):
        encode(order, tmp_path / "proxy.mp4")


def test_a_proxy_that_exceeds_the_cache_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not fit into the cache"):
        made(clips.moving(tmp_path / "clip.mkv", seconds=2), max_bytes=1000)


def test_a_damaged_file_gives_what_can_be_decoded_of_it(clips_directory: Path, tmp_path: Path) -> None:
    clip = tmp_path / "corrupted.mp4"
    clip.write_bytes((clips_directory / "corrupted.mp4").read_bytes())
    info, proxy, _ = made(clip)
    assert proxy.duration_s == pytest.approx(info.duration_s, abs=0.2)
