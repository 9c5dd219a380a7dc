"""Three hosts that work on one library: `a` is the control plane, `b` and `c` each run `vidpipe worker`.

Each has a member of the MongoDB replica set. Host `a` also has PostgreSQL, Redis, S3 (moto), the model server and the
web server that the videos come from.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from vidpipe.settings import Settings
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.cluster.host_servers import (
    BUCKET,
    KEYS,
    MEMBERS,
    MODEL,
    MONGOD,
    POSTGRES,
    PREFIX,
    REDIS,
    S3,
    make_replica_set,
    s3_client,
    start_mongod,
    start_others,
    start_postgres,
    wait_until,
)
from vidpipe_tests.cluster.hosts import NETWORK, Host, switch
from vidpipe_tests.end_to_end.home import COMMAND, Home
from vidpipe_tests.models.endpoint.serving import TINY
from vidpipe_tests.pipeline.dagster_page import Page

#: The home of vidpipe on each host.
HOME = "/home/vidpipe"


def model_settings(control: str) -> dict[str, str]:
    """The settings that decide on results, and where a lone machine finds the same model and sources."""
    return {
        "VIDPIPE_QWENVL_BACKEND": "endpoint",
        "VIDPIPE_QWENVL_PUBLICENDPOINT": f"http://{control}:{MODEL}",
        "VIDPIPE_QWENVL_MODEL": str(TINY),
        "VIDPIPE_QWENVL_PROMPTS": "describe_scene, describe_video",
        "VIDPIPE_QWENVL_REQUESTBACKOFF": "0.2",
        "VIDPIPE_QWENVL_REQUESTTIMEOUT": "60",
        "VIDPIPE_QWENVL_REQUESTSINFLIGHT": "2",
        "VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE": f"{NETWORK}.0/24",
        "VIDPIPE_DOWNLOAD_MINFREEMB": "0",
        "VIDPIPE_SCENEDETECTION_MINSCENELENGTH": "0.2",
        "VIDPIPE_CONCURRENCY_MAXWORKERS": "2",
    }


class Observer(Home):
    """A home of this machine that only looks at the library of the hosts."""

    @property
    def settings(self) -> Settings:
        return Settings(home=self.seen_at, mongodb=MongoDB(uri=SecretStr(self.env["VIDPIPE_MONGODB_URI"])))


class Machines:
    """The three hosts. events: what happened when, in seconds since the start."""

    def __init__(self, folder: Path, **settings: str) -> None:
        control = f"{NETWORK}.1"
        addresses = [f"{NETWORK}.{number}" for number in (1, 2, 3)]
        members = ",".join(f"{address}:{MONGOD}" for address in addresses)
        self.uri = f"mongodb://{members}/?replicaSet={MEMBERS}"
        self.postgres = f"postgresql://postgres@{control}:{POSTGRES}/dagster"
        self.s3_url = f"http://{control}:{S3}"
        self.settings = {
            **model_settings(control), **KEYS,
            "AWS_ENDPOINT_URL_S3": self.s3_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "VIDPIPE_MONGODB_URI": self.uri,
            "VIDPIPE_CLUSTER_POSTGRES": self.postgres,
            "VIDPIPE_CLUSTER_BROKER": f"redis://{control}:{REDIS}/0",
            "VIDPIPE_CLUSTER_LAUNCHER": "celery",
            "VIDPIPE_CLUSTER_POOLS": "model=2",
            "VIDPIPE_STORAGE_MEDIA": f"s3://{BUCKET}/{PREFIX}",
            "VIDPIPE_HOME": HOME,
            **settings,
        }  # fmt: skip
        self.hosts = [Host(name, number, folder, dict(self.settings)) for number, name in enumerate("abc", 1)]
        self.a, self.b, self.c = self.hosts
        self.folder = folder
        self.observer = Observer(folder / "observer", self.settings)
        self.events: list[tuple[float, str]] = []
        self._began = time.monotonic()
        self._mongods: dict[str, psutil.Popen] = {}

    def start(self) -> None:
        """Everything but `vidpipe`."""
        for host in self.hosts:
            host.boot()
            self.start_mongod(host)
        assert start_postgres(self.a) == self.postgres
        make_replica_set(self.hosts)
        start_others(self.a)
        self.wait("a primary is elected", self.primary)
        assert self.observer("init", self.observer.path).code == 0
        self.note("servers are up")

    def close(self) -> None:
        for host in self.hosts:
            host.kill()

    def start_mongod(self, host: Host) -> None:
        self._mongods[host.name] = start_mongod(host)

    def up(self) -> None:
        """`vidpipe up` on host a."""
        self.a.environment = {**self.a.environment, "VIDPIPE_SERVICES_HOST": self.a.address}
        self.a.run(COMMAND, "init", HOME)
        self.a.run(COMMAND, "up", limit_s=400)
        self.note("vidpipe is up")

    def start_worker(self, host: Host, **environment: str) -> psutil.Popen:
        """`vidpipe worker` on a host that has just booted."""
        if not (host.home / "vidpipe").exists():
            host.run(COMMAND, "init", HOME)
        return host.start("worker", COMMAND, "worker", "--queues", "cpu,gpu", **environment)

    def note(self, what: str) -> None:
        self.events.append((time.monotonic() - self._began, what))
        print(f"[{self.events[-1][0]:6.1f} s] {what}", flush=True)

    def wait(self, what: str, condition: Callable[[], Any], limit_s: float = 90.0) -> float:
        """Waits; gives the seconds it took."""
        try:
            return wait_until(what, condition, limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.summary()}") from None

    @staticmethod
    def pause(seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def objects(self) -> set[str]:
        """Keys in the bucket."""
        pages = s3_client(self.a).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return {item["Key"].removeprefix(f"{PREFIX}/") for page in pages for item in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        """Keys of unfinished uploads."""
        return [one["Key"] for one in s3_client(self.a).list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]

    def primary(self) -> Host | None:
        """The host whose mongod takes writes, as seen by the majority."""
        seen: list[Host] = []
        for host in self.hosts:
            with (
                contextlib.suppress(PyMongoError),
                MongoClient[dict[str, Any]](
                    host.address, directConnection=True, serverSelectionTimeoutMS=1000
                ) as client,
            ):
                if client.admin.command("hello")["isWritablePrimary"]:
                    seen.append(host)
        return seen[0] if seen else None

    def kill_mongod(self, host: Host) -> None:
        for process in host.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "mongod":
                    process.kill()
        self._mongods.pop(host.name).wait(30)

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of Dagster's database."""
        with psycopg.connect(self.postgres) as database:
            return database.execute(query, values).fetchall()

    def runs(self) -> list[tuple[str, str, str, str]]:
        """Dagster's runs, oldest first: (id, job, status, host that executes it)."""
        rows = self.sql(
            "SELECT runs.run_id, pipeline_name, status, split_part(coalesce(value, ''), '/', 1) FROM runs LEFT JOIN "
            "run_tags ON run_tags.run_id = runs.run_id AND key = 'vidpipe/process' ORDER BY runs.id"
        )
        return [(str(run), str(job), str(status), str(host)) for run, job, status, host in rows]

    def unfinished(self) -> list[tuple[str, str, str, str]]:
        return [run for run in self.runs() if run[2] not in ("SUCCESS", "FAILURE", "CANCELED")]

    def taken_slots(self) -> int:
        """Slots of Dagster's pools that a step holds."""
        return int(self.sql("SELECT count(*) FROM concurrency_slots WHERE run_id IS NOT NULL AND NOT deleted")[0][0])

    def at_work(self, host: Host) -> list[tuple[str, str]]:
        """(video, stage) that processes of a host have begun, by their journals."""
        begun = []
        for path in (host.home / "vidpipe/data/run").glob("*.journal"):
            with contextlib.suppress(FileNotFoundError):
                lines = path.read_text(errors="replace").splitlines()
                begun += [(line.split()[1], line.split()[2]) for line in lines if line.startswith("+ ")]
        return begun

    def current(self) -> dict[str, int]:
        """stage -> number of videos that are current."""
        return {stage: states.get("current", 0) for stage, states in self.observer.states().items()}

    def backfill_status(self, backfill: str) -> str:
        return str(self.sql("SELECT status FROM bulk_actions WHERE key = %s", backfill)[0][0])

    def discarded(self, run: str) -> int:
        """How many results of a run were refused because another one had the video meanwhile."""
        with self.observer.database() as database:
            row = database.collection("runs").find_one({"_id": run}) or {}
        return int(sum(figures.get("discarded", 0) for figures in row.get("stages", {}).values()))

    def present(self, host: Host) -> bool:
        """Whether the worker of a host has said a moment ago that it takes runs."""
        with self.observer.database() as database:
            now = database.client.admin.command("hello")["localTime"]
            rows = list(database.collection("workers").find({"_id": {"$regex": f"^{host.name}/"}}))
        return any((now - row["seen_at"].replace(tzinfo=now.tzinfo)).total_seconds() < 10 for row in rows)

    @staticmethod
    def clock(host: Host, **environment: str) -> float:
        """The time that programs on a host see, in seconds."""
        words = [f"{name}={value}" for name, value in environment.items()]
        return float(host.run("env", *words, sys.executable, "-c", "import time; print(time.time())"))

    def wait_until_done(self, videos: int, limit_s: float) -> None:
        """All stages of so many videos, and the end of all runs."""
        self.wait(f"{videos} videos are current", lambda: set(self.current().values()) == {videos}, limit_s)
        self.note(f"{videos} videos are current in every stage")
        self.wait("all runs have ended", lambda: not self.unfinished(), 120)
        self.note("all runs have ended")

    def summary(self) -> str:
        """What is going on, for a failed test."""
        lines = [f"{when:6.1f} s  {what}" for when, what in self.events]
        with contextlib.suppress(Exception):
            lines += [" ".join(run) for run in self.runs()[-15:]]
        with contextlib.suppress(Exception):
            lines.append(str(self.observer.states()))
        return "\n".join(lines)

    @property
    def list_file(self) -> Path:
        """The watched list."""
        return self.a.home / "vidpipe/data/urls.txt"

    @property
    def page(self) -> Page:
        """Dagster's page."""
        return Page(f"http://{self.a.address}:3000", "vidpipe", self.a.home / "vidpipe/data/logs")


@contextlib.contextmanager
def machines(folder: Path, **settings: str) -> Iterator[Machines]:
    """Three hosts with their servers; dead afterwards."""
    folder.chmod(0o755)
    with switch():
        made = Machines(folder, **settings)
        try:
            made.start()
            yield made
        finally:
            made.close()
