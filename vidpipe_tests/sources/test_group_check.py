"""Files that several threads check at the same time are checked by one program, and each gets its own result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from vidpipe.errors import MediaError
from vidpipe.media.probe import check_decodable
from vidpipe.settings.operation import Limits
from vidpipe.sources.group_check import GroupCheck
from vidpipe_tests.clips import color_cuts, ffmpeg, moving, sound_only


def in_one_group(files: Sequence[Path], check: Callable[[Path], str]) -> list[Future[str]]:
    """The results of files that gather while another one is checked."""
    checks = GroupCheck(Limits())
    gathered = threading.Event()

    def first() -> str:
        assert gathered.wait(60)
        return "mov"

    with ThreadPoolExecutor(len(files) + 1) as pool:
        alone = pool.submit(checks.container, files[0], first)
        until(lambda: checks._busy)
        others = [pool.submit(checks.container, file, lambda file=file: check(file)) for file in files]
        until(lambda: len(checks._waiting) == len(files))
        gathered.set()
    assert alone.result() == "mov"
    return others


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def never(file: Path) -> str:
    raise AssertionError(f"{file.name} was checked again")


def test_videos_of_a_group_need_no_check_of_their_own(tmp_path: Path) -> None:
    files = [
        moving(tmp_path / "a.mp4", seconds=0.5, audio="sine"),
        color_cuts(tmp_path / "b.mkv", ("white", "navy")),
        moving(tmp_path / "c.mov", seconds=0.5),
    ]
    found = [result.result() for result in in_one_group(files, never)]
    assert found == [check_decodable(file) for file in files] == ["mov", "matroska", "mov"]


def test_more_files_than_a_group_holds(tmp_path: Path) -> None:
    clip = moving(tmp_path / "clip.mp4", seconds=0.5).read_bytes()
    files = [tmp_path / f"{number}.mp4" for number in range(11)]
    for file in files:
        file.write_bytes(clip)
    assert [result.result() for result in in_one_group(files, never)] == ["mov"] * 11


@pytest.mark.parametrize("kind", ["text", "sound", "picture", "cover", "one picture", "garbage", "cut off"])
def test_a_file_that_is_no_video_gets_the_error_of_its_own_check(tmp_path: Path, kind: str) -> None:
    good = moving(tmp_path / "good.mp4", seconds=0.5)
    bad = tmp_path / "bad.mp4"
    if kind == "text":
        bad.write_bytes(b"no video at all " * 100)
    elif kind == "sound":
        sound_only(bad)
    elif kind == "picture":
        bad = ffmpeg(tmp_path / "bad.png", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
    elif kind == "cover":
        picture = ffmpeg(tmp_path / "cover.png", "-f", "lavfi", "-i", "testsrc2=size=64x64", "-frames:v", "1")
        sound = ("-f", "lavfi", "-i", "sine=duration=3", "-i", str(picture), "-map", "0", "-map", "1")
        ffmpeg(bad, *sound, "-c:v", "copy", "-disposition:v", "attached_pic")
    elif kind == "one picture":
        inputs = ("sine=duration=3", "testsrc2=size=64x64:rate=10:duration=0.1")
        ffmpeg(bad, *(part for one in inputs for part in ("-f", "lavfi", "-i", one)))
    elif kind == "garbage":  # the header is that of a video
        data = moving(bad, seconds=0.5).read_bytes()
        start = data.index(b"mdat") + 4
        end = data.index(b"moov") - 4 if data.index(b"moov") > start else len(data)
        bad.write_bytes(data[:start] + b"\xa5" * (end - start) + data[end:])
    else:
        data = moving(bad, seconds=0.5).read_bytes()
        bad.write_bytes(data[: data.index(b"mdat") + 200])
    with pytest.raises(MediaError) as own:
        check_decodable(bad)
    first, second, third = in_one_group([good, bad, good], check_decodable)
    assert first.result() == third.result() == "mov"
    with pytest.raises(MediaError) as caught:
        second.result()
    assert str(caught.value) == str(own.value)


def test_a_file_that_disappears_does_not_hold_the_others(tmp_path: Path) -> None:
    good, gone = moving(tmp_path / "good.mp4", seconds=0.5), tmp_path / "gone.mp4"
    gone.write_bytes(good.read_bytes())
    checks = GroupCheck(Limits())
    started, gathered = threading.Event(), threading.Event()

    def first() -> str:
        started.set()
        assert gathered.wait(60)
        return "mov"

    with ThreadPoolExecutor(4) as pool:
        pool.submit(checks.container, good, first)
        assert started.wait(60)
        results = [pool.submit(checks.container, file, lambda: "checked alone") for file in (good, gone, good)]
        until(lambda: len(checks._waiting) == 3)
        gone.unlink()
        gathered.set()
    states = ["missing" if isinstance(one.exception(), OSError) else one.result() for one in results]
    assert sorted(states) in (["checked alone", "checked alone", "missing"], ["checked alone"] * 3)
