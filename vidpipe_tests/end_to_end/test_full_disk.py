"""A disk that fills up: a sentence that names it, nothing else harmed, and all well once there is room again.

The disks are small ones in memory, in a mount namespace that ends with its process.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vidpipe_tests.end_to_end.home import Home, Picture, ended
from vidpipe_tests.fault_server import FaultServer

#: Mounts a disk of $2 at $1 with what was there before, and stays.
_MOUNT = """
mkdir -p "$1"; cp -a "$1" "$1.copy"; mount -t tmpfs -o "size=$2" none "$1"; cp -a "$1.copy/." "$1"; rm -r "$1.copy"
echo mounted; exec sleep 900
"""
SmallDisk = Callable[[Home, str, str], Home]


@pytest.fixture
def small_disk() -> Iterator[SmallDisk]:
    """Puts a folder of a home on a disk of a given size; the command then runs where that disk is to be seen."""
    keepers: list[tuple[subprocess.Popen[str], Home]] = []

    def mount(home: Home, folder: str, size: str) -> Home:
        keeper = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-ec", _MOUNT, "sh", str(home.path / folder), size],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert keeper.stdout is not None
        if keeper.stdout.readline() != "mounted\n":
            pytest.skip(f"this system lets the tests mount nothing: {keeper.communicate()[1].strip()}")
        prefix = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(keeper.pid)]
        inside = replace(home, prefix=prefix, seen_at=Path(f"/proc/{keeper.pid}/root{home.path}"))
        keepers.append((keeper, inside))
        return inside

    yield mount
    for keeper, inside in keepers:
        assert inside("down", "--force").code == 0
        keeper.kill()
        keeper.communicate()


def fill(path: Path) -> None:
    """Takes all the room there is."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 20)):
            pass


def grow(home: Home, folder: str, size: str) -> None:
    """More room on the disk that is mounted at `folder`."""
    subprocess.run([*home.prefix, "mount", "-o", f"remount,size={size}", str(home.path / folder)], check=True)


@pytest.mark.soak
def test_no_room_for_frames_fails_those_videos_only(home: Home, undisturbed: Picture, small_disk: SmallDisk) -> None:
    small = small_disk(home, "data/derived", "200k")
    report = small.json("run", code=1)
    failed = report["stages"]["scenes"]["failed"]
    assert 0 < failed < 12
    assert report["stages"]["categories"]["computed"] == 12 - failed
    for failure in report["failures"]:
        assert f"the disk of {home.path / 'data/derived'} is full" in failure["message"]
        assert "Free space" in failure["hint"]
    grow(small, "data/derived", "50m")
    assert small("run", "--retry").code == 0
    assert small.library() == undisturbed.library
    assert set(small.commits().values()) == {1}
    small.assert_tidy()


def test_no_room_for_downloads_fails_those_sources_only(
    empty_home: Home, undisturbed: Picture, server: FaultServer, clip_files: list[Path], small_disk: SmallDisk
) -> None:
    urls = [server.url(f"/{path.name}") for path in clip_files]
    small = small_disk(empty_home, "data/media", "150k")
    added = small.json("add", *urls, code=1)
    counts = added["counts"]
    assert counts["stored"] > 0
    assert counts["stored"] + counts["failed"] == 12
    for row in added["inputs"]:
        if row["state"] == "failed":
            assert f"disk of {empty_home.path / 'data/media'}" in row["error"]
            assert "Free space" in row["error"]
    grow(small, "data/media", "50m")
    assert small.json("add", "--retry", *urls)["counts"]["stored"] == 12 - counts["stored"]
    assert small("run").code == 0
    assert small.counts() == undisturbed.counts
    assert small.commits() == undisturbed.commits
    small.assert_tidy()


@pytest.mark.soak
def test_a_home_without_any_room_ends_the_run_with_a_sentence(
    home: Home, undisturbed: Picture, small_disk: SmallDisk
) -> None:
    """The database lies on the full disk, too."""
    small = small_disk(home, ".", "600m")
    process = small.started_run()
    filler = small.data / "filler"
    fill(filler)
    done = ended(process)
    said = done.stdout + done.stderr
    assert done.code == 3, said
    assert f"The disk of {home.path / 'data'}" in said, said
    assert "Free space and re-run the command" in said, said
    assert "Traceback" not in said
    filler.unlink()
    assert small("run", "--retry").code == 0
    assert small.library() == undisturbed.library
    small.assert_tidy()
