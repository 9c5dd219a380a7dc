"""Brings a database to today's schema: migrations, indexes and entries of new stages, one process at a time.

Changes of the library's shape are serialized by a lock document in its `meta` collection.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from vidpipe.errors import UnavailableError
from vidpipe.library import collection_swap
from vidpipe.library.migrations import MIGRATIONS, Migration
from vidpipe.library.process_names import is_dead, this_process
from vidpipe.library.retry import repeating
from vidpipe.library.schema import Document, indexes, new_entry, ready_expression
from vidpipe.stages.contract import Stage
from vidpipe.stages.graph import StageGraph

log = logging.getLogger(__name__)

#: Longest wait for another process that brings the library up to date.
PATIENCE_S = 120.0
#: `_id` of the lock document.
LOCK = "lock"
#: A lock that its owner has not renewed for this long is free: its machine died.
_LOCK_S = 60.0
_POLL_S = 0.1


@dataclass(frozen=True)
class MigrationStep:
    """One migration that is pending or done.

    Attributes:
        since: Schema version before.
        to: Schema version afterwards.
        what: What it does, a sentence for the user.
        quick: Whether opening the library runs it.
        documents: How many documents it reads.
        changed: How many it changed; None: not done.
        seconds: How long it took; None: not done.
    """

    since: int
    to: int
    what: str
    quick: bool
    documents: int
    changed: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class PendingUpdate:
    """What separates a database from today's schema.

    Attributes:
        version: The database's schema version; None: it is empty.
        target: Today's schema version.
        steps: The migrations in between.
        new_stages: Today's stages that its videos have no entry for.
        changed_stages: These, and those that read something else than when they last ran.
        known: Every stage that ever ran, also one that is disabled now, and what it reads.
        half_done: Whether a restore was interrupted during its last step, which is finished first.
    """

    version: int | None
    target: int
    steps: tuple[MigrationStep, ...] = ()
    new_stages: tuple[str, ...] = ()
    changed_stages: tuple[str, ...] = ()
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    half_done: bool = False

    @property
    def nothing(self) -> bool:
        """Whether the database is up to date."""
        return self.version == self.target and not self.changed_stages and not self.half_done

    @property
    def long(self) -> bool:
        """Whether a migration waits for `vidpipe migrate`."""
        return not all(step.quick for step in self.steps)


@dataclass
class SchemaUpdate:
    """What was done to a database.

    Attributes:
        steps: The migrations that were run.
        known: Every stage that ever ran, and what it reads.
        seconds: Time taken in all, with the indexes.
    """

    steps: list[MigrationStep] = field(default_factory=list)
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seconds: float = 0.0


def pending(
    database: Database[Document],
    names: Mapping[str, str],
    graph: StageGraph,
    migrations: Mapping[int, Migration] = MIGRATIONS,
) -> PendingUpdate:
    """Return what `update_schema` would do.

    Args:
        database: The library's database.
        names: collection -> its name in the database.
        graph: Today's stages.
        migrations: schema version -> what brings a database to the next one.

    Raises:
        UnavailableError: The database was written by a newer vidpipe, or is half restored.
    """
    target = max(migrations) + 1
    meta = database[names["meta"]]
    known = {row["_id"]: row for row in meta.find({"_id": {"$in": ["schema", collection_swap.MARKER]}})}
    half_done = collection_swap.check(known.get(collection_swap.MARKER), names)
    schema = known.get("schema")
    before: dict[str, Any] = (schema or {}).get("stages") or {}
    shape = {stage.name: _shape(stage, before.get(stage.name, ())) for stage in graph}
    if schema is None:
        return PendingUpdate(None, target, changed_stages=tuple(shape), known=shape, half_done=half_done)
    version: int = schema["version"]
    if version > target:
        raise UnavailableError(
            f"The database {database.name} has schema version {version}; this vidpipe supports up to version {target}.",
            "Install the vidpipe that wrote it, or a newer one.",
        )
    steps = []
    for since in range(version, target):
        migration = migrations[since]
        documents = sum(database[names[collection]].estimated_document_count() for collection in migration.over)
        steps.append(MigrationStep(since, since + 1, migration.what, migration.quick, documents))
    new = tuple(name for name in shape if name not in before)
    changed = tuple(name for name, reads in shape.items() if reads != before.get(name))
    return PendingUpdate(version, target, tuple(steps), new, changed, before | shape, half_done)


def _shape(stage: Stage, before: Iterable[str]) -> list[str]:
    """Return what a stage reads; of an analysis all that it ever read, since others may be disabled now."""
    return sorted({*before, *stage.all_reads}) if stage.optional else list(stage.reads)


def update_schema(
    database: Database[Document],
    names: Mapping[str, str],
    graph: StageGraph,
    *,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    long: bool = False,
    on_step: Callable[[MigrationStep], None] | None = None,
) -> SchemaUpdate:
    """Bring a database to today's schema and to the shape of `graph`: migrations, indexes, entries of new stages.

    Of several concurrent processes one does it and the others wait for it.

    Args:
        database: The library's database.
        names: collection -> its name in the database.
        graph: Today's stages.
        migrations: schema version -> what brings a database to the next one.
        long: Also run migrations that are not quick.
        on_step: Called after each migration.

    Raises:
        UnavailableError: The database was written by a newer vidpipe, a migration waits for `vidpipe migrate`, or
            another process takes too long.
    """
    began = time.monotonic()
    update = pending(database, names, graph, migrations)
    if update.nothing:
        return SchemaUpdate(known=update.known)
    if update.long and not long:
        raise UnavailableError(
            f"The library has schema version {update.version}; this vidpipe needs {update.target}, and the migration "
            "reads many documents.",
            "Make a backup (`vidpipe backup DIR`), then run `vidpipe migrate`; `--dry-run` shows what it does.",
        )
    meta = database[names["meta"]]
    with holding(meta, f"is migrating the library to schema version {update.target}", patience_s=PATIENCE_S):
        update = pending(database, names, graph, migrations)  # another process may have done it meanwhile
        if update.half_done:
            collection_swap.finish(database, names)
            update = pending(database, names, graph, migrations)
        done = SchemaUpdate(known=update.known)
        if update.nothing:
            return done
        for step in update.steps:
            step_began = time.monotonic()
            changed = migrations[step.since].run(database, names)
            meta.update_one({"_id": "schema"}, {"$set": {"version": step.to}})
            log.info("library %s: schema version %d to %d", database.name, step.since, step.to)
            done.steps.append(replace(step, changed=changed, seconds=time.monotonic() - step_began))
            if on_step:
                on_step(done.steps[-1])
        make_indexes(database, names, graph)
        _fit_stage_entries(database, names, graph, update.changed_stages if not update.steps else graph.names)
        values = {"version": update.target, "stages": update.known}
        meta.update_one({"_id": "schema"}, {"$set": values}, upsert=True)
    done.seconds = time.monotonic() - began
    return done


def make_indexes(database: Database[Document], names: Mapping[str, str], graph: StageGraph) -> None:
    """Create the missing indexes; repeating it costs nothing."""
    for collection, models in indexes(graph).items():
        database[names[collection]].create_indexes(models)


def adopt_videos(videos: Collection[Document], graph: StageGraph) -> None:
    """Give videos entries for the analyses that were disabled in the process that added or changed them.

    Answered from the stages' indexes; if there are none, in a millisecond a stage.
    """
    for stage in (stage for stage in graph if stage.optional):
        entry, ready = f"stages.{stage.name}", ready_expression(graph, stage.name)
        videos.update_many({f"{entry}.status": None}, {"$set": {entry: new_entry(graph, stage.name)}})
        waits = {f"{entry}.status": {"$in": ["new", "ok", "failed", "quarantined"]}, f"{entry}.ready": False}
        done = {f"stages.{name}.status": "ok" for name in graph.upstream(stage.name)}
        videos.update_many(waits | done, [{"$set": {f"{entry}.ready": ready}}])


def _fit_stage_entries(
    database: Database[Document], names: Mapping[str, str], graph: StageGraph, changed: Sequence[str]
) -> None:
    """Give every video an entry for each of the stages `changed`, which may read something else than before."""
    videos = database[names["videos"]]
    for name in changed:
        videos.update_many({f"stages.{name}.status": None}, {"$set": {f"stages.{name}": new_entry(graph, name)}})
    if ready := {f"stages.{name}.ready": ready_expression(graph, name) for name in changed}:
        videos.update_many({}, [{"$set": ready}])


@contextlib.contextmanager
def holding(meta: Collection[Document], doing: str, *, patience_s: float) -> Iterator[None]:
    """Hold the library's lock inside the block; the lock of a dead process is taken over.

    Args:
        meta: The library's collection `meta`.
        doing: For others' error message, what the owner does: "is migrating the library to schema version 3".
        patience_s: Longest wait for the lock, in seconds.

    Raises:
        UnavailableError: Another process holds the lock for longer than `patience_s`.
    """
    owner = f"{this_process()}|{threading.get_ident()}"
    _acquire(meta, owner, doing, patience_s)

    def renew() -> None:
        meta.update_one({"_id": LOCK, "owner": owner}, [{"$set": {"until": _lock_end()}}])

    try:
        with repeating(renew, _LOCK_S / 4, "lock-renewer"):
            yield
    finally:
        meta.delete_one({"_id": LOCK, "owner": owner})


def _acquire(meta: Collection[Document], owner: str, doing: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        mine = {"doing": {"$literal": doing}, "since": "$$NOW", "until": _lock_end()}
        try:
            meta.update_one({"_id": LOCK, "owner": owner}, [{"$set": mine}], upsert=True)
            return
        except DuplicateKeyError:
            holder = meta.find_one({"_id": LOCK})
        if holder is None:
            continue
        meta.delete_one({"_id": LOCK, "owner": holder["owner"], "$expr": {"$lt": ["$until", "$$NOW"]}})
        if is_dead(holder["owner"].rpartition("|")[0]):
            meta.delete_one({"_id": LOCK, "owner": holder["owner"]})
            continue
        if time.monotonic() > deadline:
            machine, pid = holder["owner"].split("|")[:2]
            raise UnavailableError(
                f"Process {pid} on {machine.split('/')[0]} {holder['doing']} (since {holder['since']:%H:%M} UTC).",
                "Wait for it to finish, then re-run the command.",
            )
        time.sleep(_POLL_S)


def _lock_end() -> Document:
    return {"$add": ["$$NOW", int(_LOCK_S * 1000)]}
