"""Whatever ends a run, the next one completes the library: the same as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from vidpipe.library import embedded
from vidpipe_tests.end_to_end.home import Home, Picture, ended, kill_group, wait_for


def test_kill_9_at_random_moments_leaves_the_library_of_an_undisturbed_run(home: Home, undisturbed: Picture) -> None:
    """Every second time the command alone, else all that it started, too; some before it is at work."""
    moments = random.Random(20)
    killed = 0
    for number in range(5):
        if number % 4 == 3:
            process = home.start("run")
            time.sleep(moments.uniform(0.3, 2.0))
        else:
            process = home.started_run()
            time.sleep(moments.uniform(0.0, 0.5))
        killed += process.poll() is None
        if number % 2:
            kill_group(process)
        else:
            process.kill()
            wait_for("what the killed run had started ends, too", lambda: not home.processes(), limit_s=20)
            process.communicate()
    assert killed >= 4, "the runs ended before they could be killed"
    done = home("run")
    assert done.code == 0, done.stdout + done.stderr
    home.assert_whole(undisturbed)


@pytest.mark.soak
def test_two_runs_at_once_share_the_work(home: Home, undisturbed: Picture) -> None:
    first, second = home.start("run", "--json"), home.start("run", "--json")
    reports = [ended(first), ended(second)]
    assert [report.code for report in reports] == [0, 0], [report.stderr for report in reports]
    computed = [report.json["stages"]["scenes"]["computed"] for report in reports]
    assert sum(computed) == 12
    home.assert_whole(undisturbed)


@pytest.mark.soak
def test_mongod_killed_in_mid_run_is_started_again_and_the_run_goes_on(home: Home, undisturbed: Picture) -> None:
    process = home.started_run("--json")
    time.sleep(0.3)
    killed = home.kill_mongod()
    done = ended(process)
    assert done.code == 0, done.stdout + done.stderr
    server = embedded.find(home.settings)
    assert server is not None
    assert server.pid != killed
    assert home.json("run")["videos"] == 0
    home.assert_whole(undisturbed)


def test_ctrl_c_stores_what_is_finished_and_gives_the_rest_back(home: Home, undisturbed: Picture) -> None:
    process = home.started_run("--json")
    os.kill(process.pid, signal.SIGINT)
    done = ended(process)
    assert done.code == 130, done.stderr
    assert done.json["interrupted"]
    assert "`vidpipe run` resumes" in done.stderr
    home.assert_tidy()
    assert home("run").code == 0
    home.assert_whole(undisturbed)
