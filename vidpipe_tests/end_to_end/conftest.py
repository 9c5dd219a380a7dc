"""One server with a dozen clips, and one home that has taken them in: every test gets a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vidpipe.library import embedded
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.end_to_end.home import Home, Picture
from vidpipe_tests.fault_server import FaultServer

ENVIRONMENT = {
    "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
    "VIDPIPE_DOWNLOAD_RETRIES": "2",
    "VIDPIPE_DOWNLOAD_BACKOFF": "0.05",
    "VIDPIPE_DOWNLOAD_MINFREEMB": "0",
    "VIDPIPE_SCENEDETECTION_MINSCENELENGTH": "0.2",
    "VIDPIPE_CONCURRENCY_MAXWORKERS": "2",
    "VIDPIPE_MONGODB_TIMEOUT": "3",
}


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A dozen clips of less than a second, each of other bytes: cuts, movement, sound, subtitles, portrait."""
    folder = tmp_path_factory.mktemp("dozen")
    made = [
        clips.color_cuts(folder / f"cuts-{n}.mp4", colors, seconds_each=0.4, size="160x90", audio=audio)
        for n, (colors, audio) in enumerate(
            [(("red", "blue"), None), (("green", "white"), "sine"), (("black", "yellow"), "noise"),
             (("navy", "orange"), "silence")]
        )
    ]  # fmt: skip
    made += [clips.moving(folder / f"moving-{n}.mp4", seconds=0.5 + n / 25, size="160x90") for n in range(5)]
    made += [
        clips.subtitled(folder / "talk.mkv", [(0.1, 0.7, "What a wonderful, happy lighthouse")], seconds=0.9),
        clips.moving(folder / "portrait.webm", source="mandelbrot", seconds=0.6, size="90x160", codec="libvpx-vp9"),
        clips.rotated(folder / "turned.mp4", seconds=0.7, size="160x90"),
    ]
    return made


@pytest.fixture(scope="session")
def server(clip_files: list[Path]) -> Iterator[FaultServer]:
    """Serves each clip under its name."""
    with FaultServer() as running:
        for path in clip_files:
            running.add(f"/{path.name}", path.read_bytes())
        yield running


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path | None], Home]]:
    made: list[Home] = []

    def make(copy_of: Path | None) -> Home:
        path = tmp_path_factory.mktemp("homes") / "home"
        home = Home(path, ENVIRONMENT)
        if copy_of is None:
            assert home("init", path).code == 0
        else:
            shutil.copytree(copy_of, path)
        made.append(home)
        return home

    yield make
    for home in made:
        embedded.stop(home.settings)
        shutil.rmtree(home.path)


@pytest.fixture(scope="session")
def filled(_homes: Callable[[Path | None], Home], server: FaultServer, clip_files: list[Path]) -> Path:
    """A home that has taken the clips in and computed nothing; its server is stopped. To be copied."""
    home = _homes(None)
    assert home("add", *(server.url(f"/{path.name}") for path in clip_files)).code == 0
    assert home("down").code == 0
    return home.path


@pytest.fixture(scope="session")
def _finished(_homes: Callable[[Path | None], Home], filled: Path, clip_files: list[Path]) -> tuple[Path, Picture]:
    home = _homes(filled)
    done = home("run")
    assert done.code == 0, done.stdout + done.stderr
    picture = home.picture()
    assert home("run", "--json").json["videos"] == 0
    assert home.states() == {stage: {"current": len(clip_files)} for stage in GRAPH.names}
    home.assert_whole(picture)
    assert embedded.stop(home.settings)
    return home.path, picture


@pytest.fixture(scope="session")
def undisturbed(_finished: tuple[Path, Picture]) -> Picture:
    """What comes of the clips when nothing happens: what the others are compared with."""
    return _finished[1]


@pytest.fixture
def finished_home(_homes: Callable[[Path | None], Home], _finished: tuple[Path, Picture]) -> Iterator[Home]:
    """A home with a dozen videos that are current in every stage."""
    home = _homes(_finished[0])
    yield home
    embedded.stop(home.settings)


@pytest.fixture
def empty_home(_homes: Callable[[Path | None], Home]) -> Iterator[Home]:
    home = _homes(None)
    yield home
    embedded.stop(home.settings)


@pytest.fixture
def home(_homes: Callable[[Path | None], Home], filled: Path) -> Iterator[Home]:
    """A home with a dozen videos that are due in every stage."""
    home = _homes(filled)
    yield home
    embedded.stop(home.settings)
