"""The collections, their indexes and the schema version.

videos    one document per video; `stages.<name>` says how current each result is; `checked`: see
          `vidpipe.library.checks`; `partition_since`: when a person made it a partition
scenes    one document per scene and generation; the video's `scene_generation` names the one in force; `lease`: token
          of the lease under which it was written
answers   the model's answers
sources   one document per URL
lineage   append-only: commits, changes of tags and categories, texts of rules and prompts by hash
runs      one document per run: what it did in each stage, in numbers
tombstones  hashes of forgotten videos: when, by whom and why (see `vidpipe.library.changes`)
searches  saved searches by name
verdicts  what people said of the tags and category of a video or scene: right or wrong
keys      API keys, hashed
datasets  versions of datasets; dataset_items holds their items as they were then
distinct  pairs of videos that people said are no duplicates
exports   exports that were written, so that a forgotten video can be removed from them
owners    what the holders of leases are working on, renewed with them
workers   processes of `vidpipe worker`
sessions  sessions of browsers that signed in with a key, hashed
meta      schema version and the shape of the stage graph; who is currently changing them; the counter of changes

How an older database gets there: `vidpipe.library.migrations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from vidpipe.stages.graph import StageGraph

if TYPE_CHECKING:
    from pymongo import IndexModel
    from pymongo.collection import Collection

Document = dict[str, Any]
#: name -> collection.
Collections: TypeAlias = "Mapping[str, Collection[Document]]"

# as in pymongo, which is imported only by what speaks to MongoDB
_ASCENDING, _DESCENDING = 1, -1

SCHEMA_VERSION = 12

COLLECTIONS = (
    "videos", "scenes", "answers", "sources", "lineage", "runs", "tombstones", "searches", "verdicts", "datasets",
    "dataset_items", "distinct", "owners", "workers", "keys", "sessions", "exports", "meta",
)  # fmt: skip

#: They belong to this server, not to what it stores: no backup contains them, and a restore leaves them as they are.
OF_THIS_SERVER = ("keys", "sessions", "tombstones", "exports", "owners", "workers")

#: Update that leaves nothing of a source but that it is known: `vidpipe.sources.records`, state forgotten.
_KEPT_FIELDS = {name: f"${name}" for name in ("_id", "lists", "folder", "first_seen")}
FORGOTTEN_SOURCE: list[Document] = [{"$replaceWith": {"url": "", "state": "forgotten", "video": None, **_KEPT_FIELDS}}]

#: Most names, URLs and titles in a video's document. A site's "not available" clip has tens of thousands; the documents
#: of its sources hold all of them.
MOST_KEPT = 100
#: Likewise, of each kind of what the sites of its sources say: descriptions are long.
MOST_STATED = 10
#: Enough for one label per class of a large data set.
MOST_LABELS = 1000
#: Exists in documents of videos with `MOST_KEPT` URLs.
LAST_URL = f"ingest.urls.{MOST_KEPT - 1}"

#: A condition: the video has no lease, or an expired one.
UNLEASED: Document = {"$or": [{"lease": {"$exists": False}}, {"$expr": {"$lt": ["$lease.until", "$$NOW"]}}]}

#: Sums over all videos are read from this index alone: bytes of media, seconds of footage, bytes of frame packs.
SIZES_INDEX = "sizes"
SIZES = ("ingest.size_bytes", "metadata.duration_s", "scenes.pack.bytes")


def stage_index(stage: str) -> list[tuple[str, int]]:
    """Return the keys of the index that answers "how current is this stage" without reading a document."""
    return [(f"stages.{stage}.{field}", _ASCENDING) for field in ("status", "ready", "stale", "spec", "next_try_at")]


def indexes(graph: StageGraph) -> dict[str, list[IndexModel]]:
    """Return collection -> its indexes. Repeating their creation costs nothing."""
    from pymongo import IndexModel

    return {
        "videos": [
            *(IndexModel(stage_index(stage.name), name=f"stage_{stage.name}") for stage in graph),
            _index("lease_owner", "lease.owner", sparse=True),
            _index("late_commit", "late_commit.at", sparse=True),
            _index("partition_since", "partition_since", sparse=True),
            _index("names", "ingest.names"),
            _index("urls", "ingest.urls"),
            _index("full_of_urls", LAST_URL, sparse=True),
            _index("path", "ingest.path"),
            _index("labels", "ingest.labels"),
            _index("tag", "tags.tag"),
            _index("category", "category.category"),
            _index("duration", "metadata.duration_s"),
            _index("decoded_duration", "scenes.duration_s"),
            _index("media", "storage.media", sparse=True),
            _index("latest", "-added_at", "_id"),
            _index(SIZES_INDEX, *SIZES),
            _index("change_seq", "change_seq", "_id"),
        ],
        "scenes": [_index("scene", "video", "generation", "index")],
        "answers": [_index("video", "video"), _index("latest_of_model", "model", "-at")],
        "sources": [
            _index("video_priority", "video", "-priority"),
            _index("earlier_videos", "earlier_videos"),
            _index("url", "url"),
            _index("state", "state", "next_try_at"),
            _index("first_seen", "-first_seen", "-_id"),
            _index("watched", "lists", "state", "-priority"),
            _index("folder", "folder", sparse=True),
        ],
        "lineage": [_index("video", "video", "-at"), _index("kind", "kind", "-at")],
        "runs": [_index("began", "-began_at")],
        "tombstones": [_index("change_seq", "change_seq", "_id")],
        "verdicts": [_index("video", "video"), _index("tag", "tag_key", "video")],
        "datasets": [IndexModel([("name", _ASCENDING), ("version", _DESCENDING)], name="version", unique=True)],
        "dataset_items": [_index("position", "dataset", "position"), _index("video", "video")],
        "distinct": [_index("video", "video")],
        "owners": [_index("gone", "renewed_at", expireAfterSeconds=7 * 86400)],
        "workers": [_index("gone", "seen_at", expireAfterSeconds=86400)],
        "sessions": [_index("ended", "ends_at", expireAfterSeconds=0)],
    }


def _index(name: str, *fields: str, **options: Any) -> IndexModel:
    """Return an index over `fields`; one with a minus sign is descending."""
    from pymongo import IndexModel

    keys = [(field.removeprefix("-"), _DESCENDING if field.startswith("-") else _ASCENDING) for field in fields]
    return IndexModel(keys, name=name, **options)


def ready_expression(graph: StageGraph, stage: str) -> Any:
    """Return an aggregation expression: does every stage that `stage` reads have a usable result?"""
    upstream = graph.upstream(stage)
    return (
        {"$and": [{"$eq": [f"$stages.{name}.status", "ok"]} for name in upstream]} if upstream else {"$literal": True}
    )


def new_entry(graph: StageGraph, stage: str) -> Document:
    """Return `stages.<stage>` of a new video."""
    return {"status": "new", "ready": not graph.upstream(stage), "stale": False, "spec": ""}
