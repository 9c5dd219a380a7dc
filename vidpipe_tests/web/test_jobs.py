"""Jobs: processes that add, run, ask and remove, with events that can be followed and resumed."""

from __future__ import annotations

import json
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from pymongo import MongoClient
from starlette.testclient import TestClient

from vidpipe.settings import init_home, load
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe.web.jobs import Job, RunningJob
from vidpipe_tests import clips
from vidpipe_tests.fault_server import FaultServer, slow

API = "/api/v1"
FINAL = ("succeeded", "failed", "canceled")
Event = tuple[int, str, dict[str, Any]]


@pytest.fixture
def client(home: Path, mongod_uri: str, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API of an empty library; jobs find it through the environment."""
    database = f"test_{uuid.uuid4().hex[:16]}"
    given = {"MONGODB_URI": mongod_uri, "MONGODB_DATABASENAME": database, "DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1"}
    given["DOWNLOAD_RETRIES"] = "0"
    for name, value in given.items():
        monkeypatch.setenv(f"VIDPIPE_{name}", value)
    init_home(home)
    shutil.copytree(empty_history, home / "data" / "dagster")
    web = WebHome(lambda: load(home).settings)
    app = create_app(web)
    yield TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
    app.state.jobs.close()
    web.close()
    with MongoClient[dict[str, Any]](mongod_uri) as mongo:
        mongo.drop_database(database)


def start(client: TestClient, path: str, **body: Any) -> str:
    begun = client.post(f"{API}{path}", json=body)
    assert begun.status_code == 202, begun.text
    return str(begun.json()["id"])


def events(client: TestClient, job: str, after: int = 0) -> list[Event]:
    """Those of a job, which it waits for."""
    text = client.get(f"{API}/runs/{job}/events", headers={"Last-Event-ID": str(after)}).text
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def until(condition: Callable[[], Any], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_urls_and_uploads_are_followed_until_they_are_tagged(client: TestClient, home: Path, tmp_path: Path) -> None:
    clip = clips.color_cuts(tmp_path / "cuts.mp4", ("red", "blue")).read_bytes()
    uploaded = clips.moving(tmp_path / "own.mp4", seconds=1.0).read_bytes()
    tus = {"Tus-Resumable": "1.0.0"}
    made = client.post(
        f"{API}/uploads",
        headers={**tus, "Upload-Length": str(len(uploaded)), "Upload-Metadata": "filename b3duLm1wNA=="},
    )
    sent = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert client.patch(made.headers["Location"], headers=sent, content=uploaded).status_code == 204
    with FaultServer() as server:
        inputs = [{"url": server.add("/cuts.mp4", clip), "labels": ["sea"]}, {"url": server.add("/none.mp4", b"no")}]
        upload = made.headers["Location"].rpartition("/")[2]
        job = start(client, "/sources", inputs=inputs, uploads=[upload], labels=["all"])
        seen = events(client, job)

    assert [number for number, _, _ in seen] == sorted({number for number, _, _ in seen})
    sources = {data["input"]: data for _, name, data in seen if name == "source"}
    assert sources[inputs[0]["url"]]["state"] == sources["own.mp4"]["state"] == "stored"
    assert sources[inputs[1]["url"]]["error"]
    tagged = {data["video"] for _, name, data in seen if name == "stage" and data["stage"] == "tags"
              and data["state"] == "computed"}  # fmt: skip
    assert tagged == {sources[inputs[0]["url"]]["video"], sources["own.mp4"]["video"]}
    last = seen[-1][2]
    assert (last["state"], last["progress"]["failed"]) == ("failed", 1)
    assert last["progress"]["done"] == last["progress"]["total"] > 3
    assert last["error"]["message"] == "1 of 3 sources could not be added."
    assert last == client.get(f"{API}/runs/{job}").json()
    assert events(client, job, after=seen[-3][0]) == seen[-2:], "Last-Event-ID resumes"

    assert list((home / "data" / "uploads").iterdir()) == [], "the upload is in the media store now, and only there"
    stored = {item["url"]: item["labels"] for item in client.get(f"{API}/sources").json()["items"]}
    assert stored[inputs[0]["url"]] == ["sea", "all"]
    recorded = client.get(f"{API}/runs").json()["recorded"]
    assert {run["job"] for run in recorded} == {"ingest", "process"}
    plan = client.post(f"{API}/runs", json={"dry_run": True})
    assert (plan.status_code, plan.json()["videos"]) == (200, 0)
    assert client.post(f"{API}/runs", json={"stages": ["odd"]}).status_code == 400


def test_a_killed_process_is_a_failed_job_and_others_wait_for_their_turn(client: TestClient) -> None:
    first, second, third = (start(client, "/runs", videos=["0" * 64]) for _ in range(3))
    until(lambda: client.get(f"{API}/runs/{first}").json()["state"] == "running")
    assert client.get(f"{API}/runs/{third}").json()["state"] == "queued"
    assert client.post(f"{API}/runs/{third}/cancel").json()["state"] == "canceled"
    for child in psutil.Process().children():
        if "vidpipe.pipeline.job_process" in child.cmdline():
            child.kill()
    until(lambda: all(client.get(f"{API}/runs/{job}").json()["state"] in FINAL for job in (first, second)))
    lost = client.get(f"{API}/runs/{first}").json()
    assert lost["state"] == "failed"
    assert lost["error"]["message"].startswith("The process of the job was killed by signal 9.")
    assert client.get(f"{API}/runs/unknown/events").status_code == 404


def test_a_job_can_be_canceled_before_its_process_has_read_the_request(tmp_path: Path) -> None:
    class Hasty(RunningJob):
        def _changed(self) -> None:
            super()._changed()
            if self.job.state == "running":
                self.stop()

    job = Hasty(Job(id="1", kind="run", created_at=datetime.now(UTC), by=""), "{}")
    job.work([sys.executable, "-m", "vidpipe.pipeline.job_process", "--home", str(tmp_path)])
    assert (job.job.state, job.job.error) == ("canceled", None)


def test_questions_need_a_model_that_answers(client: TestClient) -> None:
    refused = client.post(f"{API}/ask", json={"videos": [], "question": "Is it blue?"})
    assert refused.status_code == 409
    assert "Backend = qwen" in refused.json()["hint"]


@pytest.mark.soak
def test_what_a_canceled_job_has_finished_stays(client: TestClient, tmp_path: Path) -> None:
    clip = clips.color_cuts(tmp_path / "cuts.mp4", ("red", "blue")).read_bytes()
    with FaultServer() as server:
        quick = server.add("/quick.mp4", clip)
        endless = server.add("/slow.mp4", clips.told_apart(clip, 1) * 50, faults=[slow(500, 0.1)] * 9)
        job = start(client, "/sources", inputs=[{"url": quick}, {"url": endless}])
        until(lambda: client.get(f"{API}/sources", params={"state": "stored"}).json()["items"])
        began = time.monotonic()
        client.post(f"{API}/runs/{job}/cancel")
        seen = events(client, job)
    assert time.monotonic() - began < 60
    assert seen[-1][2]["state"] == "canceled"
    (video,) = {data["video"] for _, name, data in seen if name == "source" and data.get("video")}
    done = events(client, start(client, "/runs", videos=[video]))
    assert done[-1][2]["state"] == "succeeded"
    forced = events(client, start(client, "/runs", videos=[video], force=True, stages=["tags"]))
    assert forced[-1][2]["result"]["stages"]["tags"]["computed"] == 1

    (canceled,) = (item["id"] for item in client.get(f"{API}/sources").json()["items"] if item["state"] != "stored")
    again = events(client, start(client, "/sources/retry", ids=[canceled]))
    assert again[-1][2]["error"]["message"] == "1 of 1 sources could not be added.", "its server is gone"
    removed = events(client, start(client, "/forget", videos=[video]))[-1][2]
    assert (removed["state"], removed["progress"]) == ("succeeded", {"done": 1, "total": 1, "failed": 0})
    assert [one["state"] for one in removed["result"]["videos"]] == ["forgotten"]
