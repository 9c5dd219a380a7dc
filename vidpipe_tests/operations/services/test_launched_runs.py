"""Runs that Dagster launches: processes of their own, stopped in good order, noticed when they die."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from vidpipe.library.process_names import pid_of
from vidpipe.pipeline.run_launcher import PROCESS_TAG
from vidpipe_tests import clips
from vidpipe_tests.end_to_end.home import wait_for
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome

_LAUNCH = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message } } }"""
_RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
_STOP = "mutation($id: String!) { terminateRun(runId: $id) { __typename } }"
_SLOTS = "{ instance { concurrencyLimits { concurrencyKey claimedSlots { runId } pendingSteps { runId } } } }"
_SELECTOR = {"repositoryLocationName": "vidpipe", "repositoryName": "__repository__", "jobName": "process"}


class Page:
    def __init__(self, station: UnattendedHome) -> None:
        self._url = station.home.json("up")["addresses"]["web"] + "/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(self._url, json={"query": query, "variables": variables}, timeout=20).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(self) -> str:
        """The job `process` over all that is due, tried once; gives the run's id."""
        tags = [{"key": "dagster/max_retries", "value": "0"}]
        parameters = {"selector": _SELECTOR, "runConfigData": {}, "executionMetadata": {"tags": tags}}
        launched = self.ask(_LAUNCH, parameters=parameters)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run: str = launched["run"]["runId"]
        return run

    def status(self, run: str) -> str:
        status: str = self.ask(_RUN, id=run)["runOrError"]["status"]
        return status

    def pid(self, run: str) -> int | None:
        tags = {tag["key"]: tag["value"] for tag in self.ask(_RUN, id=run)["runOrError"]["tags"]}
        return pid_of(tags.get(PROCESS_TAG, ""))

    def launch_and_wait_for_work(self, station: UnattendedHome) -> tuple[str, int]:
        run = self.launch()
        wait_for("the run works on a video", station.home.is_at_work)
        pid = self.pid(run)
        assert pid is not None
        _hold_back(pid)
        return run, pid


def _hold_back(pid: int) -> None:
    """What the run does comes after everything else on a busy machine: it is still at work when the test is ready."""
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.nice(19)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A clip that takes a second or two."""
    return clips.moving(tmp_path_factory.mktemp("long") / "long.mp4", seconds=40, size="960x540").read_bytes()


def _long_clips(folder: Path, whole: bytes, first: int, how_many: int) -> list[Path]:
    """So many such clips, no two alike."""
    made = [folder / f"long-{number}.mp4" for number in range(first, first + how_many)]
    for number, path in enumerate(made, start=first):
        path.write_bytes(clips.told_apart(whole, number))
    return made


@pytest.fixture
def busy(
    station: UnattendedHome, whole: bytes, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[UnattendedHome]:
    """The station with videos, two where a test gives no other number, that keep a run at work for some seconds."""
    before = station.home.json("status")["videos"]
    assert station.home("add", *_long_clips(tmp_path, whole, before, getattr(request, "param", 2))).code == 0
    yield station
    assert station.home("up").code == 0
    done = station.home("run")
    assert done.code == 0, done.stdout + done.stderr
    station.home.assert_tidy_library()


@pytest.mark.soak
def test_a_run_outlives_the_servers_that_launched_it(busy: UnattendedHome) -> None:
    page = Page(busy)
    run, pid = page.launch_and_wait_for_work(busy)
    for kind in ("daemon", "code server", "web server"):
        for process in busy.processes()[kind]:
            process.kill()
    assert psutil.pid_exists(pid)
    assert busy.home("up").code == 0

    def has_ended_well() -> bool:
        with suppress(requests.ConnectionError):  # the web server may be restarting
            return page.status(run) == "SUCCESS"
        return False

    wait_for("the run ends well", has_ended_well, limit_s=90)
    assert set(busy.current().values()) == {busy.home.json("status")["videos"]}


def test_a_killed_run_is_noticed_ended_and_its_videos_are_free(busy: UnattendedHome) -> None:
    page = Page(busy)
    run, pid = page.launch_and_wait_for_work(busy)
    psutil.Process(pid).send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    wait_for("the run is ended", lambda: page.status(run) == "FAILURE", limit_s=90)
    assert time.monotonic() - killed_at < 60
    for limit in page.ask(_SLOTS)["instance"]["concurrencyLimits"]:
        assert not limit["claimedSlots"]
        assert not limit["pendingSteps"]
    with busy.home.database() as database:
        wait_for(
            "its leases are freed",
            lambda: database.collection("videos").count_documents({"lease": {"$exists": True}}) == 0,
            limit_s=60,
        )


@pytest.mark.parametrize("busy", [3], indirect=True)
def test_a_run_that_is_stopped_on_the_page_stores_what_is_finished(busy: UnattendedHome) -> None:
    page = Page(busy)
    run, _ = page.launch_and_wait_for_work(busy)
    assert page.ask(_STOP, id=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    wait_for("the run is cancelled", lambda: page.status(run) == "CANCELED", limit_s=60)
    busy.home.assert_tidy_library()


@pytest.mark.soak
@pytest.mark.parametrize("busy", [6], indirect=True)
def test_down_waits_for_the_runs_and_up_goes_on(busy: UnattendedHome) -> None:
    run, _ = Page(busy).launch_and_wait_for_work(busy)
    done = busy.home("down", "--json")
    assert done.code == 0, done.stderr
    assert "runs" in done.json["stopped"], busy.home.states()
    assert not busy.processes()
    assert busy.home("up").code == 0
    assert Page(busy).status(run) == "CANCELED"
    busy.home.assert_tidy_library()
