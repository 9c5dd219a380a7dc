"""vidpipe status --watch: live, in place on a terminal, a line or a page at a time elsewhere, until it is stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidpipe.cli.context import OpenLibrary
from vidpipe.cli.main import insert_watch_interval
from vidpipe.cli.status_watch import StatusWatcher
from vidpipe.operations.kept_home import KeptHome
from vidpipe.settings import load
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import CUTS, Command


@contextmanager
def watching(vidpipe: Command, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = vidpipe.start("status", "--watch", "0.3", *options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], wanted: Callable[[Any], bool]) -> Any:
    """The first line for which it is true."""
    assert process.stdout is not None
    deadline = time.monotonic() + 60
    for line in process.stdout:
        found = json.loads(line)
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
    raise AssertionError("it ended")


@pytest.mark.soak
def test_as_json_a_line_each_tells_of_what_happens_meanwhile(vidpipe: Command, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    clips.color_cuts(folder / CUTS, ("red", "green"), audio="sine")
    with watching(vidpipe, "--json") as process:
        first = until(process, lambda line: True)
        assert (first["videos"], first["watch"]["failures"], first["watch"]["rates"]["videos"]) == (0, [], 0)
        assert first["watch"]["running"] == []
        assert vidpipe("add", folder, "--run").exit_code == 0
        (vidpipe.home / "data" / "media").rename(vidpipe.home / "data" / "away")  # so that a stage fails
        assert vidpipe("run", CUTS, "--stage", "scenes", "--force").exit_code == 1
        line = until(process, lambda line: line["watch"]["failures"] and line["watch"]["rates"]["bytes_in"])
        assert line["videos"] == line["watch"]["rates"]["videos"] == 1
        assert line["watch"]["rates"]["stages"]["tags"]["computed"] == 1
        assert line["watch"]["rates"]["stages"]["tags"]["computed_per_minute"] > 0
        assert [(one["name"], one["stage"]) for one in line["watch"]["failures"]] == [(CUTS, "scenes")]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == ""
        assert process.returncode == 0


def test_where_nobody_looks_at_a_screen_a_status_follows_the_other(vidpipe: Command) -> None:
    with watching(vidpipe) as process:
        assert process.stdout is not None
        lines = [next(process.stdout) for _ in range(40)]
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
    assert sum(line.startswith("metadata") for line in lines) >= 2
    assert any("Runs: 0 running, 0 queued." in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_on_a_terminal_it_is_shown_in_place_and_the_cursor_comes_back(vidpipe: Command) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", "from vidpipe.cli.main import main; main()", "status", "--watch=0.3"],
        env={**os.environ, **vidpipe.env, "TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    stopped = False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    seen += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
            if not stopped and seen.count(b"Press Ctrl-C to stop") >= 3:
                process.terminate()
                stopped = True
        assert process.wait(20) == 0
    finally:
        process.kill()
        os.close(ours)
    assert b"\x1b[1A" in seen, "the lines are written over"
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l"), "the cursor is shown again"


def test_a_server_that_goes_away_is_told_and_waited_for(home: Path) -> None:
    from vidpipe.library import embedded
    from vidpipe.settings import init_home, load

    vidpipe = Command(init_home(home).home, {"VIDPIPE_HOME": str(home), "VIDPIPE_MONGODB_TIMEOUT": "1"})
    settings = load(home).settings
    try:
        with watching(vidpipe, "--json") as process:
            until(process, lambda line: line.get("videos") == 0)
            pid = embedded.status(settings).pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            gone = until(process, lambda line: "error" in line)
            assert "MongoDB" in gone["error"]["message"]
            embedded.start(settings)
            until(process, lambda line: line.get("videos") == 0)
    finally:
        embedded.stop(settings)


def test_the_seconds_may_be_left_out() -> None:
    assert insert_watch_interval(["status", "--watch"]) == ["status", "--watch=2"]
    assert insert_watch_interval(["status", "--watch", "--json"]) == ["status", "--watch=2", "--json"]
    assert insert_watch_interval(["status", "--watch", "0.5"]) == ["status", "--watch", "0.5"]
    assert insert_watch_interval(["search", "--", "--watch"]) == ["search", "--", "--watch"]


@pytest.mark.parametrize("arguments", [["--watch", "0"], ["--watch", "-3"], ["--watch", "--failed"]])
def test_what_makes_no_sense_is_refused(filled: Command, arguments: list[str]) -> None:
    assert filled("status", *arguments).exit_code == 2


def test_status_tells_which_servers_run_and_what_waits_for_a_person(filled: Command) -> None:
    found = filled.json("status")
    assert (found["services"], found["by_itself"], found["waiting"]) == ([], False, [])
    assert "start them with `vidpipe up`" in filled("status").stdout
    changed = Command(filled.home, {**filled.env, "VIDPIPE_SCENEDETECTION_MINSCENELENGTH": "0.9"})
    found = changed.json("status")
    assert len(found["waiting"]) == 1
    assert "MinSceneLength" in changed("status").stdout or "scenes" in found["waiting"][0]


def test_a_watch_leaves_the_plan_of_its_session_open(filled: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in filled.env.items():
        monkeypatch.setenv(name, value)
    closed: list[str] = []
    with closing(KeptHome(lambda: load(filled.home).settings, print)) as home:
        kept = home.opened()
        plan = replace(kept.plan, resources={"model": SimpleNamespace(close=lambda: closed.append("model"))})
        results = StatusWatcher(OpenLibrary(kept.settings, kept.library, plan)).results(0.2)
        assert [next(results)["videos"] for _ in range(2)] == [3, 3]
        del results  # closes Dagster's instance
    assert closed == []
