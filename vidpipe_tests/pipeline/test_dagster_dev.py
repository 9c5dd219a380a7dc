"""`dagster dev` itself, with nothing but a home: its page over GraphQL, and a run that it launches."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from vidpipe.library.library import Library
from vidpipe.settings import Settings, default_file
from vidpipe_tests.runner.small_graph import calls

PATIENCE_S = 180


@pytest.fixture
def page(settings: Settings, library: Library) -> Iterator[str]:
    """The address of a `dagster dev` started in the home, without DAGSTER_HOME."""
    shutil.copy(default_file("dagster.yaml"), settings.home / "dagster.yaml")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "VIDPIPE_HOME")}
    environment["VIDPIPE_SENSORS_ENABLED"] = "no"
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [
        sys.executable, "-m", "dagster", "dev", "-m", "vidpipe_tests.pipeline.small_definitions",
        "-h", "127.0.0.1", "-p", str(port),
    ]  # fmt: skip
    log = (settings.home / "dev.log").open("w")
    process = subprocess.Popen(
        command, cwd=settings.home, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def ask(page: str, query: str, **variables: Any) -> Any:
    answer = requests.post(page, json={"query": query, "variables": variables}, timeout=20).json()
    assert "errors" not in answer, answer
    return answer["data"]


def wait_for(settings: Settings, what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            found = what()
        except requests.ConnectionError:
            found = None
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError((settings.home / "dev.log").read_text()[-4000:])


ASSETS = """{assetNodes {assetKey {path} groupName kinds isPartitioned jobNames
  partitionKeysByDimension {partitionKeys}}}"""
LAUNCH = """mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {__typename ... on LaunchRunSuccess {run {runId}}
    ... on PythonError {message}}}"""
STATUS = "query Status($id: ID!) {runOrError(runId: $id) {... on Run {status}}}"
PARTITIONS = """query Stats($key: AssetKeyInput!) {assetNodeOrError(assetKey: $key) {... on AssetNode {
  partitionStats {numMaterialized numFailed numPartitions}
  assetChecksOrError {... on AssetChecks {checks {name executionForLatestMaterialization {status}}}}}}}"""


def test_a_run_launched_from_the_page_works_and_its_videos_show(
    settings: Settings, library: Library, add: Callable[..., list[str]], page: str
) -> None:
    add("good", "evil", "fine")
    (settings.home / "broken-evil").touch()
    nodes = wait_for(settings, lambda: ask(page, ASSETS)["assetNodes"])
    found = {node["assetKey"]["path"][0]: node for node in nodes}
    assert set(found) == {"sources", "length", "parts", "report"}
    assert found["report"]["groupName"] == "label"
    assert all(node["isPartitioned"] for node in nodes)
    selector = {"repositoryLocationName": "vidpipe_tests.pipeline.small_definitions",
                "repositoryName": "__repository__", "jobName": "process"}  # fmt: skip
    launched = ask(page, LAUNCH, parameters={"selector": selector, "runConfigData": {}})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]
    ended = wait_for(
        settings,
        lambda: (status := ask(page, STATUS, id=run)["runOrError"]["status"]) in ("SUCCESS", "FAILURE") and status,
    )
    assert ended == "FAILURE", "one of the videos is broken"
    node = ask(page, PARTITIONS, key={"path": ["length"]})["assetNodeOrError"]
    assert node["partitionStats"] == {"numMaterialized": 2, "numFailed": 0, "numPartitions": 3}
    (check,) = node["assetChecksOrError"]["checks"]
    assert check["name"] == "videos_succeeded"
    assert check["executionForLatestMaterialization"]["status"] == "FAILED", (
        "no partition was planned: the check is red"
    )
    assert len(calls(settings, "report")) == 2
    assert (settings.data_directory / "dagster" / "history" / "runs").is_dir()
