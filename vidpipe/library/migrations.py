"""The migrations: what brings a database from one schema version to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import OperationFailure

from vidpipe.library.annotations import annotations_of, first_distinct, in_order_of_addition
from vidpipe.library.schema import MOST_KEPT, MOST_LABELS, Document
from vidpipe.stages.contract import INGEST, IngestFacts
from vidpipe.stages.versions import fingerprint

#: No such collection or index: another process was faster.
_NOTHING_TO_DROP = {26, 27}
_BATCH = 500
#: A dependency (see `vidpipe.sources.failures`) that always differs from today's: the source is due again.
_DIFFERENT = {"name": "download.allowed_private", "value": ""}


@dataclass(frozen=True)
class Migration:
    """One step. It must be safe to repeat: it may be interrupted halfway.

    Attributes:
        what: What it does, a sentence for the user.
        run: Does it, given the database and the name of each collection; returns how many documents were changed.
        over: Collections whose documents it reads; their number tells how long it takes.
        quick: Whether opening the library runs it; one that is not quick waits for `vidpipe migrate`.
    """

    what: str
    run: Callable[[Database[Document], Mapping[str, str]], int]
    over: tuple[str, ...] = ()
    quick: bool = True


def _drop_index(collection: str, index: str) -> Callable[[Database[Document], Mapping[str, str]], int]:
    """Return a migration that drops an index; new indexes are created after every migration."""

    def drop(database: Database[Document], names: Mapping[str, str]) -> int:
        try:
            database[names[collection]].drop_index(index)
        except OperationFailure as error:
            if error.code not in _NOTHING_TO_DROP:
                raise
        return 0

    return drop


#: A collection can have only one text index, so one over other fields is dropped before.
_drop_text_index = _drop_index("videos", "words")


def _annotate(database: Database[Document], names: Mapping[str, str]) -> int:
    """Copy the sources' labels and titles to the videos; videos without labels are those still to do."""
    _drop_text_index(database, names)
    videos, sources = database[names["videos"]], database[names["sources"]]
    rejected = {"state": {"$in": ["failed", "refused"]}, "failed_at": {"$exists": False}}
    sources.update_many(rejected, {"$set": {"blocked_by": [_DIFFERENT]}})
    changed, last = 0, ""
    waiting = {f"{INGEST}.labels": {"$exists": False}}
    while known := list(videos.find({"_id": {"$gt": last}, **waiting}, {INGEST: 1}).sort("_id", 1).limit(_BATCH)):
        last = known[-1]["_id"]
        found = annotations_of(sources, [row["_id"] for row in known])
        changes = []
        for row in known:
            new = {"labels": found[row["_id"]].labels, "titles": found[row["_id"]].titles}
            values = {f"stages.{INGEST}.data.{name}": fingerprint(value) for name, value in new.items()}
            facts = IngestFacts.model_validate({**row[INGEST], **new})
            changes.append(UpdateOne({"_id": row["_id"]}, {"$set": {INGEST: facts.model_dump(), **values}}))
        changed += videos.bulk_write(changes, ordered=False).modified_count
    return changed


def _shorten_documents(database: Database[Document], names: Mapping[str, str]) -> int:
    """Shorten the documents of videos with very many sources; stages that read what changed become stale."""
    _drop_index("sources", "video")(database, names)
    videos, sources = database[names["videos"]], database[names["sources"]]
    limits = {"names": MOST_KEPT, "urls": MOST_KEPT, "titles": MOST_KEPT, "labels": MOST_LABELS}
    full = [{f"{INGEST}.{name}.{limit}": {"$exists": True}} for name, limit in limits.items()]
    changed = 0
    for row in videos.find({"$or": full}, {INGEST: 1, "stages": 1}):
        before = IngestFacts.model_validate(row[INGEST])
        found = annotations_of(sources, [row["_id"]])[row["_id"]]
        first = list(islice(in_order_of_addition(sources, [row["_id"]], {"url": 1, "file_name": 1}), MOST_KEPT))
        names_of_first = [one["file_name"] for one in first if one.get("file_name")]
        new = {
            "names": first_distinct((*names_of_first, *before.names)),
            "urls": first_distinct((*(one["url"] for one in first), *before.urls)),
            "labels": found.labels,
            "titles": found.titles,
        }
        after = before.model_copy(update=new)
        values: Document = {INGEST: after.model_dump()}
        for name in (name for name in new if new[name] != getattr(before, name)):
            values[f"stages.{INGEST}.data.{name}"] = fingerprint(new[name])
            for stage, entry in row["stages"].items():
                if name in (entry.get("inputs") or {}).get(INGEST, {}):
                    values[f"stages.{stage}.stale"] = True
        changed += videos.update_one({"_id": row["_id"]}, {"$set": values}).modified_count
    return changed


#: Schema version n -> the migration to n + 1.
MIGRATIONS: dict[int, Migration] = {
    1: Migration(
        "Paths and sources are found by indexes; a page of the latest videos needs no sorting.",
        _drop_index("videos", "added"),
    ),
    2: Migration(
        "Run statistics get a collection of their own, and sources an index by watched list.",
        lambda database, names: 0,  # new collections and indexes are created after every migration
    ),
    3: Migration(
        "Words in summaries and keywords are found, too; answers have an index by model.",
        _drop_text_index,
        over=("videos",),
    ),
    4: Migration(
        "Videos get the labels and titles of their sources; these, and the words within file names, are found. Sources "
        "that failed or were rejected are due again: today's checks may accept them.",
        _annotate,
        over=("videos",),
    ),
    5: Migration(
        "Videos with very many sources keep the first hundred names, URLs and titles in their documents; `vidpipe show "
        "VIDEO --json` shows all sources. Sources can be forgotten.",
        _shorten_documents,
        over=("videos",),
    ),
}
