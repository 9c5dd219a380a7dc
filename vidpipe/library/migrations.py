"""What brings a database from one schema version to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import OperationFailure

from vidpipe.library.annotations import annotations_of, first_distinct, in_order_of_addition
from vidpipe.library.schema import MOST_KEPT, MOST_LABELS
from vidpipe.stages.contract import INGEST, IngestFacts
from vidpipe.stages.versions import fingerprint

Document = dict[str, Any]

#: No such collection, no such index: another process was faster.
_NOTHING_TO_DROP = {26, 27}
_BATCH = 500
#: A dependency (see `vidpipe.sources.failures`) that differs from today's whatever it is: the source is due again.
_DIFFERENT = {"name": "download.allowed_private", "value": ""}


@dataclass(frozen=True)
class Migration:
    """One step. It must be safe to repeat: it may be cut off half-way.

    what:     what it does, a sentence for the user
    over:     collections whose documents it goes over; their number says how long it takes
    quick:    done by whatever opens the library; one that is not waits for `vidpipe migrate`
    run:      does it, given the database and the name of each collection; returns how many documents were changed
    """

    what: str
    run: Callable[[Database[Document], Mapping[str, str]], int]
    over: tuple[str, ...] = ()
    quick: bool = True


def _drop_order_without_id(database: Database[Document], names: Mapping[str, str]) -> int:
    return _drop_index(database, names["videos"], "added")


def _drop_words(database: Database[Document], names: Mapping[str, str]) -> int:
    """The text index over other fields is made after every migration; a collection has one of them only."""
    return _drop_index(database, names["videos"], "words")


def _annotate(database: Database[Document], names: Mapping[str, str]) -> int:
    """Videos without labels are those still to be done."""
    _drop_words(database, names)
    videos, sources = database[names["videos"]], database[names["sources"]]
    rejected = {"state": {"$in": ["failed", "refused"]}, "failed_at": {"$exists": False}}
    sources.update_many(rejected, {"$set": {"blocked_by": [_DIFFERENT]}})
    changed, last = 0, ""
    waiting = {f"{INGEST}.labels": {"$exists": False}}
    while known := list(videos.find({"_id": {"$gt": last}, **waiting}, {INGEST: 1}).sort("_id", 1).limit(_BATCH)):
        last = known[-1]["_id"]
        said = annotations_of(sources, [row["_id"] for row in known])
        changes = []
        for row in known:
            annotations = said[row["_id"]]
            new = {"labels": annotations.labels, "titles": annotations.titles}
            values = {f"stages.{INGEST}.data.{name}": fingerprint(value) for name, value in new.items()}
            facts = IngestFacts.model_validate({**row[INGEST], **new})
            changes.append(UpdateOne({"_id": row["_id"]}, {"$set": {INGEST: facts.model_dump(), **values}}))
        changed += videos.bulk_write(changes, ordered=False).modified_count
    return changed


def _keep_the_first(database: Database[Document], names: Mapping[str, str]) -> int:
    """Shortens the documents of videos with very many sources; stages that read what changed become stale."""
    _drop_index(database, names["sources"], "video")
    videos, sources = database[names["videos"]], database[names["sources"]]
    rooms = {"names": MOST_KEPT, "urls": MOST_KEPT, "titles": MOST_KEPT, "labels": MOST_LABELS}
    full = [{f"{INGEST}.{name}.{room}": {"$exists": True}} for name, room in rooms.items()]
    changed = 0
    for row in videos.find({"$or": full}, {INGEST: 1, "stages": 1}):
        before = IngestFacts.model_validate(row[INGEST])
        said = annotations_of(sources, [row["_id"]])[row["_id"]]
        first = list(islice(in_order_of_addition(sources, [row["_id"]], {"url": 1, "file_name": 1}), MOST_KEPT))
        names_of_first = [one["file_name"] for one in first if one.get("file_name")]
        new = {
            "names": first_distinct((*names_of_first, *before.names)),
            "urls": first_distinct((*(one["url"] for one in first), *before.urls)),
            "labels": said.labels,
            "titles": said.titles,
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


def _drop_index(database: Database[Document], collection: str, index: str) -> int:
    try:
        database[collection].drop_index(index)
    except OperationFailure as error:
        if error.code not in _NOTHING_TO_DROP:
            raise
    return 0


def _nothing(database: Database[Document], names: Mapping[str, str]) -> int:
    """New collections and indexes are made after every migration."""
    return 0


#: From version n to n + 1.
MIGRATIONS: dict[int, Migration] = {
    1: Migration(
        "Paths and sources are found through indexes; a page of the latest videos needs no sorting.",
        _drop_order_without_id,
    ),
    2: Migration(
        "The figures of each run get a collection, and sources an index by the watched lists that name them.", _nothing
    ),
    3: Migration(
        "Words are found in summaries and keywords too; answers have an index by model.", _drop_words, over=("videos",)
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
        _keep_the_first,
        over=("videos",),
    ),
}
