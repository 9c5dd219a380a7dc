"""Each server that the machines share is away for a minute in the middle of the work: nothing is lost, and it goes on.

A control plane and a worker, each with a home of its own; nobody restarts anything but the server that was away.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from vidpipe_tests import clips
from vidpipe_tests.cluster.servers import Postgres, Redis, ReplicaSet, end, shared_servers
from vidpipe_tests.end_to_end.home import COMMAND, Home
from vidpipe_tests.fault_server import FaultServer

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

OUTAGE_S = 60.0
CLIPS = 40
ENVIRONMENT = {
    "VIDPIPE_CLUSTER_LAUNCHER": "celery",
    "VIDPIPE_STORAGE_MEDIA": "gridfs",
    "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": "127.0.0.1",
    "VIDPIPE_DOWNLOAD_MINFREEMB": "0",
    "VIDPIPE_SENSORS_INTERVAL": "2",
    **{f"VIDPIPE_SENSORS_{step}BATCH": "8" for step in ("INGEST", "PREPARE", "LABEL")},
}


@dataclass
class Cluster:
    """The machines and what they share. urls: of the clips."""

    redis: Redis
    postgres: Postgres
    mongo: ReplicaSet
    control: Home
    urls: list[str]

    @property
    def videos(self) -> Any:
        return MongoClient[dict[str, Any]](self.mongo.url, serverSelectionTimeoutMS=2000)["vidpipe"]["videos"]

    def finished(self) -> int:
        """How many videos have their last result."""
        try:
            return int(self.videos.count_documents({"stages.categories.status": "ok"}))
        except PyMongoError:
            return -1

    def wait_for(self, finished: int, limit_s: float) -> float:
        """Wait for so many finished videos. Returns the seconds it took."""
        began = time.monotonic()
        while (now := self.finished()) < finished:
            assert time.monotonic() < began + limit_s, f"{now} of {finished}\n{self.control('status').stdout}"
            time.sleep(1)
        return time.monotonic() - began


@contextmanager
def worker(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    with (home.path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [COMMAND, "worker"], env={**os.environ, **home.env, "VIDPIPE_HOME": str(home.path)}, stdout=log, stderr=log
        )
    try:
        yield process
        assert process.poll() is None, "the worker has ended"
    finally:
        end(process, 60)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)  # PostgreSQL's user is not root
    original = clips.color_cuts(tmp_path / "clip.mp4", ("red", "blue"), seconds_each=0.5, size="96x64").read_bytes()
    with ExitStack() as stack:
        redis, postgres, mongo = stack.enter_context(shared_servers(tmp_path))
        server = stack.enter_context(FaultServer())
        urls = [server.add(f"/{number}.mp4", clips.told_apart(original, number)) for number in range(CLIPS)]
        environment = {
            **ENVIRONMENT, "VIDPIPE_MONGODB_URI": mongo.url, "VIDPIPE_CLUSTER_POSTGRES": postgres.url,
            "VIDPIPE_CLUSTER_BROKER": redis.url,
        }  # fmt: skip
        control, machine = (Home(tmp_path / name, environment) for name in ("control", "worker"))
        for home in (control, machine):
            assert home("init", home.path).code == 0
        done = control("up")
        assert done.code == 0, done.stdout + done.stderr
        stack.callback(lambda: control("down", "--force"))
        stack.enter_context(worker(machine))
        with (control.data / "urls.txt").open("a") as watched:
            watched.writelines(f"{url}\n" for url in urls)
        yield Cluster(redis, postgres, mongo, control, urls)


@pytest.mark.parametrize("name", ["mongo", "redis", "postgres"])
def test_work_resumes_by_itself_after_an_outage_of_a_minute(cluster: Cluster, name: str) -> None:
    server = getattr(cluster, name)
    cluster.wait_for(2, limit_s=600)
    server.kill()
    time.sleep(OUTAGE_S)
    server.start()
    after = cluster.finished()
    assert after >= 2, "what was finished stays"
    if after < CLIPS:
        seconds = cluster.wait_for(after + 1, limit_s=300)  # a minute, on a machine that is not busy
        print(f"{name}: the next video was finished {seconds:.0f} s after the outage")
    cluster.wait_for(CLIPS, limit_s=600)
    assert_complete(cluster)


def assert_complete(cluster: Cluster) -> None:
    """Everything is there once, and nothing else."""
    database = cluster.videos.database
    deadline = time.monotonic() + 60
    while cluster.videos.count_documents({"lease": {"$exists": True}}) and time.monotonic() < deadline:
        time.sleep(1)
    videos = list(cluster.videos.find())
    assert len(videos) == CLIPS
    for video in videos:
        assert "lease" not in video
        assert "late_commit" not in video
        assert {entry["status"] for name, entry in video["stages"].items() if entry["ready"]} <= {"ok"}
    generations = {video["scene_generation"] for video in videos}
    assert set(database["videos_scenes"].distinct("generation")) <= generations
    twice = [
        {"$match": {"kind": "commit"}},
        {"$group": {"_id": {"video": "$video", "stage": "$stage"}, "times": {"$sum": 1}}},
        {"$match": {"times": {"$gt": 1}}},
    ]
    assert not list(database["videos_lineage"].aggregate(twice)), "no stage was committed twice"
