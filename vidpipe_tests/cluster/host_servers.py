"""The servers that the hosts share: MongoDB on each of them; PostgreSQL, Redis, S3, the model and the clips on one."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
import psutil
import psycopg
from botocore.config import Config
from pymongo import MongoClient

from vidpipe.library.mongod import find_mongod
from vidpipe_tests.cluster.hosts import NETWORK, Host, why_impossible
from vidpipe_tests.models.endpoint.serving import TINY

MEMBERS = "members"
BUCKET, PREFIX = "films", "library"
POSTGRES, REDIS, S3, CLIPS, MODEL, MONGOD = 5432, 6379, 5000, 8080, 8800, 27017
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAVIDPIPETEST00000",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_POSTGRES = Path("/usr/lib/postgresql/15/bin")


def why_skipped() -> str:
    """What this machine lacks for the tests of several hosts; "" if nothing."""
    if reason := why_impossible():
        return reason
    if not shutil.which("redis-server"):
        return "needs redis-server"
    return "" if _POSTGRES.is_dir() else "needs PostgreSQL 15"


def wait_until(what: str, condition: Callable[[], Any], limit_s: float = 90.0) -> float:
    """Waits; gives the seconds it took."""
    began = time.monotonic()
    while not condition():
        took_s = time.monotonic() - began
        assert took_s < limit_s, f"timed out after {limit_s:.0f} s: {what}"
        time.sleep(0.5)
    return time.monotonic() - began


def wait_for_port(address: str, port: int, limit_s: float = 60.0) -> None:
    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return True
        return False

    wait_until(f"{address}:{port} answers", answers, limit_s)


def start_mongod(host: Host) -> psutil.Popen:
    """A member of the replica set."""
    (host.home / "mongo").mkdir(exist_ok=True)
    process = host.start(
        "mongod", find_mongod(), "--dbpath", "/home/mongo", "--bind_ip", f"127.0.0.1,{host.address}", "--port",
        str(MONGOD), "--nounixsocket", "--replSet", MEMBERS, "--oplogSize", "64", "--wiredTigerCacheSizeGB", "0.25",
        "--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet",
    )  # fmt: skip
    wait_for_port(host.address, MONGOD)
    return process


def make_replica_set(hosts: Sequence[Host]) -> None:
    """Of the members that run on the hosts."""
    members = [{"_id": number, "host": f"{host.address}:{MONGOD}"} for number, host in enumerate(hosts)]
    config = {"_id": MEMBERS, "members": members, "settings": {"electionTimeoutMillis": 3000}}
    with MongoClient[dict[str, Any]](hosts[0].address, directConnection=True) as client:
        client.admin.command("replSetInitiate", config)


def start_postgres(host: Host) -> str:
    """PostgreSQL with the database `dagster`; gives its address."""
    data = "/home/postgres/data"
    (host.home / "postgres").mkdir()
    host.run("chown", "postgres", "/home/postgres")
    as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    host.run(*as_user, _POSTGRES / "initdb", "-D", data, "-A", "trust", "--no-sync")
    with (host.home / "postgres/data/pg_hba.conf").open("a") as rules:
        rules.write(f"host all all {NETWORK}.0/24 trust\n")
    host.start(
        "postgres", _POSTGRES / "postgres", "-D", data, "-k", "", "-h", f"127.0.0.1,{host.address}", "-F",
        as_user=as_user,
    )  # fmt: skip
    wait_for_port(host.address, POSTGRES)
    server = f"postgresql://postgres@{host.address}:{POSTGRES}"

    def takes_commands() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"{server}/postgres").close()
            return True
        return False

    wait_until("PostgreSQL takes commands", takes_commands)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as database:
        database.execute("CREATE DATABASE dagster")
    return f"{server}/dagster"


def start_others(host: Host) -> None:
    """Redis, S3 with its bucket, a web server for /home/clips, and the model server."""
    for name in ("clips", "hub"):
        (host.home / name).mkdir()
    python, address = (sys.executable, "-m"), host.address
    host.start("redis", "redis-server", "--bind", address, "--protected-mode", "no", "--save", "", "--dir", "/home")
    host.start("s3", *python, "moto.server", "-H", address, "-p", str(S3))
    host.start("clips", *python, "http.server", str(CLIPS), "--bind", address, "-d", "/home/clips")
    host.start(
        "model", *python, "transformers.cli.transformers", "serve", TINY, "--device", "cpu", "--host", address,
        "--port", str(MODEL), HF_HUB_OFFLINE="1", HF_HUB_CACHE="/home/hub",
    )  # fmt: skip
    for port in (REDIS, S3, CLIPS):
        wait_for_port(address, port)
    s3_client(host).create_bucket(Bucket=BUCKET)
    wait_for_port(address, MODEL, limit_s=240)


def s3_client(host: Host) -> Any:
    return boto3.client(
        "s3", endpoint_url=f"http://{host.address}:{S3}", region_name=KEYS["AWS_DEFAULT_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"], aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
