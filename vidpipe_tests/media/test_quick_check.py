"""One process checks many videos; it leaves whatever is not certainly a video to a check of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg as programs
from vidpipe.media import memory
from vidpipe.media.probe import check_decodable
from vidpipe.media.quick_check import QuickCheck
from vidpipe.settings.operation import Limits
from vidpipe_tests.clips import color_cuts, ffmpeg, moving, sound_only


@pytest.fixture
def quick() -> Iterator[QuickCheck]:
    with closing(QuickCheck()) as quick:
        yield quick


def test_videos_need_no_program_of_their_own(
    tmp_path: Path, quick: QuickCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        moving(tmp_path / "a.mp4", seconds=0.5, audio="sine"),
        color_cuts(tmp_path / "b.mkv", ("white", "navy")),
        moving(tmp_path / "ä c.mov", seconds=0.5),
    ]
    alone = [check_decodable(file) for file in files]
    monkeypatch.setattr(programs, "ffprobe_path", lambda: pytest.fail("a program was started"))
    assert [check_decodable(file, quick=quick) for file in files] == alone == ["mov", "matroska", "mov"]


@pytest.mark.parametrize("kind", ["text", "sound", "cover", "one picture", "garbage", "cut off"])
def test_a_file_that_is_no_video_gets_the_error_of_its_own_check(tmp_path: Path, quick: QuickCheck, kind: str) -> None:
    good, bad = moving(tmp_path / "good.mp4", seconds=0.5), tmp_path / "bad.mp4"
    if kind == "text":
        bad.write_bytes(b"no video at all " * 100)
    elif kind == "sound":
        sound_only(bad)
    elif kind == "cover":
        picture = ffmpeg(tmp_path / "cover.png", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
        sound = ("-f", "lavfi", "-i", "sine=duration=3", "-i", str(picture), "-map", "0", "-map", "1")
        ffmpeg(bad, *sound, "-c:v", "copy", "-disposition:v", "attached_pic")
    elif kind == "one picture":
        inputs = ("sine=duration=3", "testsrc2=size=64x64:rate=10:duration=0.1")
        ffmpeg(bad, *(part for one in inputs for part in ("-f", "lavfi", "-i", one)))
    else:  # the header is that of a video
        data = moving(bad, seconds=0.5).read_bytes()
        start = data.index(b"mdat") + 4
        end = data.index(b"moov") - 4 if data.index(b"moov") > start else len(data)
        garbage = data[:start] + b"\xa5" * (end - start) + data[end:]
        bad.write_bytes(garbage if kind == "garbage" else data[: start + 200])
    with pytest.raises(MediaError) as alone:
        check_decodable(bad)
    assert quick.container(good) == "mov"
    with pytest.raises(MediaError) as caught:
        check_decodable(bad, quick=quick)
    assert str(caught.value) == str(alone.value)
    assert quick.container(good) == "mov"


def test_with_several_video_streams_the_one_that_is_processed_is_checked(tmp_path: Path, quick: QuickCheck) -> None:
    small, large = (moving(tmp_path / f"{size}.mp4", seconds=0.5, size=size) for size in ("64x64", "320x240"))
    both = ffmpeg(tmp_path / "both.mkv", "-i", str(small), "-i", str(large), "-map", "0", "-map", "1", "-c", "copy")
    assert quick.container(both) is None
    assert check_decodable(both, quick=quick) == "matroska"


def test_the_limits_of_picture_size_and_memory_apply(tmp_path: Path, quick: QuickCheck) -> None:
    file = moving(tmp_path / "a.mp4", seconds=0.5, size="320x240")
    with pytest.raises(MediaError, match="320x240"):
        check_decodable(file, limits=Limits(max_pixels=4000), quick=quick)
    with memory.reading(memory.FileLimits(extra_bytes=-(115 << 20))):
        assert quick.container(file) is None


def test_a_killed_process_is_replaced(tmp_path: Path, quick: QuickCheck) -> None:
    file = moving(tmp_path / "a.mp4", seconds=0.5)
    assert quick.container(file) == "mov"
    assert quick._process is not None
    os.kill(quick._process.pid, signal.SIGKILL)
    assert check_decodable(file, quick=quick) == "mov"
    assert quick.container(file) == "mov"
    process = quick._process
    quick.close()
    assert process.returncode is not None
