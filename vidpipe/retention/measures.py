"""Figures of runs that nobody looks back to any more."""

from __future__ import annotations

from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from vidpipe.library.schema import Document
from vidpipe.retention.report import Pruned, in_chunks

_CHUNK = 1000


def delete_measures(runs: Collection[Document], before: float, report: Pruned, dry_run: bool) -> None:
    """Documents of the collection `runs` whose run began before `before` (seconds since 1970)."""
    wanted = {"began_at": {"$lt": datetime.fromtimestamp(before, UTC)}}
    sized: list[Document] = [{"$match": wanted}, {"$project": {"began_at": 1, "size": {"$bsonSize": "$$ROOT"}}}]
    try:
        rows = list(runs.aggregate(sized))
    except OperationFailure:  # a compatible service without $bsonSize
        rows = list(runs.find(wanted, {"began_at": 1}))
    for row in rows:
        report.add(row.get("size", 0), row["began_at"])
    for chunk in in_chunks([row["_id"] for row in rows], _CHUNK) if not dry_run else ():
        runs.delete_many({"_id": {"$in": list(chunk)}, **wanted})
