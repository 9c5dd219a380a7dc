"""vidpipe check, as a user calls it."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient

from vidpipe.library.checks import damaged_spans
from vidpipe.library.library import Library
from vidpipe.media.damage_times import damaged_times
from vidpipe.settings.load import load
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.default_graph import GRAPH

_CONTAINERS = ("mp4", "ts", *(pytest.param(name, marks=pytest.mark.soak) for name in ("mkv", "avi")))


def _documents(vidpipe: Command) -> list[dict[str, Any]]:
    with MongoClient[dict[str, Any]](vidpipe.env["VIDPIPE_MONGODB_URI"]) as client:
        return list(client[vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos"].find())


def _unchecked(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in ("checked", "change_seq")}


def _without_packets(path: Path, source: Path, start_s: float, end_s: float) -> Path:
    """Copy a clip with the packets of a span of time overwritten with zeros. Times count from the first packet."""
    listed = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,size,pos", "-of",
         "json", source], capture_output=True, check=True,
    ).stdout  # fmt: skip
    packets = json.loads(listed)["packets"]
    first_s = min(float(packet["pts_time"]) for packet in packets)
    data = bytearray(source.read_bytes())
    for packet in packets:
        if start_s <= float(packet["pts_time"]) - first_s < end_s:
            position, size = int(packet["pos"]), int(packet["size"])
            data[position : position + size] = bytes(size)
    path.write_bytes(data)
    return path


def _with_damaged_frame(path: Path, source: Path) -> Path:
    """Copy a clip with the end of a non-reference frame's slice overwritten: no other frame refers to it."""
    listed = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "packet=pos,size", "-of", "csv=p=0", source],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    data = bytearray(source.read_bytes())
    for line in listed[10:]:
        size, position = map(int, line.split(",")[:2])
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4] >> 5 & 3 == 0 and length == size - 4 and size > 100:
            data[position + size // 2 : position + size] = bytes(size - size // 2)
            break
    else:
        raise AssertionError("the clip has no non-reference frame")
    path.write_bytes(data)
    return path


def test_every_frame_is_decoded_and_damage_is_reported(vidpipe: Command, tmp_path: Path) -> None:
    options = ("-bf", "2", "-g", "50", "-movflags", "+faststart")
    healthy = clips.moving(tmp_path / "healthy.mp4", seconds=4, audio="sine", options=options)
    frame = _with_damaged_frame(tmp_path / "frame.mp4", clips.moving(tmp_path / "x.mp4", seconds=4, options=options))
    whole = clips.moving(tmp_path / "y.mp4", seconds=6, options=options).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: int(0.6 * len(whole))])
    vidpipe.json("add", healthy, frame, cut)
    vidpipe.json("run", "--stage", "raw_video,metadata", healthy)
    before = _documents(vidpipe)

    found = vidpipe.json("check", "--all", code=1)
    assert found["counts"] == {"intact": 1, "damaged": 2, "failed": 0}
    by_name = {video["name"]: video for video in found["videos"]}
    assert (by_name["healthy.mp4"]["frames"], by_name["healthy.mp4"]["expected_frames"]) == (100, 100)
    assert by_name["healthy.mp4"]["decoded_s"] == pytest.approx(4.0)
    assert by_name["frame.mp4"]["frames"] == 100
    assert by_name["frame.mp4"]["errors"] > 0
    assert by_name["frame.mp4"]["messages"]
    assert by_name["frame.mp4"]["sentence"].startswith("Damaged: the decoder reported")
    assert by_name["cut.mp4"]["truncated"]
    assert by_name["cut.mp4"]["frames"] < 150
    assert "of the 6.00 s that its header announces" in by_name["cut.mp4"]["sentence"]
    assert [_unchecked(document) for document in _documents(vidpipe)] == [_unchecked(document) for document in before]

    assert vidpipe.json("check", "healthy")["videos"][0]["state"] == "intact"
    shown = vidpipe("check", "frame", "healthy")
    assert shown.exit_code == 1
    assert by_name["frame.mp4"]["sentence"] in shown.stdout
    assert "1 intact, 1 damaged, 0 failed." in shown.stderr


def test_damage_is_reported_in_the_words_of_the_scenes_stage(
    vidpipe: Command, clips_directory: Path, tmp_path: Path
) -> None:
    shutil.copy(clips_directory / "corrupted.mp4", tmp_path)
    vidpipe("run", "--stage", "raw_video,metadata,scenes", tmp_path / "corrupted.mp4")
    (checked,) = vidpipe.json("check", "corrupted", code=1)["videos"]
    (stored,) = _documents(vidpipe)
    damage = stored["scenes"]["damage"]
    assert f"{checked['sentence']} What decodes was processed." == damage["sentence"]
    assert checked["frames"] == stored["scenes"]["frames_decoded"]
    assert (checked["errors"], checked["messages"]) == (damage["errors"], damage["messages"])
    ((start_s, end_s),) = _spans(checked)
    assert start_s <= 3.0 < end_s < 4.0  # ffmpeg decodes all frames but the one at 3.0 s


def _spans(video: dict[str, Any]) -> list[tuple[float, float]]:
    return [(span["start_s"], span["end_s"]) for span in video["spans"]]


@pytest.mark.parametrize("suffix", _CONTAINERS)
def test_zeroed_packets_are_found_at_their_times(tmp_path: Path, suffix: str) -> None:
    codec = ("-c:v", "mpeg4") if suffix == "avi" else ("-bf", "2")
    whole = clips.moving(tmp_path / f"whole.{suffix}", seconds=6, options=(*codec, "-g", "25"))
    damaged = _without_packets(tmp_path / f"damaged.{suffix}", whole, 2.4, 3.2)
    assert damaged_times(whole, 0, None, 60) == []
    ((start_s, end_s),) = damaged_times(damaged, 0, None, 60)
    # from the last complete picture before to the next complete key frame
    assert 2.2 <= start_s <= 2.6
    assert 3.1 <= end_s <= 4.1


def test_damaged_times_are_stored_shown_and_exported(vidpipe: Command, tmp_path: Path) -> None:
    whole = clips.moving(tmp_path / "whole.mp4", seconds=6, audio="sine", options=("-bf", "2", "-g", "25"))
    zeroed = _without_packets(tmp_path / "zeroed.mp4", whole, 2.4, 3.2)
    cut = clips.moving(tmp_path / "cut.mp4", seconds=4, options=("-movflags", "+faststart"))
    cut.write_bytes(cut.read_bytes()[: int(0.6 * cut.stat().st_size)])
    vidpipe.json("add", whole, zeroed, cut)
    assert vidpipe.json("show", "whole")["checked"] is None
    before = {document["_id"]: document["change_seq"] for document in _documents(vidpipe)}

    found = {video["name"]: video for video in vidpipe.json("check", "--all", code=1)["videos"]}
    assert _spans(found["whole.mp4"]) == []
    assert any(start_s < 3.1 and end_s > 2.5 for start_s, end_s in _spans(found["zeroed.mp4"]))
    assert sum(end_s - start_s for start_s, end_s in _spans(found["zeroed.mp4"])) < 2.5
    assert _spans(found["cut.mp4"])[-1][1] == pytest.approx(4.0, abs=0.1)
    assert _spans(found["cut.mp4"])[0][0] > 1.5

    assert all(document["change_seq"] > before[document["_id"]] for document in _documents(vidpipe))
    shown = {name: vidpipe.json("show", name)["checked"] for name in ("whole", "zeroed")}
    assert shown["whole"]["intact"]
    assert not shown["zeroed"]["intact"]
    assert shown["zeroed"]["spans"] == found["zeroed.mp4"]["spans"]
    assert "intact" in vidpipe("show", "whole").stdout
    assert f"damaged: {shown['zeroed']['spans'][0]['start_s']:.2f}" in vidpipe("show", "zeroed").stdout
    vidpipe("export", tmp_path / "videos.csv")
    with (tmp_path / "videos.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["whole.mp4"]["checked_at"]
    assert not rows["whole.mp4"]["damaged_times"]
    assert rows["zeroed.mp4"]["damaged_times"].startswith(f"{shown['zeroed']['spans'][0]['start_s']:.3f}-")
    with Library.open(load(vidpipe.home, vidpipe.env).settings, GRAPH) as library:
        video = found["zeroed.mp4"]["video"]
        assert damaged_spans(library, video) == _spans(found["zeroed.mp4"])
        assert damaged_spans(library, "0" * 64) == []


def test_a_video_that_cannot_be_checked_fails_alone(vidpipe: Command, tmp_path: Path) -> None:
    kept, lost = (clips.moving(tmp_path / f"{fps}.mp4", seconds=1, fps=fps) for fps in ("25", "24"))
    vidpipe.json("add", kept)
    vidpipe.json("add", lost, "--mode", "reference")
    vidpipe.json("run", "--stage", "raw_video,metadata")
    lost.unlink()
    found = vidpipe.json("check", "--all", code=1)
    assert found["counts"] == {"intact": 1, "damaged": 0, "failed": 1}
    (failed,) = [video for video in found["videos"] if video["state"] == "failed"]
    assert failed["name"] == lost.name
    assert str(lost) in failed["sentence"]
    assert vidpipe("check", "nothing").exit_code == 4
    assert vidpipe("check").exit_code == 2


def test_ctrl_c_ends_the_check(vidpipe: Command, tmp_path: Path) -> None:
    # decoding takes much longer than a signal
    part = clips.moving(tmp_path / "part.mp4", seconds=4, size="1280x720")
    clips.ffmpeg(tmp_path / "long.mp4", "-stream_loop", "60", "-i", str(part), "-c", "copy")
    vidpipe.json("add", tmp_path / "long.mp4", "--mode", "reference")
    process = vidpipe.start("check", "--all", "--json")
    children = _decoder_of(process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert '"interrupted": true' in stdout
    assert not any(Path(f"/proc/{child}/exe").exists() for child in children)


def _decoder_of(process: subprocess.Popen[str]) -> list[int]:
    """Wait until the command has started ffmpeg, and return its process ids."""
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child that has ended meanwhile
            children = psutil.Process(process.pid).children(recursive=True)
            if found := [child.pid for child in children if "ffmpeg" in child.name()]:
                return found
        time.sleep(0.01)
    raise AssertionError("the check ended before it decoded")
