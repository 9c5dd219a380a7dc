"""Bringing videos up to date by the command, and what status tells of it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from vidpipe.cli.context import CommandContext, open_library
from vidpipe.cli.inputs import Adding, sort_inputs
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command

STAGES = ["raw_video", "metadata", "scenes", "descriptions", "sentiment", "tags", "categories"]


@pytest.fixture
def clip(vidpipe: Command, tmp_path: Path) -> Path:
    """A clip in the library that no stage has looked at."""
    path = clips.color_cuts(tmp_path / "clip.mp4", seconds_each=0.8)
    vidpipe.json("add", path)
    return path


def states(vidpipe: Command) -> dict[str, str]:
    """stage -> the one state with a video in it."""
    stages = vidpipe.json("status")["stages"]
    return {stage: next(state for state, number in counts.items() if number) for stage, counts in stages.items()}


def test_a_run_over_nothing_says_how_to_begin(vidpipe: Command) -> None:
    result = vidpipe("run")
    assert result.exit_code == 0
    assert "vidpipe add" in result.stderr


def test_a_run_computes_what_is_due_and_the_next_one_nothing(vidpipe: Command, clip: Path) -> None:
    assert states(vidpipe) == {"raw_video": "due"} | dict.fromkeys(STAGES[1:], "blocked")
    report = vidpipe.json("run")
    assert list(report["stages"]) == STAGES
    assert {counts["computed"] for counts in report["stages"].values()} == {1}
    assert states(vidpipe) == dict.fromkeys(STAGES, "current")
    lines = (vidpipe.home / "data" / "logs" / "audit.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert [event for event in events if event in ("source", "run")] == ["source", "run"]
    again = vidpipe.json("run")
    assert sum(counts["computed"] for counts in again["stages"].values()) == 0
    assert "Nothing is due" in vidpipe("run").stdout


def test_only_given_videos_and_stages(vidpipe: Command, clip: Path, tmp_path: Path) -> None:
    other = clips.moving(tmp_path / "other.mp4", seconds=0.5)
    vidpipe.json("add", other)
    report = vidpipe.json("run", "clip", "--stages", "raw_video,metadata")
    assert list(report["stages"]) == ["raw_video", "metadata"]
    counts = vidpipe.json("status")["stages"]
    assert (counts["metadata"]["current"], counts["raw_video"]["due"], counts["scenes"]["due"]) == (1, 1, 1)


def test_an_unknown_video_or_stage_is_named(vidpipe: Command, clip: Path) -> None:
    assert "nobody" in vidpipe.json("run", "nobody", code=4)["error"]["message"]
    assert "scenes" in vidpipe.json("run", "--stage", "scene", code=2)["error"]["hint"]


def test_urls_files_and_videos_of_the_library_are_brought_up_to_date_in_one_step(
    vidpipe: Command, clip: Path, site: tuple[str, Path], tmp_path: Path
) -> None:
    address, served = site
    clips.moving(served / "clip.mp4", seconds=0.4)  # another video of the same name
    lists = tmp_path / "more.csv"
    clips.color_cuts(tmp_path / "My Cats" / "cat.mp4", ["blue"], seconds_each=0.4)
    lists.write_text("url\nMy Cats/cat.mp4\nlost.mp4\n")
    known = vidpipe.json("show", "clip")["video"]["sha256"]
    result = vidpipe.json("run", known[:12], f"{address}/clip.mp4", lists, "nobody", "example.org/a.mp4",
                          "--stages", "raw_video,metadata", code=4)  # fmt: skip
    became = {entry["input"]: (entry["state"], entry["video"]) for entry in result["inputs"]}
    assert became[known[:12]] == ("already stored", known)
    assert became[f"{address}/clip.mp4"][0] == "stored"
    assert result["counts"] == {"already stored": 1, "stored": 2, "refused": 3}
    assert result["stages"]["metadata"]["computed"] == 3
    said = {entry["input"]: entry["error"] for entry in result["inputs"]}
    assert "No video in the library" in said["nobody"]
    assert "cannot be added: nobody: no such file" in said["nobody"]

    (served / "clip.mp4").unlink()
    path = tmp_path / "My Cats" / "cat.mp4"
    for named in (clip, f"{address}/clip.mp4", path, path.as_uri()):
        again = vidpipe.json("run", named, "--stage", "metadata")
        assert again["counts"] == {"already stored": 1}, named
        assert again["stages"]["metadata"]["current"] == 1
    assert vidpipe.json("show", path)["sources"][0]["url"] == str(path)
    for part in ("my cats", "My%20Cats"):
        assert [hit["urls"] for hit in vidpipe.json("list", "--source", part)["videos"]] == [[str(path)]]
    assert vidpipe("run", "nobody", "-", given="").exit_code == 4


def test_what_an_input_means(
    vidpipe: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that exists is that file, its video where it is unchanged; else a video of the library; else a URL."""
    known = vidpipe.json("show", "clip")["video"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name, value in vidpipe.env.items():
        monkeypatch.setenv(name, value)
    with open_library(cast(typer.Context, SimpleNamespace(obj=CommandContext()))) as library:

        def meant(*inputs: object, **options: Any) -> tuple[int, int, int]:
            """How many are known, new and neither."""
            found = sort_inputs(library, map(str, inputs), Adding(**options))
            assert {outcome.video for outcome in found.known} <= {known["sha256"]}
            return len(found.known), len(found.new), len(found.unknown)

        same = (clip, clip.as_uri(), vidpipe.home / known["path"])
        assert meant(*same, "clip.mp4", "clip", known["sha256"][:8]) == (6, 0, 0)
        assert meant(clip, mode="reference") == meant(clip.as_uri(), refresh=True) == (0, 1, 0)
        urls = (
            "https://h.example/clip.mp4",
            "https://h.example/a.mp4?token=x",
            "s3://films/",
            "gopher://h.example/clip",
        )
        assert meant(*urls) == (0, 4, 0)
        assert meant("nobody", "/nowhere/clip.mp4", "file:///nowhere/clip.mp4", "h.example/a.mp4", "", "~x/") == (
            0,
            0,
            6,
        )
        Path("clip.mp4").write_bytes(b"another")
        assert meant("clip.mp4", ".") == (0, 2, 0)
        assert f"the library also has a video of that name: {known['sha256'][:12]}" in capsys.readouterr().err
        clip.write_bytes(b"changed")
        assert meant(clip) == (0, 1, 0)


def test_an_instruction_that_nobody_reads_and_a_threshold_of_ffmpeg_are_said(vidpipe: Command) -> None:
    result = vidpipe("run", "--qwen_instruction", "Be brief.")
    assert result.stderr.count("Backend statistics reads no instructions") == 1
    assert "due again" not in result.stderr
    result = vidpipe("run", "--scene_threshold", "0.3")
    assert result.exit_code == 2
    assert "--scene-detector ffmpeg" in result.stderr
    assert vidpipe("run", "--scene_threshold", "0.3", "--scene_detector", "ffmpeg").exit_code == 0


def test_the_words_of_the_older_script(vidpipe: Command, clip: Path, tmp_path: Path) -> None:
    vidpipe.json("run")
    result = vidpipe(
        "run", "--scene_threshold", "200", "--qwen_instruction", "Be brief.", "--use_vpc", "--log_level", "INFO",
        "--output", tmp_path / "out.jsonl", "--config", vidpipe.home / "config.ini", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["stages"]["scenes"]["computed"] == 1
    summary = json.loads((tmp_path / "out.jsonl").read_text())["scene_summary"]
    assert (summary["detector"], summary["threshold"]) == ("content", 200)
    assert states(vidpipe)["scenes"] == "due"  # judged by config.ini again
    assert vidpipe("run", "--scene-threshold", "999").exit_code == 2


def test_force_computes_what_is_current(vidpipe: Command, clip: Path) -> None:
    vidpipe.json("run")
    report = vidpipe.json("run", "clip.mp4", "--stage", "metadata", "--force")
    assert report["stages"]["metadata"]["computed"] == 1
    assert states(vidpipe) == dict.fromkeys(STAGES, "current")


def test_a_failure_is_told_stays_and_is_tried_again_when_asked(vidpipe: Command, clip: Path, tmp_path: Path) -> None:
    good = clips.moving(tmp_path / "good.mp4", seconds=0.5)
    vidpipe.json("add", good)
    stored = vidpipe.home / vidpipe.json("show", "clip")["video"]["path"]
    content = stored.read_bytes()
    stored.unlink()
    clip.unlink()
    report = vidpipe.json("run", code=1)
    assert [(failure["name"], failure["stage"]) for failure in report["failures"]] == [("clip.mp4", "raw_video")]
    assert report["stages"]["categories"]["computed"] == 1
    failed = vidpipe.json("status", "--failed")["failed"]
    assert [(entry["name"], entry["stage"], entry["state"]) for entry in failed] == [
        ("clip.mp4", "raw_video", "failed")
    ]
    assert "clip.mp4" in vidpipe("status", "--failed").stdout
    stored.write_bytes(content)
    assert vidpipe.json("run", "--retry")["stages"]["categories"]["computed"] == 1


def test_a_stage_that_cannot_run_is_a_problem_and_the_others_go_on(vidpipe: Command, clip: Path) -> None:
    (vidpipe.home / "rules" / "custom_tags.json").write_text("{")
    report = vidpipe.json("run", code=2)
    assert "custom_tags.json" in report["problems"]["tags"]["message"]
    assert report["stages"]["sentiment"]["computed"] == 1
    assert "problem" in vidpipe.json("status")["stages"]["tags"]
    assert "custom_tags.json" in vidpipe("status").stdout


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the stage scenes at work for a second or two."""
    return clips.moving(tmp_path_factory.mktemp("long") / "long.mp4", seconds=30, size="1280x720")


def _wait_for_scenes(vidpipe: Command) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(" scenes" in path.read_text() for path in (vidpipe.home / "data" / "run").glob("*.journal")):
            return
        time.sleep(0.02)
    raise AssertionError("the stage scenes did not begin")


def test_ctrl_c_leaves_nothing_broken(vidpipe: Command, long_clip: Path) -> None:
    assert vidpipe("add", long_clip, "--mode", "reference").exit_code == 0
    process = vidpipe.start("run")
    _wait_for_scenes(vidpipe)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "`vidpipe run` resumes" in stderr
    assert "Traceback" not in stderr
    assert states(vidpipe)["metadata"] == "current"
    assert list((vidpipe.home / "data" / "run").glob("*.journal")) == []
    report = vidpipe.json("run")
    assert (report["busy"], report["stages"]["scenes"]["computed"]) == ([], 1)


def test_the_second_ctrl_c_leaves_at_once(vidpipe: Command, long_clip: Path) -> None:
    assert vidpipe("add", long_clip, "--mode", "reference").exit_code == 0
    process = vidpipe.start("run")
    _wait_for_scenes(vidpipe)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "Press Ctrl-C again to quit" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert vidpipe.json("run")["stages"]["scenes"]["computed"] == 1


def test_a_terminal_sees_bars_while_it_works_and_its_cursor_again(vidpipe: Command, tmp_path: Path) -> None:
    clip = clips.color_cuts(tmp_path / "[red]clip.mp4", seconds_each=0.8)
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from vidpipe.cli.main import main; main()", "add", str(clip), "--run"],
        env={**os.environ, **vidpipe.env, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=inside, stdout=inside, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    seen = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side has gone
        while block := os.read(terminal, 65536):
            seen += block
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    text = seen.decode()
    assert "━" in text
    assert "[red]clip.mp4" in text
    assert "\x1b[31m" not in text  # NO_COLOR
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_a_model_that_is_away_leaves_the_videos_due_and_the_rest_is_done(vidpipe: Command, tmp_path: Path) -> None:
    for number in range(3):
        clips.moving(tmp_path / "clips" / f"{number}.mp4", seconds=0.4, fps=str(10 + number))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = vidpipe.under(
        QWENVL_BACKEND="endpoint", QWENVL_PUBLICENDPOINT=f"http://127.0.0.1:{port}", QWENVL_SERVERWAIT="0.5"
    )
    away.json("add", tmp_path / "clips")
    report = away.json("run", code=3)
    assert report["stages"]["scenes"]["computed"] == 3
    assert report["failures"] == []
    assert "The model server" in report["problems"]["descriptions"]["message"]
    stages = away.json("status")["stages"]
    assert (stages["scenes"]["current"], stages["descriptions"]["due"], stages["descriptions"]["failed"]) == (3, 3, 0)
    assert vidpipe.json("run")["stages"]["descriptions"]["computed"] == 3
