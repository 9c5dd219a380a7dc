"""What the connected server is."""

import contextlib
import statistics
import time
from dataclasses import dataclass

from pymongo.errors import OperationFailure

from vidpipe.library.connection import Connection, is_cosmos_host
from vidpipe.library.schema import Document


@dataclass(frozen=True)
class Capabilities:
    """What a server says about itself.

    Attributes:
        product: MongoDB, Atlas, Cosmos DB, Amazon DocumentDB or FerretDB.
        version: The server's version.
        host: The server's hosts and ports.
        replica_set: The replica set's name; None for a standalone server.
        members: Members of the replica set, as far as the server lists them.
        sharded: Whether it is a sharded cluster.
        writable: Whether it accepts writes.
        tls: Whether the connection is encrypted.
        latency_ms: Median round-trip time of a few pings.
    """

    product: str
    version: str
    host: str
    replica_set: str | None
    members: int
    sharded: bool
    writable: bool
    tls: bool
    latency_ms: float


def capabilities(connection: Connection) -> Capabilities:
    """Ask the server what it is.

    Raises:
        UnavailableError: The server does not respond.
    """
    with connection.errors_explained():
        admin = connection.client.admin
        hello = admin.command("hello")
        build: Document = {}
        with contextlib.suppress(OperationFailure):
            build = admin.command("buildInfo")
        latency_ms = _latency_ms(connection)
    product = _product(connection.host, build)
    writable = bool(hello.get("isWritablePrimary", hello.get("ismaster", False)))
    return Capabilities(
        product=product,
        version=str(build.get("version", "unknown")),
        host=connection.host,
        replica_set=hello.get("setName"),
        members=sum(len(hello.get(role, ())) for role in ("hosts", "passives", "arbiters")),
        sharded=hello.get("msg") == "isdbgrid",
        writable=writable,
        tls=connection.tls,
        latency_ms=latency_ms,
    )


def _latency_ms(connection: Connection) -> float:
    taken_ms = []
    for _ in range(5):
        began = time.perf_counter()
        connection.client.admin.command("ping")
        taken_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken_ms)


def _product(host: str, build: Document) -> str:
    if is_cosmos_host(host) or "cosmos" in str(build).lower():
        return "Cosmos DB"
    if ".docdb.amazonaws.com" in host or ".docdb-elastic.amazonaws.com" in host:
        return "Amazon DocumentDB"
    if "ferretdb" in build or "ferretdb" in str(build.get("version", "")).lower():
        return "FerretDB"
    return "Atlas" if ".mongodb.net" in host else "MongoDB"
