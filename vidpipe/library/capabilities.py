"""What the connected server supports, probed where the server cannot be asked."""

import contextlib
import statistics
import time
import uuid
from dataclasses import dataclass

from pymongo import TEXT
from pymongo.errors import OperationFailure

from vidpipe.library.connection import Connection, is_cosmos_host
from vidpipe.library.schema import Document


@dataclass(frozen=True)
class Capabilities:
    """What a server supports, as probed.

    Attributes:
        product: MongoDB, Atlas, Cosmos DB, Amazon DocumentDB or FerretDB.
        version: The server's version.
        host: The server's hosts and ports.
        replica_set: The replica set's name; None for a standalone server.
        members: Members of the replica set, as far as the server lists them.
        sharded: Whether it is a sharded cluster.
        writable: Whether it accepts writes.
        text_index: Whether a text index could be created; without one, search reads every document. None: not
            permitted to try.
        tls: Whether the connection is encrypted.
        latency_ms: Median round-trip time of a few pings.
        limitations: What is missing that the user will notice, each in one sentence.
    """

    product: str
    version: str
    host: str
    replica_set: str | None
    members: int
    sharded: bool
    writable: bool
    text_index: bool | None
    tls: bool
    latency_ms: float
    limitations: tuple[str, ...]


def capabilities(connection: Connection) -> Capabilities:
    """Ask the server what it is, and try what it cannot be asked.

    Raises:
        UnavailableError: The server does not respond.
    """
    with connection.errors_explained():
        admin = connection.client.admin
        hello = admin.command("hello")
        build: Document = {}
        with contextlib.suppress(OperationFailure):
            build = admin.command("buildInfo")
        text_index = _text_index(connection)
        latency_ms = _latency_ms(connection)
    product = _product(connection.host, build)
    writable = bool(hello.get("isWritablePrimary", hello.get("ismaster", False)))
    limitations = []
    if not writable:
        limitations.append(f"{connection.host} accepts no writes: it is not the primary of its replica set.")
    if text_index is False:
        limitations.append(f"{product} supports no text index here: searching for words reads every document.")
    if text_index is None:
        limitations.append("The user may not create collections, so text search was not probed.")
    return Capabilities(
        product=product,
        version=str(build.get("version", "unknown")),
        host=connection.host,
        replica_set=hello.get("setName"),
        members=sum(len(hello.get(role, ())) for role in ("hosts", "passives", "arbiters")),
        sharded=hello.get("msg") == "isdbgrid",
        writable=writable,
        text_index=text_index,
        tls=connection.tls,
        latency_ms=latency_ms,
        limitations=tuple(limitations),
    )


def _latency_ms(connection: Connection) -> float:
    taken_ms = []
    for _ in range(5):
        began = time.perf_counter()
        connection.client.admin.command("ping")
        taken_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken_ms)


def _text_index(connection: Connection) -> bool | None:
    probe = connection.collection(f"probe_{uuid.uuid4().hex[:8]}")
    try:
        probe.create_index([("text", TEXT)], language_override="text_index_language")
        return True
    except OperationFailure as error:
        return None if error.code == 13 else False
    finally:
        with contextlib.suppress(OperationFailure):
            probe.drop()


def _product(host: str, build: Document) -> str:
    if is_cosmos_host(host) or "cosmos" in str(build).lower():
        return "Cosmos DB"
    if ".docdb.amazonaws.com" in host or ".docdb-elastic.amazonaws.com" in host:
        return "Amazon DocumentDB"
    if "ferretdb" in build or "ferretdb" in str(build.get("version", "")).lower():
        return "FerretDB"
    return "Atlas" if ".mongodb.net" in host else "MongoDB"
