"""Storing results in two steps, of which the second is the commit point.

First come scenes and lineage, whose ids make repeating safe; then one conditional update of the video's document that
names them. Its condition is the token of the lease and the data versions that were read, so that neither an older run
nor one that has lost its lease can overwrite a newer result. It also marks every stage that reads a changed field as
stale, and records which stages may now run.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.errors import BSONError
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import OperationFailure

from vidpipe.library import server_clock
from vidpipe.library.changes import Changes
from vidpipe.library.leases import remove_scenes
from vidpipe.library.retry import insert_once
from vidpipe.library.schema import Collections, Document, ready_expression
from vidpipe.stages.contract import StageError, StageResult, video_name
from vidpipe.stages.graph import StageGraph
from vidpipe.stages.versions import UNVERSIONED, Inputs, fingerprint

log = logging.getLogger(__name__)

#: What the client raises for a value that no document can hold: too large, a number beyond 64 bits, a lone surrogate.
_UNSTORABLE = (BSONError, OverflowError, UnicodeError)
#: What a server reports for a document that is too large: as sent, after an update, on an upsert.
_TOO_LARGE = {10334, 17419, 17420}
#: Waits before the automatic retries of transient failures.
_RETRY_WAITS = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
#: After this many transient failures in a row, under the same spec and inputs, the failure is final.
MOST_ATTEMPTS = 8
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Commit:
    """One outcome on its way into the library.

    Attributes:
        sha256: The video.
        stage: The stage.
        spec: The spec that the stage ran under.
        inputs: The data versions that were read.
        entry: `stages.<stage>` as it was read.
        run_id: The run.
        run_began: When the run began; of two runs under different settings the later one wins.
        seconds: Time spent.
        result: The result. Neither result nor error: the old result is current after all (its inputs came back).
        error: The failure.
        quarantined: Whether the video crashed the process.
        lineage: Further lineage entries, such as tag changes.
        generation: The video's scene generation that was read; None: no scenes yet.
        token: Identifies the commit.
        lease: Token of the lease under which the work was done.
    """

    sha256: str
    stage: str
    spec: str
    inputs: Inputs
    entry: Mapping[str, Any]
    run_id: str
    run_began: datetime
    seconds: float = 0.0
    result: StageResult | None = None
    error: StageError | None = None
    quarantined: bool = False
    lineage: Sequence[Mapping[str, Any]] = ()
    generation: str | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    lease: str = ""


@dataclass(frozen=True)
class PreparedCommit:
    """A commit with its consequences.

    Attributes:
        commit: The commit.
        entry: The new `stages.<stage>`.
        changed: Fields whose data version changes.
        data: field -> data version of the result.
        generation: The video's scene generation afterwards.
        scene_rows: index -> what to store in the scene's document.
    """

    commit: Commit
    entry: Document
    changed: frozenset[str]
    data: Mapping[str, str]
    generation: str | None
    scene_rows: Mapping[int, Document]

    @property
    def confirms(self) -> bool:
        """Whether a good result of the same inputs came out as before, perhaps under another spec."""
        before = self.commit.entry
        same = before.get("status") == "ok" and before.get("inputs") == self.commit.inputs and not self.changed
        return same and self.commit.error is None and not self.commit.lineage


def prepare(commit: Commit, graph: StageGraph) -> PreparedCommit:
    """Return what a commit will store, known before it is stored, so that the next stage can continue with it."""
    now = server_clock.now()
    entry = {name: value for name, value in commit.entry.items() if name not in ("next_try_at", "crashes")}
    entry.update(
        spec=commit.spec,
        inputs=commit.inputs,
        stale=False,
        # later than before, even if a new primary's clock is behind: `remove_orphans` depends on it
        at=max(now, commit.entry.get("at", _NEVER) + timedelta(milliseconds=1)),
        commit=commit.token,
        run=commit.run_id,
        run_began=commit.run_began,
        ready=True,  # it ran, so everything it reads had a usable result
    )
    old_data: Mapping[str, str] = commit.entry.get("data") or {}
    if commit.error is not None:
        attempts = _earlier_attempts(commit) + 1
        error, wait = _next_attempt(commit.error, attempts)
        entry.update(
            status="quarantined" if commit.quarantined else "failed",
            error={"message": error.message, "hint": error.hint, "transient": error.transient},
            attempts=attempts,
            seconds=commit.seconds,
        )
        if wait is not None:
            entry["next_try_at"] = now + wait
        return PreparedCommit(replace(commit, error=error), entry, frozenset(), old_data, commit.generation, {})
    for key in ("error", "attempts"):
        entry.pop(key, None)
    entry["status"] = "ok"
    if commit.result is None:
        return PreparedCommit(commit, entry, frozenset(), old_data, commit.generation, {})
    data = graph.data_versions(commit.stage, commit.result)
    changed = frozenset(name for name in {*data, *old_data} if data.get(name) != old_data.get(name))
    entry.update(data=data, result_spec=commit.spec, seconds=commit.seconds)
    generation, rows = _scene_rows(commit, commit.result, graph, data, changed)
    if type(commit.result).scene_fields:
        entry["generation"] = generation
    return PreparedCommit(commit, entry, changed, data, generation, rows)


def _earlier_attempts(commit: Commit) -> int:
    """Return the failures in a row so far.

    Another spec, other inputs, and a retry on request of a failure that had become final start a new count.
    """
    entry = commit.entry
    if entry.get("spec") != commit.spec or entry.get("inputs") != commit.inputs:
        return 0
    attempts = int(entry.get("attempts", 0))
    was_final = attempts >= MOST_ATTEMPTS and entry.get("error", {}).get("transient")
    return 0 if was_final else attempts


def _next_attempt(error: StageError, attempts: int) -> tuple[StageError, timedelta | None]:
    """Return the error to store after so many attempts, and the wait before the next one; None if it is final."""
    if not error.transient:
        return error, None
    if attempts < MOST_ATTEMPTS:
        return error, _RETRY_WAITS[min(attempts, len(_RETRY_WAITS)) - 1]
    final = f"It failed {attempts} times and is not retried automatically any more; `vidpipe run --retry` retries it."
    return StageError(error.message, f"{error.hint} {final}".strip(), transient=True), None


def _scene_rows(
    commit: Commit, result: StageResult, graph: StageGraph, data: Mapping[str, str], changed: frozenset[str]
) -> tuple[str | None, dict[int, Document]]:
    """Return the scene generation after this commit, and what it adds to each scene's document (by index)."""
    fields = sorted(type(result).scene_fields)
    # A stage that adds to scenes must add an unchanged result too if the scenes differ from those it last added to.
    in_force = graph.makes_scenes(commit.stage) or commit.entry.get("generation") == commit.generation
    if not fields or (commit.generation is not None and in_force and not changed.intersection(fields)):
        return commit.generation, {}
    rows: dict[int, Document] = {}
    for name in fields:
        for row in getattr(result, name):
            rows.setdefault(row.index, {}).update(row.model_dump(mode="python"))
    based_on = None if graph.makes_scenes(commit.stage) else commit.generation
    return fingerprint([based_on, commit.stage, {name: data[name] for name in fields}]), rows


class Committer:
    """Writes prepared commits in bulk and reports which took effect."""

    def __init__(self, collections: Collections, graph: StageGraph, changes: Changes) -> None:
        self._collections = collections
        self._changes = changes
        self._videos = collections["videos"]
        self._graph = graph

    def write(
        self, batch: Sequence[PreparedCommit], owner: str, release: Sequence[str] = ()
    ) -> list[PreparedCommit | None]:
        """Store `batch` in order. May be repeated after a lost connection: what was stored counts as stored.

        Args:
            batch: The commits.
            owner: The holder of the videos' leases.
            release: Videos whose lease is released after the batch, when nothing is left to clean up.

        Returns:
            For each commit what took effect: the commit itself, a failure instead of a result that MongoDB cannot hold,
            or None (something it had read changed meanwhile).
        """
        stored = self._write_storable(batch)
        if release:
            held = {"_id": {"$in": list(release)}, "lease.owner": owner}
            self._videos.update_many(held, {"$unset": {"lease": ""}})
        return stored

    def _write_storable(self, batch: Sequence[PreparedCommit]) -> list[PreparedCommit | None]:
        try:
            return self._write(batch)
        except (*_UNSTORABLE, OperationFailure) as fault:
            if isinstance(fault, OperationFailure) and not _is_too_large(fault):
                raise
            if len(batch) > 1:
                return [stored for item in batch for stored in self._write_storable([item])]
            (item,) = batch
            self._clean_up(batch, [False])
            if item.commit.error is not None:  # not even the failure can be stored: the video stays due
                log.exception("the failure of %s in %s cannot be stored", item.commit.sha256, item.commit.stage)
                return [None]
            return self._write([_refusal(item.commit, fault, self._graph)])

    def _write(self, batch: Sequence[PreparedCommit]) -> list[PreparedCommit | None]:
        if not batch:
            return []
        self._write_scenes(batch)
        insert_once(self._collections["lineage"], [entry for item in batch for entry in _lineage(item)])
        numbers = self._changes.take(len(batch))
        updates = [self._update(item, number) for item, number in zip(batch, numbers, strict=True)]
        self._videos.bulk_write(updates, ordered=True)
        tokens = self._stored_tokens(batch)
        stored = [tokens.get((item.commit.sha256, item.commit.stage)) == item.commit.token for item in batch]
        self._clean_up(batch, stored)
        return [item if ok else None for item, ok in zip(batch, stored, strict=True)]

    def _update(self, item: PreparedCommit, change_seq: int) -> UpdateOne:
        commit = item.commit
        condition: Document = {"_id": commit.sha256, "lease.token": commit.lease}
        for stage, fields in commit.inputs.items():
            for name, version in fields.items():
                if version != UNVERSIONED:
                    # "": an optional stage without a result
                    condition[f"stages.{stage}.data.{name}"] = version or None
        values: Document = {f"stages.{commit.stage}": {"$literal": item.entry}, "change_seq": change_seq}
        if commit.result is not None:
            stored = self._graph.stored(commit.stage, commit.result)
            values |= {key: {"$literal": value} for key, value in stored.items()}
        if item.generation != commit.generation:
            values["scene_generation"] = {"$literal": item.generation}
        outdated = self._graph.outdated(commit.stage, item.changed)
        values |= {f"stages.{name}": value for name, value in outdated.items()}
        readiness = {
            f"stages.{name}.ready": ready_expression(self._graph, name)
            for name in self._graph.direct_downstream(commit.stage)
        }
        return UpdateOne(condition, [{"$set": values}, {"$set": readiness}] if readiness else [{"$set": values}])

    def _stored_tokens(self, batch: Sequence[PreparedCommit]) -> dict[tuple[str, str], str]:
        stages = sorted({item.commit.stage for item in batch})
        ids = sorted({item.commit.sha256 for item in batch})
        projection = {f"stages.{stage}.commit": 1 for stage in stages}
        return {
            (document["_id"], stage): document.get("stages", {}).get(stage, {}).get("commit", "")
            for document in self._videos.find({"_id": {"$in": ids}}, projection)
            for stage in stages
        }

    def _write_scenes(self, batch: Sequence[PreparedCommit]) -> None:
        """Write new generations of scene documents. A stage that adds to scenes starts from the generation it read."""
        scenes = self._collections["scenes"]
        written: dict[tuple[str, str], dict[int, Document]] = {}
        operations: list[ReplaceOne[Document]] = []
        for item in batch:
            if not item.scene_rows or item.generation is None:
                continue
            sha256, base = item.commit.sha256, item.commit.generation
            if self._graph.makes_scenes(item.commit.stage) or base is None:
                rows: dict[int, Document] = {index: dict(row) for index, row in item.scene_rows.items()}
            else:
                before = written.get((sha256, base))
                if before is None:
                    before = {row["index"]: row for row in scenes.find({"video": sha256, "generation": base})}
                rows = {index: row | item.scene_rows.get(index, {}) for index, row in before.items()}
            for index, row in rows.items():
                identity = f"{sha256}:{item.generation}:{index:05d}"
                place = {"_id": identity, "video": sha256, "generation": item.generation, "lease": item.commit.lease}
                rows[index] = row | place
                operations.append(ReplaceOne({"_id": identity}, rows[index], upsert=True))
            written[(sha256, item.generation)] = rows
        if operations:
            scenes.bulk_write(operations, ordered=False)

    def _clean_up(self, batch: Sequence[PreparedCommit], stored: Sequence[bool]) -> None:
        """Remove what a refused commit wrote, and the scenes that a stored one replaced."""
        refused = [item for item, ok in zip(batch, stored, strict=True) if not ok]
        if refused:
            tokens = [{"_id": {"$regex": f"^{item.commit.token}:"}} for item in refused]
            self._collections["lineage"].delete_many({"$or": tokens})
        # The scenes that it wrote may be just those that another machine is about to commit, and what a network held
        # back may still arrive: the next holder of the video's lease removes them, and others once more later.
        for item in refused:
            lost_lease = {} if item.scene_rows else {"lease.token": {"$ne": item.commit.lease}}
            mark = {"$push": {"late_commit.tokens": item.commit.token}, "$currentDate": {"late_commit.at": True}}
            self._videos.update_one({"_id": item.commit.sha256, **lost_lease}, mark)
        replaced = [
            item.commit
            for item, ok in zip(batch, stored, strict=True)
            if ok and item.commit.generation is not None and item.generation != item.commit.generation
        ]
        leases = {commit.sha256: commit.lease for commit in replaced}
        unwanted = [{"video": commit.sha256, "generation": commit.generation} for commit in replaced]
        if lost := leases.keys() - remove_scenes(self._collections, unwanted, leases):
            self._videos.update_many({"_id": {"$in": sorted(lost)}}, {"$currentDate": {"late_commit.at": True}})


def _lineage(item: PreparedCommit) -> list[Document]:
    """Return the lineage entries of a commit; none for one that only confirms the stored result."""
    commit = item.commit
    if item.confirms:
        return []
    common = {"video": commit.sha256, "stage": commit.stage, "at": item.entry["at"], "run": commit.run_id}
    first: Document = {
        "kind": "commit",
        "status": item.entry["status"],
        "spec": commit.spec,
        "inputs": commit.inputs,
        "data": dict(item.data),
        "changed": sorted(item.changed),
        "seconds": commit.seconds,
        **({"error": item.entry["error"]} if commit.error else {}),
    }
    entries = enumerate((first, *commit.lineage))
    return [{**entry, "_id": f"{commit.token}:{number}", **common} for number, entry in entries]


def _is_too_large(fault: OperationFailure) -> bool:
    """Return whether the server refused one document for its size, and not the write as such (full disk, privilege)."""
    errors = (fault.details or {}).get("writeErrors") or [{"code": fault.code}]
    return {error["code"] for error in errors} <= _TOO_LARGE


def _refusal(commit: Commit, fault: Exception, graph: StageGraph) -> PreparedCommit:
    """Return the failure that is stored instead of a result that MongoDB cannot hold."""
    said = "it is too large" if isinstance(fault, OperationFailure) else str(fault)[:200].rstrip(".")
    error = StageError(
        f"{video_name(commit.sha256)}, stage {commit.stage}: its result cannot be stored: {said}.",
        "A MongoDB document holds at most 16 MB; the file is unusual or forged.",
    )
    # Another token, the same at each repetition: what was written under the first one has been removed.
    failed = replace(commit, result=None, error=error, lineage=(), token=f"{commit.token}-refused")
    return prepare(failed, graph)
