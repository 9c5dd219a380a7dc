"""vidpipe convert, as a user calls it: copies are compared with their sources by tools other than vidpipe's own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidpipe.datasets.target import STATE
from vidpipe.models.worker import WorkerModel
from vidpipe.settings import Settings
from vidpipe.stages.analyses.faces import ANALYSIS
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.stages.analyses.packed_items import portrait_clip

MODEL = "faces-centerface"


def _described(path: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-show_chapters", "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def _frames(path: Path) -> list[tuple[float, str]]:
    """(time in seconds, hash) of each frame of the first video stream."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vsync", "passthrough", "-enc_time_base",
               "1/1000000", "-f", "framemd5", "-"]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    return [(int(row[2]) / 1e6, row[5].strip()) for row in rows]


def _sound(path: Path) -> bytes:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "s24le", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _pictures(path: Path, size: tuple[int, int] = (256, 300)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", f"scale={size[0]}:{size[1]}", "-pix_fmt", "gray", "-f",
               "rawvideo", "-"]  # fmt: skip
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, size[1], size[0])


def test_an_archival_copy_holds_every_frame_sound_subtitle_chapter_and_tag(vidpipe: Command, tmp_path: Path) -> None:
    said = clips.subtitled(tmp_path / "said.mkv", [(0.2, 1.0, "Good morning")])
    chapters = tmp_path / "chapters.txt"
    chapters.write_text(
        ";FFMETADATA1\ntitle=A Title\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle=First\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=500\nEND=1000\ntitle=Second\n"
    )
    source = tmp_path / "source.mp4"
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=1")
    command = ["ffmpeg", "-v", "error", "-i", str(said), *sound, "-i", str(chapters), "-map", "0:v", "-map", "1:a",
               "-map", "0:s", "-map_metadata", "2", "-map_chapters", "2", "-t", "1", "-vf", "select='mod(n,3)'",
               "-vsync", "passthrough", "-c:v", "libx264", "-bf", "2", "-c:a", "aac", "-c:s", "mov_text",
               "-metadata:s:s:0", "language=eng", str(source)]  # fmt: skip
    subprocess.run(command, check=True)
    vidpipe.json("add", source)
    out = tmp_path / "out"
    (made,) = vidpipe.json("convert", "--all", "--to", "archival", "--output", out)["videos"]
    copy = out / made["file"]
    assert copy.name == "source.mkv"

    before, after = _frames(source), _frames(copy)
    assert [frame for _, frame in after] == [frame for _, frame in before]
    assert [time_s for time_s, _ in after] == pytest.approx([time_s for time_s, _ in before], abs=0.001)
    assert made["frames"] == len(before)
    assert _sound(copy) == _sound(source)
    found = _described(copy)
    assert [stream["codec_name"] for stream in found["streams"]] == ["ffv1", "flac", "subrip"]
    assert found["streams"][2]["tags"]["language"] == "eng"
    assert [chapter["tags"]["title"] for chapter in found["chapters"]] == ["First", "Second"]
    assert found["format"]["tags"]["title"] == "A Title"
    assert made["left_out"] == ["data bin_data"]  # MP4's list of the chapters


@pytest.mark.soak
def test_an_archival_copy_keeps_a_variable_frame_rate_full_range_and_rgb(vidpipe: Command, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    clips.variable_rate(folder / "variable.mp4", size="64x64")
    part = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=0.5")
    clips.ffmpeg(folder / "full.avi", *part, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    clips.ffmpeg(folder / "rgb.mov", *part, "-c:v", "png", "-pix_fmt", "rgb24")
    clips.rotated(folder / "rotated.mp4", 90)
    vidpipe.json("add", folder)
    found = vidpipe.json("convert", "--all", "--to", "archival", "--output", tmp_path / "out")
    assert found["counts"] == {"converted": 4}
    for name in ("variable.mp4", "full.avi", "rotated.mp4"):
        before, after = _frames(folder / name), _frames((tmp_path / "out" / name).with_suffix(".mkv"))
        assert [frame for _, frame in after] == [frame for _, frame in before], name
        assert [time_s for time_s, _ in after] == pytest.approx([time_s for time_s, _ in before], abs=0.0011), name


def test_playable_copies_are_named_safely_and_made_once(vidpipe: Command, tmp_path: Path) -> None:
    hostile = '-\\;rm -rf ~ <b>"x"|?.mov'
    source = clips.moving(tmp_path / "a" / "same.mkv", seconds=1, size="64x64", audio="sine")
    clips.moving(tmp_path / "b" / "same.mkv", seconds=1.2, size="64x64")
    clips.moving(tmp_path / "c" / "x.mov", seconds=1.4, size="64x64").rename(tmp_path / "c" / hostile)
    vidpipe.json("add", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    out = tmp_path / "out"
    out.mkdir()
    (out / "same.mp4").write_bytes(b"of somebody else")
    first = vidpipe.json("convert", "--all", "--output", out)["videos"]
    assert {video["state"] for video in first} == {"converted"}
    names = {video["file"] for video in first}
    assert len(names) == 3
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "same.mp4", STATE])
    assert (out / "same.mp4").read_bytes() == b"of somebody else"
    assert {video["file"] for video in first if video["name"] == "same.mkv"} == {
        f"same-{video['video'][:12]}.mp4" for video in first if video["name"] == "same.mkv"
    }
    found = _described(out / next(video["file"] for video in first if video["duration_s"] == 1.0))
    assert [stream["codec_name"] for stream in found["streams"]] == ["h264", "aac"]
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    again = vidpipe.json("convert", "--all", "--output", out)["videos"]
    assert {video["state"] for video in again} == {"kept"}
    assert {video["file"] for video in again} == names
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in times.items() if path.name != STATE)
    source.unlink()


def test_a_broken_video_fails_alone_and_a_missing_model_is_named(vidpipe: Command, tmp_path: Path) -> None:
    good = clips.moving(tmp_path / "good.mp4", seconds=0.5, size="64x64")
    lost = clips.moving(tmp_path / "lost.mp4", seconds=0.6, size="64x64")
    vidpipe.json("add", good)
    vidpipe.json("add", lost, "--mode", "reference")
    lost.unlink()
    found = vidpipe.json("convert", "--all", "--output", tmp_path / "out", code=1)
    assert found["counts"] == {"converted": 1, "failed": 1}
    assert not list((vidpipe.home / "data" / "derived" / "conversions").iterdir())
    assert vidpipe("convert", "good", "--output", good).exit_code == 2
    assert vidpipe("convert", "--output", tmp_path).exit_code == 2
    assert vidpipe("convert", "good", "--to", "archival", "--blur-faces", "--output", tmp_path).exit_code == 2
    without_model = vidpipe("convert", "--all", "--blur-faces", "--output", tmp_path / "out")
    assert without_model.exit_code == 3
    assert f"vidpipe models install {MODEL}" in without_model.output


@pytest.mark.soak
@pytest.mark.parametrize("to", ["playable", "archival"])
def test_ctrl_c_leaves_no_half_copy(vidpipe: Command, tmp_path: Path, to: str) -> None:
    part = clips.moving(tmp_path / "part.mp4", seconds=4, size="1280x720")
    clips.ffmpeg(tmp_path / "long.mp4", "-stream_loop", "60", "-i", str(part), "-c", "copy")
    vidpipe.json("add", tmp_path / "long.mp4", "--mode", "reference")
    process = vidpipe.start("convert", "--all", "--json", "--to", to, "--output", tmp_path / "out")
    scratch = vidpipe.home / "data" / "derived" / "conversions"
    while not list(scratch.glob("*/made.*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert json.loads(stdout)["videos"] == []
    assert not list(scratch.iterdir())
    assert not (tmp_path / "out").exists()


def test_faces_are_blurred_and_nothing_else_and_no_metadata_is_kept(
    vidpipe: Command, models_directory: PackagedModels, tmp_path: Path
) -> None:
    models_directory.into(vidpipe.home, MODEL)
    still = portrait_clip(tmp_path / "still.mp4")
    source = clips.ffmpeg(tmp_path / "portrait.mp4", "-i", str(still), "-c", "copy", "-metadata", "title=Grace Hopper")
    vidpipe.json("add", source)
    found = vidpipe.json("convert", "--all", "--blur-faces", "--output", tmp_path / "out")
    (made,) = found["videos"]
    assert made["faces"] == {"searched": 3, "with_faces": 3}
    assert "no guarantee" in found["limits"]
    copy = tmp_path / "out" / made["file"]
    assert "title" not in _described(copy)["format"].get("tags", {})
    before, after = _pictures(source), _pictures(copy)
    assert len(after) == len(before) == made["frames"]
    face, coat = np.s_[72:162, 92:174], np.s_[225:285, 25:230]
    for shown, hidden in zip(before, after, strict=True):
        assert _detail(shown[face]) > 4
        assert _detail(hidden[face]) < 2
        assert _detail(hidden[coat]) == pytest.approx(_detail(shown[coat]), rel=0.15)


def _detail(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
    return float(np.abs(np.diff(picture.astype(np.int16), axis=1)).mean())


@pytest.mark.soak
def test_no_face_of_a_real_or_moving_one_remains(
    vidpipe: Command, clips_directory: Path, models_directory: PackagedModels, tmp_path: Path
) -> None:
    models_directory.into(vidpipe.home, MODEL)
    shutil.copy(clips_directory / "dj3.mp4", tmp_path / "real.mp4")
    # the portrait crosses the picture within two seconds, so it moves by a fifth of its width between searched frames
    moving = "[0]scale=160:-2[p];color=gray:size=640x240:rate=25:duration=2[b];[b][p]overlay=x=240*t:y=20:shortest=1"
    still = portrait_clip(tmp_path / "still" / "still.mp4", seconds=2)
    clips.ffmpeg(tmp_path / "moving.mp4", "-i", str(still), "-filter_complex", moving, "-c:v", "libx264")
    vidpipe.json("add", tmp_path / "real.mp4", tmp_path / "moving.mp4")
    found = vidpipe.json("convert", "--all", "--blur-faces", "--output", tmp_path / "out")
    assert all(video["faces"]["with_faces"] for video in found["videos"])
    model = ANALYSIS.resources["faces_model"](Settings(home=vidpipe.home))
    assert isinstance(model, WorkerModel)
    try:
        for name, every in (("moving.mp4", 1), ("real.mp4", 12)):
            jpegs = _jpegs(tmp_path / "out" / name, every)
            assert sum(map(bool, _faces(model, _jpegs(tmp_path / name, every)))) > 0.5 * len(jpegs)
            assert not any(_faces(model, jpegs)), name
    finally:
        model.close()


def _jpegs(path: Path, every: int) -> list[bytes]:
    folder = path.parent / f"{path.stem}-frames"
    folder.mkdir()
    select = f"select='not(mod(n,{every}))'"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", select, "-vsync", "0", "-q:v", "3",
               f"{folder}/%05d.jpg"]  # fmt: skip
    subprocess.run(command, check=True)
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def _faces(model: WorkerModel, jpegs: list[bytes]) -> list[Any]:
    return [model.call({"jpegs": [jpeg], "min_confidence": 0.6}, threading.Event())[0] for jpeg in jpegs]
