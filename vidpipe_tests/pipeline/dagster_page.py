"""Dagster's page and daemon as processes of their own, asked over GraphQL."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

#: Dagster's daemon checks backfills every 30 s.
PATIENCE_S = 240
_LAUNCH_RUN = """mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) { __typename ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
_LAUNCH = """mutation($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_AGAIN = """mutation($parameters: ReexecutionParams!) {
  reexecutePartitionBackfill(reexecutionParams: $parameters) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status error { message } runs(limit: 1000) { runId status startTime endTime assetSelection { path } } } } }"""
_RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status startTime endTime } } }"
_PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetPartitionStatuses { ... on DefaultPartitionStatuses {
    materializedPartitions failedPartitions materializingPartitions } } } } }"""
_EVENTS = """query($key: AssetKeyInput!, $partitions: [String!]) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetObservations(partitions: $partitions, limit: 5) { description timestamp metadataEntries {
    label ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } } } } } }"""
_FAILURE = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on ExecutionStepFailureEvent { error { message } } } } } }"""


@dataclass
class Backfill:
    status: str
    runs: list[dict[str, Any]]

    @property
    def assets(self) -> list[str]:
        """The first asset of each run, in the order of their start."""
        return [run["assetSelection"][0]["path"][0] for run in sorted(self.runs, key=lambda run: run["startTime"] or 0)]


@dataclass
class Page:
    """module: the code location; logs: where the processes write"""

    address: str
    module: str
    logs: Path

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(
            f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=30
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def wait_for(self, what: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(requests.ConnectionError):
                if found := what():
                    return found
            time.sleep(0.3)
        raise AssertionError("\n".join(path.read_text()[-3000:] for path in self.logs.glob("*.log")))

    def run(self, job: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Launches a job and waits for its end; status, startTime and endTime."""
        selector = {"repositoryLocationName": self.module, "repositoryName": "__repository__", "jobName": job}
        tags = [{"key": "dagster/max_retries", "value": "0"}]
        parameters = {"selector": selector, "runConfigData": config, "executionMetadata": {"tags": tags}}
        launched = self.ask(_LAUNCH_RUN, parameters=parameters)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]

        def ended() -> Any:
            run = self.ask(_RUN, id=run_id)["runOrError"]
            return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return {**self.wait_for(ended), "id": run_id}

    def backfill(self, assets: Sequence[str], partitions: Sequence[str], *, most_retries: int = 0) -> str:
        """Starts a backfill as the page does; gives its id."""
        parameters = {
            "assetSelection": [{"path": [name]} for name in assets],
            "partitionNames": list(partitions),
            "tags": [{"key": "dagster/max_retries", "value": str(most_retries)}],
        }
        launched = self.ask(_LAUNCH, parameters=parameters)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def again(self, backfill: str) -> str:
        """The page's "re-execute from failure" of a backfill."""
        parameters = {"parentRunId": backfill, "strategy": "FROM_FAILURE"}
        launched = self.ask(_AGAIN, parameters=parameters)["reexecutePartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def ended(self, backfill: str) -> Backfill:
        """A backfill once it is over."""

        def over() -> Any:
            found = self.ask(_BACKFILL, id=backfill)["partitionBackfillOrError"]
            return found if found["status"].startswith("COMPLETED") or found["status"] == "FAILED" else None

        found = self.wait_for(over)
        assert found["error"] is None, found["error"]
        return Backfill(found["status"], found["runs"])

    def colors(self, asset: str, partitions: Sequence[str]) -> str:
        """One letter a partition, as its square on the page: g(reen), r(ed), b(lue, at work), - (nothing yet)."""
        node = self.ask(_PARTITIONS, key={"path": [asset]})["assetNodeOrError"]["assetPartitionStatuses"]
        letters = {"materializedPartitions": "g", "failedPartitions": "r", "materializingPartitions": "b"}
        of = {key: letter for name, letter in letters.items() for key in node[name]}
        return "".join(of.get(key, "-") for key in partitions)

    def told(self, asset: str, partition: str) -> list[str]:
        """What the page of a partition says of it besides its materialisations."""
        node = self.ask(_EVENTS, key={"path": [asset]}, partitions=[partition])["assetNodeOrError"]
        return [
            " ".join(
                [seen["description"] or "", *(str(entry.get("text") or entry.get("mdStr") or "")
                                              for entry in seen["metadataEntries"])]
            )
            for seen in node["assetObservations"]
        ]  # fmt: skip

    def failure(self, run_id: str) -> str:
        """Why the step of a run failed."""
        events = self.ask(_FAILURE, id=run_id)["logsForRun"]["events"]
        return " ".join(str((event.get("error") or {}).get("message", "")) for event in events)


@contextlib.contextmanager
def page_and_daemon(module: str, environment: Mapping[str, str], logs: Path) -> Iterator[Page]:
    """A web server and a daemon of the code location `module`, ended afterwards with what they started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).parents[2]
    env = {**os.environ, **environment, "PYTHONPATH": str(root)}
    commands = {
        "web": ["dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-m", module],
        "daemon": ["vidpipe.pipeline.dagster_entrypoint", "dagster-daemon", "run", "-m", module],
    }
    started = []
    with contextlib.ExitStack() as files:
        for name, words in commands.items():
            log = files.enter_context((logs / f"{name}.log").open("w"))
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", *words], cwd=logs, env=env, stdout=log, stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )  # fmt: skip
        try:
            page = Page(f"http://127.0.0.1:{port}", module, logs)
            page.wait_for(lambda: requests.get(f"{page.address}/server_info", timeout=5).ok)
            yield page
        finally:
            for process in started:
                process.send_signal(signal.SIGINT)
            for process in started:
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
