"""Two thousand small videos through the sensors, while the list is edited: nothing grows, nothing is left behind."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median

import pytest

from vidpipe_tests import clips
from vidpipe_tests.end_to_end.conftest import ENVIRONMENT
from vidpipe_tests.end_to_end.home import Home
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome, running
from vidpipe_tests.fault_server import FaultServer, page

VIDEOS = 2000
EDITS = 10
#: Every so many lines one names something that is no video.
BROKEN_EVERY = 100
SERVERS = ("code server", "web server", "daemon", "measures", "mongod")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture
def originals(tmp_path: Path) -> list[bytes]:
    made = [
        clips.color_cuts(tmp_path / "cuts.mp4", ("red", "blue"), seconds_each=0.3, size="96x54"),
        clips.moving(tmp_path / "moving.mp4", seconds=0.4, size="96x54"),
        clips.moving(tmp_path / "sound.mp4", seconds=0.4, size="96x54", audio="sine"),
    ]
    return [path.read_bytes() for path in made]


def _is_broken(number: int) -> bool:
    return number % BROKEN_EVERY == 7


def _serve(server: FaultServer, originals: list[bytes], number: int) -> str:
    if _is_broken(number):
        return server.add(f"/page-{number:05d}.mp4", b"", always=page)
    return server.add(f"/clip-{number:05d}.mp4", clips.told_apart(originals[number % len(originals)], number))


def _edit(unattended: UnattendedHome, urls: list[str], chances: random.Random) -> None:
    """New lines, with options and comments; some said twice, some taken out again; the file renamed into place."""
    lines = [f"{url} priority={chances.randint(0, 3)} labels=soak" if chances.random() < 0.2 else url for url in urls]
    lines.insert(0, f"# {len(urls)} more")
    lines += ["", *chances.sample(urls, 5)]
    if chances.random() < 0.5:
        unattended.append(*lines)
    else:
        unattended.rewrite(lambda old: [line for line in old if chances.random() > 0.02] + lines)


def test_two_thousand_videos_come_through_in_flat_memory(tmp_path: Path, originals: list[bytes]) -> None:
    home = Home(tmp_path / "home", {**ENVIRONMENT, "VIDPIPE_SENSORS_INTERVAL": "2"})
    assert home("init", home.path).code == 0
    chances = random.Random(3)
    good = sum(not _is_broken(number) for number in range(VIDEOS))
    with FaultServer() as server, running(home) as unattended:
        unattended.look_every_s = 5.0
        urls = [_serve(server, originals, number) for number in range(VIDEOS)]
        for edit in range(EDITS):
            part = urls[edit::EDITS]
            _edit(unattended, part, chances)
            half = good * (2 * edit + 1) // (2 * EDITS) - VIDEOS // 20
            unattended.wait_until(
                f"half of what edit {edit + 1} named has come in",
                lambda half=half: home.json("status")["videos"] >= half,
                limit_s=600,
            )
        # Lines that were taken out before they were fetched are not fetched: said again, they are.
        unattended.rewrite(lambda old: urls)
        took_s = unattended.wait_until_all_current(good, limit_s=2400)
        print(f"\nlast edit to the last video: {took_s:.0f} s")
        _assert_flat(unattended)
        fetched = [seen.path for seen in server.requests if seen.sent and "clip" in seen.path]
        assert len(fetched) == len(set(fetched)), "a video was fetched twice"
        assert home("down").code == 0
        assert not unattended.processes()
        home.assert_tidy()
        assert set(home.commits().values()) == {1}
        assert home.json("status")["videos"] == good


def _assert_flat(unattended: UnattendedHome) -> None:
    """The second half of each server's memory against its first, after the start."""
    for kind in SERVERS:
        samples = unattended.memory_mb[kind]
        quarter = len(samples) // 4
        early, late = median(samples[quarter : 2 * quarter]), median(samples[3 * quarter :])
        print(f"{kind}: {early:.0f} MB early, {late:.0f} MB late, at most {max(samples):.0f} MB")
        if kind != "mongod":  # it fills its cache, which is limited
            assert late < 1.15 * early + 20, f"{kind} grew from {early:.0f} to {late:.0f} MB"
        assert max(samples) < 900
    runs = unattended.memory_mb["run"]
    assert median(runs[-len(runs) // 4 :]) < 1.25 * median(runs[: len(runs) // 2]) + 50
