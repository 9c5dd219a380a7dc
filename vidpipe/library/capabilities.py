"""What the connected server can do; where it lacks something, that is probed and said."""

from __future__ import annotations

import contextlib
import statistics
import time
import uuid
from dataclasses import dataclass

from pymongo import TEXT
from pymongo.errors import OperationFailure

from vidpipe.library.connection import Connection, Document, is_cosmos_host


@dataclass(frozen=True)
class Capabilities:
    """What a server can do, as probed.

    product:      MongoDB, Atlas, Cosmos DB, Amazon DocumentDB or FerretDB
    replica_set:  its name; None for a stand-alone server
    members:      of the replica set, as far as the server names them
    tls:          whether the connection is encrypted
    latency_ms:   of a question and its answer, the median of a few
    transactions: a replica set or a sharded cluster; the library needs none
    change_streams: likewise
    text_index:   a text index could be created; False: search reads every document; None: not allowed to try
    lacks:        one sentence for each thing missing that the user will notice
    """

    product: str
    version: str
    host: str
    replica_set: str | None
    sharded: bool
    writable: bool
    transactions: bool
    change_streams: bool
    text_index: bool | None
    members: int = 0
    tls: bool = False
    latency_ms: float = 0.0
    lacks: tuple[str, ...] = ()


def capabilities(connection: Connection) -> Capabilities:
    """Asks the server what it is and tries what cannot be asked. Raises UnavailableError when it does not answer."""
    with connection.errors_explained():
        admin = connection.client.admin
        hello = admin.command("hello")
        try:
            build = admin.command("buildInfo")
        except OperationFailure:
            build = {}
        text_index = _text_index(connection)
        latency_ms = _latency_ms(connection)
    product = _product(connection.host, hello, build)
    replica_set = hello.get("setName")
    sharded = hello.get("msg") == "isdbgrid"
    clustered = (replica_set is not None or sharded) and product != "Cosmos DB"
    writable = bool(hello.get("isWritablePrimary", hello.get("ismaster", False)))
    lacks = []
    if not writable:
        lacks.append(f"{connection.host} takes no writes: it is not the primary of its replica set.")
    if text_index is False:
        lacks.append(f"{product} has no text index here: search by words reads every document.")
    if text_index is None:
        lacks.append("The user may not create a collection, so that text search was not tried.")
    if not clustered:
        lacks.append("No replica set: no transactions or change streams (vidpipe needs neither).")
    return Capabilities(
        product=product, version=str(build.get("version", "unknown")), host=connection.host, replica_set=replica_set,
        sharded=sharded, writable=writable, transactions=clustered, change_streams=clustered, text_index=text_index,
        members=len([*hello.get("hosts", ()), *hello.get("passives", ()), *hello.get("arbiters", ())]),
        tls=connection.tls, latency_ms=latency_ms, lacks=tuple(lacks),
    )  # fmt: skip


def _latency_ms(connection: Connection) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        connection.client.admin.command("ping")
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


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


def _product(host: str, hello: Document, build: Document) -> str:
    if is_cosmos_host(host) or "cosmos" in str(build).lower():
        return "Cosmos DB"
    if ".docdb.amazonaws.com" in host or ".docdb-elastic.amazonaws.com" in host:
        return "Amazon DocumentDB"
    if "ferretdb" in build or "ferretdb" in str(build.get("version", "")).lower():
        return "FerretDB"
    return "Atlas" if ".mongodb.net" in host else "MongoDB"
