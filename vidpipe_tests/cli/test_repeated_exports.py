"""`vidpipe export` again: of a version it gives the same bytes, and after Ctrl-C or a kill it goes on."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.datasets.exporters.exporter import FORMATS
from vidpipe.library.exports import STATE
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command, command_on
from vidpipe_tests.datasets.conftest import contents
from vidpipe_tests.end_to_end.home import wait_for

pytestmark = pytest.mark.soak
_VIDEOS = 6


@pytest.fixture(scope="module")
def versioned(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A library with videos that are encoded for an export, as the version clips@1."""
    folder = tmp_path_factory.mktemp("clips")
    clips.subtitled(folder / "talk.mkv", [(0.2, 1.0, "What a wonderful, happy lighthouse")])
    for number in range(1, _VIDEOS):
        clips.moving(folder / f"{number}.mkv", seconds=3 + number / 10, size="640x360")
    with command_on(tmp_path_factory.mktemp("versioned"), mongod_uri) as command:
        assert command("add", folder, "--label", "Seaside", "--run").exit_code == 0
        command.json("dataset", "create", "clips", "--all", "--split", "60/40")
        yield command


def _forget_clips(command: Command) -> None:
    shutil.rmtree(command.home / "data" / "derived" / "clips", ignore_errors=True)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_version_that_is_exported_twice_gives_the_same_bytes(
    file_format: str, versioned: Command, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        _forget_clips(versioned)
        done = versioned.json("export", tmp_path / name, "--format", file_format, "--dataset", "clips@1")
        assert (done["failed"], done["items"]) == ([], _VIDEOS)
    first = contents(tmp_path / "one")
    assert len(first) > 2
    assert first == contents(tmp_path / "two")
    assert str(versioned.home).encode() not in b"".join(first.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("file_format", ["fiftyone", "hf", "kinetics"])
def test_an_interrupted_export_leaves_nothing_broken_and_goes_on(
    file_format: str, number: int, versioned: Command, tmp_path: Path
) -> None:
    command = ("export", tmp_path / "out", "--format", file_format, "--dataset", "clips", "--json")
    versioned.json("export", tmp_path / "whole", *command[2:-1])
    _forget_clips(versioned)
    process = versioned.start(*command)
    wait_for("a video is there", lambda: any((tmp_path / "out").rglob("*.mp4")))
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        found = json.loads(stdout)
        assert (found["interrupted"], found["failed"]) == (True, [])
        state = json.loads((tmp_path / "out" / STATE).read_bytes())
        there = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mp4")}
        assert there <= state.keys(), "what is there is known, also if the next export has other videos"
    whole = contents(tmp_path / "whole")
    for name, data in contents(tmp_path / "out").items():
        assert name == STATE or name.endswith(".part") or data == whole[name]
    assert versioned.json(*command[:-1])["items"] == _VIDEOS
    assert contents(tmp_path / "out") == whole
