"""How much the library holds, how far it is, and what was ever done: figures that cost little however large it is.

Everything is read from indexes and from documents whose number does not grow with the library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from pymongo.errors import OperationFailure

from vidpipe.errors import UnavailableError
from vidpipe.library import embedded
from vidpipe.library.connection import Connection, connect
from vidpipe.library.queries.states import State, States, due_branches
from vidpipe.library.runs import Runs
from vidpipe.library.schema import SIZES, SIZES_INDEX, Document
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

#: Longest wait for a server to answer at all.
ANSWER_LIMIT_S = 2.0
_BAD_HINT = 2  # the index is not there (a library of an older version)


@dataclass(frozen=True)
class LibraryFigures:
    """
    stages:      stage -> state -> videos; a stage that cannot run (its rules do not parse) is not in it
    unavailable: the stages that cannot run
    due:         step -> videos with something due in it
    totals:      of all runs there ever were; see `vidpipe.library.runs.Runs.totals`
    """

    videos: int
    stages: Mapping[str, Mapping[State, int]]
    unavailable: tuple[str, ...]
    sources: Mapping[str, int]
    due: Mapping[str, int]
    media_bytes: int
    footage_s: float
    frame_pack_bytes: int
    leased: int
    totals: Document = field(default_factory=dict)


@contextmanager
def connected(settings: Settings) -> Iterator[Connection]:
    """A connection to the library's server, which is not started where it does not run.

    Raises UnavailableError, at once for an embedded server that does not run.
    """
    mongodb = settings.mongodb
    values: dict[str, Any] = {"timeout_s": min(mongodb.timeout_s, ANSWER_LIMIT_S)}
    if embedded.is_embedded(settings):
        server = embedded.find(settings)
        if server is None:
            raise UnavailableError("The embedded MongoDB server does not run.", "`vidpipe up` starts it.")
        values["uri"] = SecretStr(server.uri)
    with connect(settings.model_copy(update={"mongodb": mongodb.model_copy(update=values)})) as connection:
        yield connection


def read_library(connection: Connection, plan: Plan) -> LibraryFigures:
    """The figures under today's settings. Raises PyMongoError where the server goes away."""
    videos = connection.collection("videos")
    states = States(videos)
    sums = _sums(connection)
    return LibraryFigures(
        videos=videos.count_documents({}, hint="_id_"),  # the server's estimate is wrong after a kill
        stages=states.counts(plan.specs),
        unavailable=tuple(sorted(plan.unavailable)),
        sources=_by_state(connection),
        due=due_by_step(connection, plan.graph, plan.specs),
        media_bytes=int(sums.get("media_bytes", 0)),
        footage_s=float(sums.get("footage_s", 0.0)),
        frame_pack_bytes=int(sums.get("frame_pack_bytes", 0)),
        leased=videos.count_documents({"lease.owner": {"$exists": True}}, hint="lease_owner"),
        totals=Runs(connection.collection("runs")).totals(),
    )


def due_by_step(connection: Connection, graph: StageGraph, specs: Mapping[str, str]) -> dict[str, int]:
    """step -> number of videos with something due in one of its stages."""
    videos = connection.collection("videos")
    due: dict[str, int] = {stage.job: 0 for stage in graph}
    for step in due:
        branches = [
            branch
            for stage in graph
            if stage.job == step and stage.name in specs
            for branch in due_branches(stage.name, specs[stage.name])
        ]
        if branches:
            due[step] = videos.count_documents({"$or": branches})
    return due


def _by_state(connection: Connection) -> dict[str, int]:
    groups: list[Document] = [{"$group": {"_id": "$state", "sources": {"$sum": 1}}}]
    return {row["_id"]: row["sources"] for row in connection.collection("sources").aggregate(groups)}


def _sums(connection: Connection) -> Document:
    names = ("media_bytes", "footage_s", "frame_pack_bytes")
    sums = {name: {"$sum": f"${field}"} for name, field in zip(names, SIZES, strict=True)}
    # The condition lets the server read the index alone.
    groups: list[Document] = [{"$match": {SIZES[0]: {"$gte": 0}}}, {"$group": {"_id": None, **sums}}]
    videos = connection.collection("videos")
    try:
        found = list(videos.aggregate(groups, hint=SIZES_INDEX))
    except OperationFailure as fault:
        if fault.code != _BAD_HINT:
            raise
        found = list(videos.aggregate(groups))
    return found[0] if found else {}
