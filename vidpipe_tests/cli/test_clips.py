"""vidpipe clips, as a user calls it: which frames clips hold, what the manifest says, what fails."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidpipe.library.checks import record_check
from vidpipe.library.library import Library
from vidpipe.settings.load import load
from vidpipe_tests.cli.conftest import CUTS, HOSTILE, TALK, Command, command_on
from vidpipe_tests.datasets.numbered import numbered, shown_numbers
from vidpipe_tests.default_graph import GRAPH

_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "40")
#: File -> (options of `numbered`, of ffmpeg).
SOURCES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain.mp4": ({"rate": "30000/1001", "sound": True}, (*_X264, "-c:a", "aac")),
    "variable.mkv": ({"times": "N/25+0.013*mod(N,3)"}, _X264),
    "gaps.mp4": ({"times": "N/25+0.5*floor(N/40)"}, _X264),
    "open.mkv": ({}, (*_X264, "-x264-params", "open-gop=1:keyint=40")),
    "open.ts": ({"sound": True}, (*_X264, "-x264-params", "open-gop=1:keyint=40", "-c:a", "aac")),
    "late.ts": ({"sound": True}, (*_X264, "-output_ts_offset", "12.345", "-c:a", "mp2")),
    "negative.mkv": ({}, (*_X264, "-output_ts_offset", "-1.5")),
    "ten.mp4": ({}, (*_X264, "-pix_fmt", "yuv420p10le")),
    "av1.mkv": ({}, ("-c:v", "libsvtav1", "-preset", "12", "-g", "40")),
    "hevc.mp4": ({}, ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=40")),
    "vp9.webm": ({}, ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "60")),
    "untimed.h264": ({}, _X264),
    "old.avi": ({}, ("-c:v", "mpeg4", "-bf", "2", "-q:v", "3", "-g", "40")),
    "program.mpg": ({"sound": True}, ("-c:v", "mpeg2video", "-bf", "2", "-q:v", "3", "-g", "25", "-c:a", "mp2")),
}  # fmt: skip


@pytest.fixture(scope="module")
def cutting(mongod_uri: str, empty_history: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command on a library to which tests add videos with names of their own."""
    home = tmp_path_factory.mktemp("cutting")
    with command_on(home, mongod_uri) as command:
        shutil.copytree(empty_history, home / "data" / "dagster")
        yield command


def manifest(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def frame_times(path: Path) -> list[float]:
    """The times of the frames as ffmpeg decodes them, from the first."""
    command = ["ffmpeg", "-v", "error", "-dts_delta_threshold", "1000000", "-i", str(path), "-map", "0:v:0",
               "-vf", "settb=1/90000,scale=16:16", "-vsync", "passthrough", "-enc_time_base", "1/90000",
               "-f", "framecrc", "-"]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [int(line.split(",")[2]) / 90000 for line in lines if not line.startswith("#")]
    return [time_s - found[0] for time_s in found]


def cut_at_random(vidpipe: Command, folder: Path, names: list[str], cuts: int) -> None:
    """Cut each video `cuts` times at random, and compare the number that each frame shows."""
    rows, truth = ["video,start,end"], {}
    for name in names:
        how, options = SOURCES[name]
        path = numbered(folder / name, 250, *options, **how)
        truth[name] = (frame_times(path), shown_numbers(path))
        times_s = truth[name][0]
        spans = [(times_s[-1], times_s[-1] + 9), (times_s[101], times_s[102]), (times_s[-3], times_s[-1])]
        for _ in range(cuts - len(spans)):
            start_s = random.Random(f"{name}{len(spans)}").choice(times_s[:-1]) + 0.01 * (len(spans) % 2)
            spans.append((start_s, start_s + 0.6 + 0.1 * (len(spans) % 20)))
        rows += [f"{name},{start_s:.3f},{end_s:.3f}" for start_s, end_s in spans]
    (folder / "times.csv").write_text("\n".join(rows))
    vidpipe.json("add", *(folder / name for name in names))
    made = vidpipe.json("clips", "--times", folder / "times.csv", "--output", folder / "out", "--preset", "ultrafast")
    assert len(made["clips"]) == cuts * len(names)
    for row in made["clips"]:
        times_s, numbers = truth[row["source_name"]]
        first, end = (bisect_left(times_s, row[name] - 0.0006) for name in ("asked_start_s", "asked_end_s"))
        assert shown_numbers(folder / "out" / row["file"]) == numbers[first:end], row
        assert row["frames"] == end - first


def test_a_clip_holds_exactly_the_frames_from_its_start_to_its_end(cutting: Command, tmp_path: Path) -> None:
    cut_at_random(cutting, tmp_path, ["plain.mp4", "variable.mkv"], 4)


@pytest.mark.soak
def test_200_random_cuts_of_all_kinds_of_files_hold_the_frames_that_were_asked_for(
    vidpipe: Command, tmp_path: Path
) -> None:
    cut_at_random(vidpipe, tmp_path, list(SOURCES), 15)


@pytest.mark.soak
def test_of_real_clips_the_nearest_frame_is_the_one_that_was_asked_for(
    vidpipe: Command, clips_directory: Path, tmp_path: Path
) -> None:
    def pictures(path: Path) -> np.ndarray[Any, np.dtype[np.int16]]:
        # the video stream of `ffmpeg`'s own choice, as the library's
        command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-vsync", "passthrough", "-an",
                   "-vf", "scale=160:96:flags=area,format=gray", "-f", "rawvideo", "-"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, check=False).stdout
        return np.frombuffer(done, np.uint8).reshape(-1, 160 * 96).astype(np.int16)

    files = sorted(path for path in clips_directory.iterdir() if path.suffix in (".mp4", ".mkv", ".mov"))
    vidpipe.json("add", *files)
    rows, known = ["video,start,end"], {path.name: pictures(path) for path in files}
    for path in files:
        duration_s = len(known[path.name]) / 24
        rows += [
            f"{path.name},{share * duration_s / 2:.3f},{share * duration_s / 2 + 0.5:.3f}" for share in (0, 0.3, 0.9)
        ]
    (tmp_path / "times.csv").write_text("\n".join(rows))
    out = tmp_path / "out"
    made = vidpipe.json("clips", "--times", tmp_path / "times.csv", "--output", out, "--crf", "12")
    assert [row["source_name"] for row in made["clips"]] == [path.name for path in files for _ in range(3)]
    for row in made["clips"]:
        source, clip = known[row["source_name"]], pictures(out / row["file"])
        first = bisect_left(frame_times_of(clips_directory / row["source_name"]), row["asked_start_s"] - 0.0006)
        for number, wanted in ((0, first), (len(clip) - 1, first + len(clip) - 1)):
            error = ((source - clip[number]) ** 2.0).mean(axis=1)
            assert error[wanted] <= error.min() + 0.5, (row, int(error.argmin()), wanted)


def frame_times_of(path: Path) -> list[float]:
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), "-an", "-vf", "scale=16:16", "-vsync", "passthrough",
               "-enc_time_base", "1/90000", "-f", "framecrc", "-"]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    found = [int(line.split(",")[2]) / 90000 for line in lines if not line.startswith("#")]
    return [time_s - found[0] for time_s in found]


def test_scenes_become_clips_that_are_listed_and_made_once(filled: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = filled.json("clips", CUTS, "--by", "scene", "--output", out)
    assert manifest(out) == made["clips"]
    assert [(row["start_s"], row["end_s"], row["frames"], row["scene"]) for row in made["clips"]] == [
        (0.0, 1.0, 25, 0), (1.0, 2.0, 25, 1), (2.0, 3.0, 25, 2)
    ]  # fmt: skip
    assert made["clips"][0]["file"] == "cuts-00000000-00001000.mp4"
    assert made["clips"][0]["versions"].keys() >= {"custom_tags", "categories"}
    before = {row["file"]: (out / row["file"]).stat() for row in made["clips"]}
    bytes_before = (out / "manifest.jsonl").read_bytes()
    assert filled.json("clips", CUTS, "--output", out) == made
    for file, stat in before.items():
        assert (out / file).stat().st_mtime_ns == stat.st_mtime_ns
    assert (out / "manifest.jsonl").read_bytes() == bytes_before
    kept = list((filled.home / "data" / "derived" / "clips" / made["clips"][0]["source"]).iterdir())
    assert sorted(path.suffix for path in kept) == [".json"] * 3 + [".mp4"] * 3


def test_the_same_clip_has_the_same_bytes_alone_and_among_others(filled: Command, tmp_path: Path) -> None:
    among = filled.json("clips", CUTS, "--by", "length", "--length", "0.8", "--output", tmp_path / "among")["clips"][1]
    data = (tmp_path / "among" / among["file"]).read_bytes()
    shutil.rmtree(filled.home / "data" / "derived" / "clips")
    (tmp_path / "one.csv").write_text(f"video,start,end\n{CUTS},0.8,1.6\n")
    alone = filled.json("clips", "--times", tmp_path / "one.csv", "--output", tmp_path / "alone")["clips"][0]
    assert alone["clip"] == among["clip"]
    assert (tmp_path / "alone" / alone["file"]).read_bytes() == data


def test_times_are_cut_where_a_search_matches(filled: Command, tmp_path: Path) -> None:
    made = filled.json("clips", "--by", "search", "--search", "lighthouse", "--output", tmp_path / "out")
    (row,) = made["clips"]
    assert (row["source_name"], row["start_s"], row["end_s"], row["label"]) == (TALK, 0.2, 1.0, "lighthouse")


def test_names_and_labels_cannot_leave_the_folder(filled: Command, tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text(
        'video,start,end,label,name\ncuts.mp4,0:00,0:00.5,"../../=x\x1b[2J/y",\ncuts.mp4,0,0.4,,../up/one\n'
    )
    out = tmp_path / "folder" / "out"
    made = filled.json("clips", "--times", table, "--name", "{label}/{index}", "--output", out)
    assert sorted(row["file"] for row in made["clips"]) == ["clip/up/one.mp4", "x_x1b_2J_y/00000.mp4"]
    assert all((out / row["file"]).resolve().is_relative_to(out.resolve()) for row in made["clips"])
    hostile = filled.json("clips", HOSTILE, "--output", out)["clips"][0]["file"]
    assert not set(hostile) & set("[]\x1b=/ ")
    for name in ("../{index}", "/{index}", "{secret}", "."):
        assert filled("clips", CUTS, "--output", out, "--name", name).exit_code == 2


def test_a_clip_that_cannot_be_made_leaves_the_others(filled: Command, tmp_path: Path) -> None:
    table = tmp_path / "times.csv"
    table.write_text("video,start,end\ncuts.mp4,0,0.4\ncuts.mp4,50,60\n")
    made = filled.json("clips", "--times", table, "--output", tmp_path / "out", code=1)
    assert [row["frames"] for row in made["clips"]] == [10]
    assert made["failed"][0]["error"] == "There is no frame from 50 s to 60 s."
    for span in ("2,1", "1,1", "-1,1", "nan,2"):
        table.write_text(f"video,start,end\ncuts.mp4,{span}\n")
        assert filled("clips", "--times", table, "--output", tmp_path / "out").exit_code == 2
    table.write_text("video,start,end\ncuts.mp4,2,1\n")
    result = filled("clips", "--times", table, "--output", tmp_path / "out")
    assert (result.exit_code, "line 2" in result.stderr) == (2, True)


def test_fast_clips_begin_at_the_key_frame_before_and_say_so(cutting: Command, tmp_path: Path) -> None:
    path = numbered(tmp_path / "keyed.mp4", 100, *_X264, "-sc_threshold", "0", "-c:a", "aac", sound=True)
    cutting.json("add", path)
    (tmp_path / "times.csv").write_text("video,start,end\nkeyed.mp4,2.5,3.5\n")
    made = cutting.json("clips", "--times", tmp_path / "times.csv", "--fast", "--output", tmp_path / "out")
    (row,) = made["clips"]
    assert (row["asked_start_s"], row["start_s"], row["moved_start_s"]) == (2.5, 1.6, -0.9)
    numbers = shown_numbers(tmp_path / "out" / row["file"])
    assert (numbers[0], len(numbers)) == (40, row["frames"])
    assert numbers[-1] >= 87
    shown = cutting("clips", "--times", tmp_path / "times.csv", "--fast", "--output", tmp_path / "out").stderr
    assert "starts 0.900 s earlier" in shown


def test_limits_of_size_and_rate_and_sound_apply(cutting: Command, tmp_path: Path) -> None:
    path = numbered(tmp_path / "fast.mp4", 120, *_X264, "-c:a", "aac", rate="60", sound=True)
    cutting.json("add", path)
    limits = ("--max-height", "48", "--no-audio", "--by", "length", "--length", "1")
    made = cutting.json("clips", path.name, *limits, "--output", tmp_path / "out")
    assert [row["frames"] for row in made["clips"]] == [30, 30]
    clip = tmp_path / "out" / made["clips"][1]["file"]
    assert shown_numbers(clip) == list(range(60, 120, 2))
    listed = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_type,width,height", "-of",
                             "csv=p=0", clip], capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    assert listed == ["video,80,48"]


def test_sound_begins_with_the_picture(cutting: Command, tmp_path: Path) -> None:
    path = numbered(tmp_path / "beeps.ts", 100, *_X264, "-output_ts_offset", "7.7", "-c:a", "aac", sound=True)
    cutting.json("add", path)
    (tmp_path / "times.csv").write_text("video,start,end\nbeeps.ts,2.6,3.6\n")
    (row,) = cutting.json("clips", "--times", tmp_path / "times.csv", "--output", tmp_path / "out")["clips"]
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "out" / row["file"],
               "-ac", "1", "-ar", "8000", "-f", "f32le", "-"]  # fmt: skip
    samples = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)
    assert np.argmax(np.abs(samples) > 0.1) / 8000 == pytest.approx(0.4, abs=0.03)


def test_a_second_call_keeps_the_clips_of_other_videos_and_replaces_those_of_its_own(
    filled: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cuts = filled.json("clips", CUTS, "--output", out)["clips"]
    talk = filled.json("clips", TALK, "--output", out)["clips"]
    assert manifest(out) == [*cuts, *talk]
    halves = filled.json("clips", CUTS, "--by", "length", "--length", "1.5", "--output", out)["clips"]
    assert manifest(out) == [*talk, *halves]
    files = {path.name for path in out.iterdir() if path.suffix == ".mp4"}
    assert files == {row["file"] for row in (*talk, *halves)}


def test_a_span_beyond_the_end_is_cut_there_and_that_is_said(filled: Command, tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("video,start,end\ncuts.mp4,2.96,9\ncuts.mp4,2.96,9\n")
    shown = filled("clips", "--times", tmp_path / "times.csv", "--output", tmp_path / "out")
    rows = manifest(tmp_path / "out")
    assert [(row["frames"], row["end_s"], row["moved_end_s"]) for row in rows] == [(1, 3.0, -6.0)] * 2
    assert len({row["file"] for row in rows}) == 2
    assert "ends with the video, 6.000 s earlier than asked for" in shown.stderr


def test_clips_of_a_forgotten_video_are_deleted_and_those_nobody_uses_pruned(vidpipe: Command, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", vidpipe.home / "data" / "derived" / "clips"
    vidpipe.json("add", *(numbered(tmp_path / f"{name}.mp4", 20 + len(name)) for name in ("cuts", "other")))
    vidpipe.json("convert", "--all", "--output", tmp_path / "copies")
    vidpipe.json("clips", "cuts.mp4", "--by", "length", "--output", out)
    (row,) = vidpipe.json("clips", "other.mp4", "--by", "length", "--output", out)["clips"]
    assert vidpipe("forget", "cuts.mp4", "--yes").exit_code == 0
    assert [path.name for path in (tmp_path / "copies").glob("*.mp4")] == ["other.mp4"]
    assert [path.name for path in kept.iterdir()] == [row["source"]]
    assert {one["source"] for one in manifest(out)} == {row["source"]}
    assert not list(out.glob("cuts*"))
    assert (out / row["file"]).is_file()
    for path in (kept / row["source"]).iterdir():
        os.utime(path, (0, 0))
    assert vidpipe("prune").exit_code == 0
    assert list(kept.iterdir()) == []


def test_damage_that_a_check_found_is_said_of_the_clips_that_have_it(vidpipe: Command, tmp_path: Path) -> None:
    path = numbered(tmp_path / "damaged.mp4", 50)
    vidpipe.json("add", path)
    with Library.open(load(vidpipe.home, vidpipe.env).settings, GRAPH) as library:
        record_check(library, hashlib.sha256(path.read_bytes()).hexdigest(), "Damaged.", [(1.2, 1.4)])
    made = vidpipe.json("clips", path.name, "--by", "length", "--length", "1", "--output", tmp_path / "out")
    assert [row["damaged"] for row in made["clips"]] == [[], [[1.2, 1.4]]]


def test_groups_of_large_clips_fit_into_their_memory_limit(vidpipe: Command, tmp_path: Path) -> None:
    path = numbered(tmp_path / "large.mp4", 36, *_X264, before=["scale=1280:720:flags=neighbor"])
    vidpipe.json("add", path)
    tight = vidpipe.under(LIMITS_MEMORYMB="129")  # nothing beyond what is planned for
    made = tight.json("clips", path.name, "--by", "length", "--length", "0.12", "--output", tmp_path / "out")
    assert [row["frames"] for row in made["clips"]] == [3] * 12
