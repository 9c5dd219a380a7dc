"""Three hosts, of which one is cut off, one dies, and the primary of the database is killed: the library equals that of
one machine, nothing is done twice, nothing is left behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidpipe.library import embedded
from vidpipe_tests.cluster.faults import cut_off, die, kill_primary, wait_for_a_busy_one, wait_until_at_work
from vidpipe_tests.cluster.host_servers import CLIPS, why_skipped
from vidpipe_tests.cluster.hosts import Host
from vidpipe_tests.cluster.leftovers import assert_nothing_left
from vidpipe_tests.cluster.machines import Machines, machines, model_settings
from vidpipe_tests.cluster.many_clips import many_clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.end_to_end.home import COMMAND, Home, computed

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(why_skipped()), reason=f"several hosts on one machine: {why_skipped()}"),
]

#: How many videos; fewer for a quick look.
VIDEOS = int(os.environ.get("VIDPIPE_TEST_CLUSTER_VIDEOS", "200"))
#: Small runs, so that each host has several.
BATCHES = {
    "VIDPIPE_SENSORS_INGESTBATCH": "40",
    "VIDPIPE_SENSORS_PREPAREBATCH": "20",
    "VIDPIPE_SENSORS_DESCRIBEBATCH": "10",
    "VIDPIPE_SENSORS_LABELBATCH": "40",
}

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
#: With libfaketime 0.9.10, time.sleep fails (EINVAL) if the monotonic clock is real, and threading's waits hang if not.
SLEEP_BY_SELECT = "import select, time\ntime.sleep = lambda seconds: select.select((), (), (), seconds) and None\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: that of Dagster's socket is limited."""
    with tempfile.TemporaryDirectory(prefix="vp77-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def sources(there: Machines, number: int) -> list[str]:
    """URLs of new clips that host a serves."""
    return [f"http://{there.a.address}:{CLIPS}/{path.name}" for path in many_clips(there.a.home / "clips", number)]


def library_of_one_machine(there: Machines, urls: list[str]) -> list[Any]:
    """What one machine with a database and files of its own makes of the same sources with the same model."""
    home = Home(there.folder / "alone", model_settings(there.a.address))
    assert home("init", home.path).code == 0
    try:
        for command in (("add", *urls), ("run",)):
            process = home.start(*command)
            said, problems = process.communicate(timeout=1800)
            assert process.returncode == 0, said + problems
        return home.library()
    finally:
        embedded.stop(home.settings)


def placeless(library: list[Any]) -> list[Any]:
    """Without where files are stored."""
    rows = computed(library)
    for row in rows:
        row["video"] = {name: value for name, value in row["video"].items() if name not in ("store", "path")}
    return sorted(rows, key=lambda row: row["video"]["sha256"])


def assert_like_one_machine(there: Machines, urls: list[str]) -> None:
    assert_nothing_left(there)
    commits = there.observer.commits()
    twice = {key: number for key, number in commits.items() if number != 1}
    assert not twice, f"stored more than once: {twice}"
    assert placeless(there.observer.library()) == placeless(library_of_one_machine(there, urls))
    there.note("the library equals that of one machine")


def test_hosts_that_vanish_cost_nothing_but_time(folder: Path) -> None:
    with machines(folder, **BATCHES) as there:
        urls = sources(there, VIDEOS)
        for host in (there.b, there.c):
            there.start_worker(host)
        there.up()
        there.list_file.write_text("".join(f"{url}\n" for url in urls))
        cut_off(there, there.b, 90)
        wait_until_at_work(there, there.b)
        there.note("b takes runs again")
        die(there, there.c, 30)
        kill_primary(there, 15)
        there.wait_until_done(VIDEOS, limit_s=1500)
        assert_like_one_machine(there, urls)


def test_runs_launched_from_the_page_survive_the_same(folder: Path) -> None:
    with machines(folder, VIDPIPE_SENSORS_ENABLED="no", **BATCHES) as there:
        urls = sources(there, VIDEOS)
        for host in (there.b, there.c):
            there.start_worker(host)
        there.up()
        there.a.run(COMMAND, "add", *urls, limit_s=900)
        there.note("videos are added")
        with there.observer.database() as database:
            videos = [row["_id"] for row in database.collection("videos").find({}, {"_id": 1}).sort("added_at")]
        backfill = there.page.backfill(list(GRAPH.names), videos, most_retries=2)
        first = wait_for_a_busy_one(there)
        cut_off(there, first, 90)
        second = wait_for_a_busy_one(there)
        die(there, second, 30)
        kill_primary(there, 15)
        there.wait_until_done(VIDEOS, limit_s=1800)
        there.wait("the backfill has ended", lambda: there.backfill_status(backfill) != "REQUESTED", limit_s=300)
        there.note(f"the backfill is {there.backfill_status(backfill)}")
        assert_like_one_machine(there, urls)


def ahead(host: Host) -> dict[str, str]:
    """The environment in which Python's clock is five minutes ahead on a host."""
    (host.home / "site").mkdir()
    (host.home / "site/sitecustomize.py").write_text(SLEEP_BY_SELECT)
    paths = ["/home/site", *filter(None, [os.environ.get("PYTHONPATH")])]
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "+5m", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return {**faked, "PYTHONPATH": os.pathsep.join(paths)}


@pytest.mark.skipif(not FAKETIME.is_file(), reason="needs libfaketime")
def test_clocks_five_minutes_apart_cause_no_double_commit(folder: Path) -> None:
    """b, whose clock is ahead, is cut off while its run is all there is to do; c does it; b comes back with results."""
    number = 12
    with machines(folder, **{**BATCHES, "VIDPIPE_SENSORS_PREPAREBATCH": "100"}) as there:
        urls = sources(there, number)
        environment = ahead(there.b)
        there.start_worker(there.b, **environment)
        there.up()
        assert abs(there.clock(there.b, **environment) - there.clock(there.a) - 300) < 30
        there.list_file.write_text("".join(f"{url}\n" for url in urls))
        (run,) = wait_until_at_work(there, there.b, job="prepare_list")
        there.b.cut()
        there.note(f"b is cut off with {there.at_work(there.b)}")
        there.start_worker(there.c)
        there.wait("c has taken over", lambda: there.current()["scenes"] == number, limit_s=240)
        there.note("c has done it")
        there.b.join()
        there.wait_until_done(number, limit_s=600)
        there.wait("b has noticed", lambda: there.discarded(run) or not there.at_work(there.b), limit_s=180)
        there.note(f"late commits of b that were refused: {there.discarded(run)}")
        assert there.discarded(run)
        there.wait("b takes runs", lambda: there.present(there.b), limit_s=120)
        assert_like_one_machine(there, urls)
