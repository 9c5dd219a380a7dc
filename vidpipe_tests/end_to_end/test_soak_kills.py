"""kill -9 at random moments among web server, daemon, code server, runs and mongod; `up` makes it whole again."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path

import psutil
import pytest

from vidpipe_tests.end_to_end.conftest import ENVIRONMENT
from vidpipe_tests.end_to_end.home import Home, Picture, computed
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome, running
from vidpipe_tests.fault_server import FaultServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

KILLS = 20
_TARGETS = ("web server", "daemon", "code server", "run", "spare process", "mongod")


def kill_one(unattended: UnattendedHome, chances: random.Random) -> str:
    """Kills a random process of a random kind with -9; gives the kind."""
    for _ in range(100):
        kind = chances.choice(_TARGETS)
        there = unattended.processes().get(kind, [])
        if there:
            with contextlib.suppress(psutil.NoSuchProcess):
                chances.choice(there).kill()
                return kind
        time.sleep(0.1)
    return "nothing"


def test_twenty_kills_cost_nothing_but_time(
    empty_home: Home, server: FaultServer, clip_files: list[Path], undisturbed: Picture
) -> None:
    home = Home(empty_home.path, {**ENVIRONMENT, "VIDPIPE_SENSORS_INTERVAL": "1"})
    chances = random.Random(11)
    killed: list[str] = []
    with running(home) as unattended:
        urls = [server.url(f"/{path.name}") for path in clip_files]
        for number in range(KILLS):
            if number < len(urls):
                unattended.append(urls[number])
            time.sleep(chances.uniform(0.5, 6.0))
            killed.append(kill_one(unattended, chances))
            if chances.random() < 0.7:
                done = home("up")
                assert done.code == 0, done.stdout + done.stderr
        print(f"\nkilled: {killed}")
        assert home("up").code == 0
        unattended.wait_until_all_current(len(urls), limit_s=300)
        assert home("down").code == 0
        picture = home.picture()
        assert computed(picture.library) == computed(undisturbed.library)
        assert picture.commits == undisturbed.commits, "a result was stored twice"
        assert picture.counts == undisturbed.counts
        home.assert_tidy()
