"""Tags, categories, sentiment and durations by time or by source, in one aggregation."""

from collections.abc import Sequence
from typing import Any, Literal

from vidpipe.library.library import Library
from vidpipe.stages.results import MODEL_TAGS

By = Literal["day", "week", "month", "year", "host", "list"]
KINDS = ("tags", "categories", "sentiments")
_FORMATS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
#: Of the URLs of local files, it finds nothing.
_HOST = r"^[a-zA-Z0-9+.-]+://(?:[^/?#@]*@)?([^/?#:]+)"


def trends(
    library: Library, by: By, ids: Sequence[str] | None = None, *, created: bool = False, most: int = 10
) -> list[dict[str, Any]]:
    """Return for each period or source: videos, seconds, and the most frequent tags, categories and sentiments.

    Tags are those of rules and people.

    Args:
        library: The library.
        by: What videos are grouped by. Days are those of UTC; a video with several hosts or lists belongs to each.
        ids: Only these videos.
        created: The time is when a video was created, if its file says so, instead of when it was added.
        most: Most tags, and so on, of each.
    """
    made = {"$dateFromString": {"dateString": "$metadata.created", "onError": None, "onNull": None}}
    match = {"$regexFind": {"input": "$$this", "regex": _HOST}}
    host = {"$let": {"vars": {"found": match}, "in": {"$arrayElemAt": ["$$found.captures", 0]}}}
    lists = {"$reduce": {"input": "$said.lists", "initialValue": [], "in": {"$setUnion": ["$$value", "$$this"]}}}
    place: Any = {"$setUnion": {"$map": {"input": "$ingest.urls", "in": host}}} if by == "host" else lists
    if by in _FORMATS:
        place = {"$dateToString": {"date": made if created else "$added_at", "format": _FORMATS[by]}}
    sources = {"from": library.collections["sources"].name, "localField": "_id", "foreignField": "video", "as": "said"}
    # the model's own tags are too many to be counted for each day
    given = {"$filter": {"input": {"$ifNull": ["$tags", []]}, "cond": {"$ne": ["$$this.rule", MODEL_TAGS]}}}
    tags = {"$map": {"input": given, "in": {"kind": "tags", "name": "$$this.tag"}}}
    others = [{"kind": "all"}, *({"kind": kind, "name": f"${path}"} for kind, path in
              (("categories", "category.category"), ("sentiments", "sentiment.label")))]  # fmt: skip
    read = (
        "added_at ingest.urls metadata.created metadata.duration_s tags.tag tags.rule category.category sentiment.label"
    )
    found: dict[str | None, dict[str, Any]] = {}
    for row in library.collections["videos"].aggregate([
        {"$match": {} if ids is None else {"_id": {"$in": ids}}},
        {"$project": dict.fromkeys(read.split(), 1)},
        *([{"$lookup": sources}] if by == "list" else []),
        {"$project": {"by": place, "entry": {"$concatArrays": [tags, others]}, "seconds": "$metadata.duration_s"}},
        {"$unwind": {"path": "$by", "preserveNullAndEmptyArrays": True}},
        {"$unwind": "$entry"},
        {"$group": {"_id": {"by": "$by", "entry": "$entry"}, "videos": {"$sum": 1}, "seconds": {"$sum": "$seconds"}}},
        {"$sort": {"_id.by": 1, "videos": -1, "_id.entry.name": 1}},
    ], allowDiskUse=True):  # fmt: skip
        key, entry = row["_id"].get("by"), row["_id"]["entry"]
        here = found.setdefault(key, {"by": key, "videos": 0, "seconds": 0.0} | {kind: {} for kind in KINDS})
        if entry["kind"] == "all":
            here |= {"videos": row["videos"], "seconds": row["seconds"]}
        elif entry.get("name") and len(here[entry["kind"]]) < most:
            here[entry["kind"]][entry["name"]] = row["videos"]
    return list(found.values())
