"""The steps from one schema version to the next, since the first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import OperationFailure

from vidpipe.library.annotations import annotations_of, first_distinct, in_order_of_addition
from vidpipe.library.changes import COUNTER
from vidpipe.library.schema import FORGOTTEN_SOURCE as FORGOTTEN
from vidpipe.library.schema import MOST_KEPT, MOST_LABELS, Document
from vidpipe.library.verdicts import stated, verdict_entry
from vidpipe.library.videos import chunked
from vidpipe.sources.source_data import STATED
from vidpipe.stages.contract import INGEST
from vidpipe.stages.ingest_facts import IngestFacts
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


#: Dropped before documents are rewritten: nothing reads it any more, and keeping it up to date takes long.
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
            new = {name: found[row["_id"]].facts[name] for name in ("labels", "titles")}
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
            "labels": found.facts["labels"],
            "titles": found.facts["titles"],
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


def _leave_search_to_the_index(database: Database[Document], names: Mapping[str, str]) -> int:
    _drop_text_index(database, names)
    _drop_index("scenes", "words")(database, names)
    # Documents were changed without a number.
    database[names["meta"]].delete_one({"_id": COUNTER})
    return 0


def _apply_verdicts(database: Database[Document], names: Mapping[str, str]) -> int:
    """Copy verdicts and what sites say into the facts of videos; only these have other facts than before.

    No scene has tags yet.
    """
    _drop_index("verdicts", "video_tag")(database, names)
    videos, sources, verdicts = (database[names[name]] for name in ("videos", "sources", "verdicts"))
    verdicts.update_many({"kind": {"$exists": False}}, {"$set": {"kind": "tag", "note": "", "start_s": None}})
    nothing = _facts({"verdicts": [], "source_data": {}})
    no_tags: Document = nothing | {"scene_tags": [], "stages.tags.data.scene_tags": fingerprint(())}
    videos.update_many({"scene_tags": {"$exists": False}, "tags": {"$exists": True}}, {"$set": no_tags})
    videos.update_many({f"stages.{INGEST}.data.verdicts": {"$exists": False}}, {"$set": nothing})
    said: dict[str, list[Document]] = {}
    for row in verdicts.find().sort([("at", 1), ("_id", 1)]):
        said.setdefault(row["video"], []).append(stated(row).model_dump())
        entry = verdict_entry(row, f"verdict:{row['_id']}")
        database[names["lineage"]].update_one({"_id": entry["_id"]}, {"$setOnInsert": entry}, upsert=True)
    texts = [{name: {"$nin": [None, ""]}} for name in ("licence", *(f"data.{name}" for name in STATED))]
    found = sources.find({"video": {"$ne": None}, "$or": texts}, {"video": 1, "earlier_videos": 1})
    described = {video for row in found for video in (row["video"], *(row.get("earlier_videos") or ()))}
    for chunk in chunked(sorted(described | said.keys())):
        known = annotations_of(sources, chunk)
        stale = {f"stages.{stage}.stale": True for stage in ("tags", "categories")}
        changes = []
        for one in chunk:
            facts = {"verdicts": said.get(one, []), "source_data": known[one].facts["source_data"]}
            changes.append(UpdateOne({"_id": one}, {"$set": _facts(facts) | stale}))
        videos.bulk_write(changes, ordered=False)
    return len(described | said.keys())


def _facts(facts: Mapping[str, Any]) -> Document:
    """Return what an update sets so that a video has these facts."""
    stored = {f"{INGEST}.{name}": value for name, value in facts.items()}
    return stored | {f"stages.{INGEST}.data.{name}": fingerprint(value) for name, value in facts.items()}


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
    6: Migration(
        "Search uses an index outside MongoDB, built by the first search; MongoDB's text indexes are dropped. Saved "
        "searches get a collection.",
        _leave_search_to_the_index,
    ),
    7: Migration("Verdicts on tags, API keys and sessions get collections.", lambda database, names: 0),
    8: Migration(
        "Exports are recorded, so that videos can be removed from them; sources of folders get an index. Records of "
        "forgotten sources are emptied.",
        lambda database, names: (
            database[names["sources"]].update_many({"state": "forgotten"}, FORGOTTEN).modified_count
        ),
    ),
    9: Migration(
        "Verdicts on tags are applied: they are facts of their videos, as is what sites say. Scenes can have their own "
        "tags.",
        _apply_verdicts,
        over=("videos", "verdicts"),
    ),
    10: Migration("Datasets and pairs that are no duplicates get collections.", lambda database, names: 0),
    11: Migration(  # older versions would commit without the token of a lease
        "Machines that work on the library get collections, and leases a token.", lambda database, names: 0
    ),
}
