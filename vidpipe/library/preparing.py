"""Bringing a database to today's schema: what is missing, and doing it, by one process at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

from vidpipe.errors import UnavailableError
from vidpipe.library import replacing
from vidpipe.library.meta_lock import holding
from vidpipe.library.migrations import MIGRATIONS, Migration
from vidpipe.library.schema import SCHEMA_VERSION, Document, indexes, new_entry, ready_expression
from vidpipe.stages.graph import StageGraph

log = logging.getLogger(__name__)

#: How long to wait for another process that brings the library up to date.
PATIENCE_S = 120.0


@dataclass(frozen=True)
class Step:
    """One migration that is to be done or was done.

    documents: how many it goes over
    changed:   how many it changed; None: not done
    """

    since: int
    to: int
    what: str
    quick: bool
    documents: int
    changed: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Pending:
    """What lies between a database and today's schema.

    version:     of the database; None: it is empty
    new_stages:  stages of today that its videos have no entry for
    same_shape:  stages and what they read are as when it was last opened
    half_done:   a restore ended in the middle of its last step, and is finished first
    """

    version: int | None
    target: int
    steps: tuple[Step, ...] = ()
    new_stages: tuple[str, ...] = ()
    same_shape: bool = True
    half_done: bool = False

    @property
    def nothing(self) -> bool:
        return self.version == self.target and self.same_shape and not self.half_done

    @property
    def long(self) -> bool:
        return not all(step.quick for step in self.steps)


@dataclass
class Prepared:
    """What was done. seconds: in all, with the indexes."""

    before: int | None
    steps: list[Step] = field(default_factory=list)
    new_stages: tuple[str, ...] = ()
    seconds: float = 0.0


def pending(database: Database[Document], names: Mapping[str, str], graph: StageGraph) -> Pending:
    """What `prepare` would do. Raises UnavailableError when the database was written by a newer vidpipe."""
    meta = database[names["meta"]]
    known = {row["_id"]: row for row in meta.find({"_id": {"$in": ["schema", replacing.MARKER]}})}
    half_done = replacing.check(known.get(replacing.MARKER), names)
    schema = known.get("schema")
    if schema is None:
        return Pending(None, SCHEMA_VERSION, same_shape=False, half_done=half_done)
    version: int = schema["version"]
    if version > SCHEMA_VERSION:
        raise UnavailableError(
            f"The database {database.name} has schema version {version}; this vidpipe knows versions up to "
            f"{SCHEMA_VERSION}.",
            "Install the vidpipe that wrote it, or a newer one.",
        )
    shape = _shape(graph)
    was: Mapping[str, Any] = schema.get("stages") or {}
    return Pending(
        version,
        SCHEMA_VERSION,
        steps=tuple(_step(database, names, since, MIGRATIONS[since]) for since in range(version, SCHEMA_VERSION)),
        new_stages=tuple(name for name in shape if name not in was),
        same_shape=was == shape,
        half_done=half_done,
    )


def _step(database: Database[Document], names: Mapping[str, str], since: int, migration: Migration) -> Step:
    documents = sum(database[names[collection]].estimated_document_count() for collection in migration.over)
    return Step(since, since + 1, migration.what, migration.quick, documents)


def prepare(
    database: Database[Document],
    names: Mapping[str, str],
    graph: StageGraph,
    *,
    long: bool = False,
    tell: Callable[[Step], None] | None = None,
) -> Prepared:
    """Brings a database to `SCHEMA_VERSION` and to the shape of `graph`: migrations, indexes, entries of new stages.

    Of several processes that ask at once, one does it and the others wait for it.
    names: collection -> its name in the database
    long:  also migrations that are not quick
    tell:  told each migration that is done
    Raises UnavailableError when the database was written by a newer vidpipe, when a migration waits for
    `vidpipe migrate`, or when another process is at it for too long.
    """
    began = time.monotonic()
    wanted = pending(database, names, graph)
    if wanted.nothing:
        return Prepared(wanted.version)
    if wanted.long and not long:
        raise UnavailableError(
            f"The library has schema version {wanted.version}; this vidpipe needs {SCHEMA_VERSION}, and bringing it "
            "there goes over many documents.",
            "Make a back-up (`vidpipe backup DIR`), then give `vidpipe migrate`; `--dry-run` says what it does.",
        )
    meta = database[names["meta"]]
    doing = f"brings the library to schema version {SCHEMA_VERSION}"
    with holding(meta, doing, patience_s=PATIENCE_S):
        wanted = pending(database, names, graph)  # another process may have done it meanwhile
        if wanted.half_done:
            replacing.finish(database, names)
            wanted = pending(database, names, graph)
        done = Prepared(wanted.version, new_stages=wanted.new_stages if wanted.version else ())
        if wanted.nothing:
            return done
        for step in wanted.steps:
            done.steps.append(_migrate(database, names, step))
            if tell:
                tell(done.steps[-1])
        make_indexes(database, names, graph)
        _fit_stage_entries(database, names, graph)
        shape = _shape(graph)
        meta.update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION, "stages": shape}}, upsert=True)
    done.seconds = time.monotonic() - began
    return done


def make_indexes(database: Database[Document], names: Mapping[str, str], graph: StageGraph) -> None:
    """Those that are missing; repeating it costs nothing."""
    for collection, models in indexes(graph).items():
        database[names[collection]].create_indexes(models)


def _migrate(database: Database[Document], names: Mapping[str, str], step: Step) -> Step:
    began = time.monotonic()
    changed = MIGRATIONS[step.since].run(database, names)
    database[names["meta"]].update_one({"_id": "schema"}, {"$set": {"version": step.to}})
    log.info("library %s: schema version %d to %d", database.name, step.since, step.to)
    return Step(step.since, step.to, step.what, step.quick, step.documents, changed, time.monotonic() - began)


def _shape(graph: StageGraph) -> dict[str, list[str]]:
    return {stage.name: list(stage.reads) for stage in graph}


def _fit_stage_entries(database: Database[Document], names: Mapping[str, str], graph: StageGraph) -> None:
    """Gives every video an entry for each stage, in case stages or what they read changed since it came in."""
    videos = database[names["videos"]]
    for stage in graph:
        videos.update_many(
            {f"stages.{stage.name}": {"$exists": False}},
            {"$set": {f"stages.{stage.name}": new_entry(graph, stage.name)}},
        )
        videos.update_many({}, [{"$set": {f"stages.{stage.name}.ready": ready_expression(graph, stage.name)}}])
