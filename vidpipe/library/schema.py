"""The collections, their indexes and the schema version: the one place where they are named.

videos    one document a video; `stages.<name>` says how current each result is
scenes    one document a scene and generation; the video's `scene_generation` names the one in force
answers   the model's cells
sources   one document a URL
lineage   append-only: commits, tag changes, texts of rules and prompts by hash
runs      one document a run: what it did in each stage, in figures
meta      schema version and the shape of the stage graph; who is just changing them

How an older database gets there: `vidpipe.library.migrations`, `vidpipe.library.preparing`.
"""

from __future__ import annotations

from typing import Any

from pymongo import ASCENDING, DESCENDING, TEXT, IndexModel

from vidpipe.stages.graph import StageGraph

Document = dict[str, Any]

SCHEMA_VERSION = 6

COLLECTIONS = ("videos", "scenes", "answers", "sources", "lineage", "runs", "meta")

#: Text indexes read a field of this name as the language of the document; no document of ours has it, so that a
#: subtitle stream's `language` is not taken for it.
_LANGUAGE_OVERRIDE = "text_index_language"

_SEARCHED_IN_VIDEOS = {
    "ingest.names": 6,
    "ingest.labels": 10,
    "ingest.titles": 8,
    "ingest.words": 4,
    "metadata.title": 8,
    "metadata.title_words": 4,
    "tags.tag": 10,
    "category.category": 8,
    "description.text": 4,
    "description.summary": 4,
    "description.keywords": 6,
    "metadata.cues.text": 2,
}


#: Most names, URLs and titles in a video's document. A site's "not available" clip has tens of thousands; the documents
#: of its sources hold all of them.
MOST_KEPT = 100
#: Enough for a label for each class of a large data set.
MOST_LABELS = 1000
#: Exists in documents of videos with `MOST_KEPT` URLs.
LAST_URL = f"ingest.urls.{MOST_KEPT - 1}"


def stage_index(stage: str) -> list[tuple[str, int]]:
    """The index that answers "how current is this stage" without reading a document."""
    return [(f"stages.{stage}.{field}", ASCENDING) for field in ("status", "ready", "stale", "spec", "next_try_at")]


#: Sums over all videos are read from this index alone: bytes of media, seconds of footage, bytes of frame packs.
SIZES_INDEX = "sizes"
SIZES = ("ingest.size_bytes", "metadata.duration_s", "scenes.pack.bytes")


def indexes(graph: StageGraph) -> dict[str, list[IndexModel]]:
    """collection -> its indexes. Repeating their creation costs nothing."""
    videos = [IndexModel(stage_index(stage.name), name=f"stage_{stage.name}") for stage in graph]
    videos += [
        IndexModel([("lease.owner", ASCENDING)], name="lease_owner", sparse=True),
        IndexModel([("ingest.names", ASCENDING)], name="names"),
        IndexModel([("ingest.urls", ASCENDING)], name="urls"),
        IndexModel([(LAST_URL, ASCENDING)], name="full_of_urls", sparse=True),
        IndexModel([("ingest.path", ASCENDING)], name="path"),
        IndexModel([("ingest.labels", ASCENDING)], name="labels"),
        IndexModel([("tags.tag", ASCENDING)], name="tag"),
        IndexModel([("category.category", ASCENDING)], name="category"),
        IndexModel([("metadata.duration_s", ASCENDING)], name="duration"),
        IndexModel([("scenes.duration_s", ASCENDING)], name="decoded_duration"),
        IndexModel([("added_at", DESCENDING), ("_id", ASCENDING)], name="latest"),
        IndexModel([(field, ASCENDING) for field in SIZES], name=SIZES_INDEX),
        IndexModel(
            [(field, TEXT) for field in _SEARCHED_IN_VIDEOS],
            name="words",
            weights=_SEARCHED_IN_VIDEOS,
            default_language="english",
            language_override=_LANGUAGE_OVERRIDE,
        ),
    ]
    return {
        "videos": videos,
        "scenes": [
            IndexModel([("video", ASCENDING), ("generation", ASCENDING), ("index", ASCENDING)], name="scene"),
            IndexModel(
                [("description", TEXT)],
                name="words",
                default_language="english",
                language_override=_LANGUAGE_OVERRIDE,
            ),
        ],
        "answers": [
            IndexModel([("video", ASCENDING)], name="video"),
            IndexModel([("model", ASCENDING), ("at", DESCENDING)], name="latest_of_model"),
        ],
        "sources": [
            IndexModel([("video", ASCENDING), ("priority", DESCENDING)], name="video_priority"),
            IndexModel([("earlier_videos", ASCENDING)], name="earlier_videos"),
            IndexModel([("url", ASCENDING)], name="url"),
            IndexModel([("state", ASCENDING), ("next_try_at", ASCENDING)], name="state"),
            IndexModel([("lists", ASCENDING), ("state", ASCENDING), ("priority", DESCENDING)], name="watched"),
        ],
        "lineage": [
            IndexModel([("video", ASCENDING), ("at", DESCENDING)], name="video"),
            IndexModel([("kind", ASCENDING), ("at", DESCENDING)], name="kind"),
        ],
        "runs": [IndexModel([("began_at", DESCENDING)], name="began")],
    }


def ready_expression(graph: StageGraph, stage: str) -> Any:
    """An aggregation expression: does every stage that `stage` reads have a usable result?"""
    upstream = graph.upstream(stage)
    return (
        {"$and": [{"$eq": [f"$stages.{name}.status", "ok"]} for name in upstream]} if upstream else {"$literal": True}
    )


def new_entry(graph: StageGraph, stage: str) -> Document:
    """`stages.<stage>` of a video that has just come in."""
    return {"status": "new", "ready": not graph.upstream(stage), "stale": False, "spec": ""}
