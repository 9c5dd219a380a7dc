"""What users and lists say of a video's sources (labels, titles, priority), put together for the video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from vidpipe.library.schema import Document


@dataclass(frozen=True)
class Annotations:
    """labels, titles: of every source that gives the video or gave it before
    priority: the highest of the sources that give it today; none said is 0
    """

    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    priority: int = 0


def annotations_of(sources: Collection[Document], videos: Sequence[str]) -> dict[str, Annotations]:
    """sha256 -> what its sources say, in one query; a video without a source has nothing said of it."""
    given: Document = {"$ifNull": ["$earlier_videos", []]}
    today: Document = {"$eq": ["$video", "$of"]}
    rows = sources.aggregate(
        [
            {"$match": {"$or": [{"video": {"$in": videos}}, {"earlier_videos": {"$in": videos}}]}},
            {"$addFields": {"of": {"$setUnion": [["$video"], given]}}},
            {"$unwind": "$of"},
            {"$match": {"of": {"$in": videos}}},
            {
                "$group": {
                    "_id": "$of",
                    "labels": {"$addToSet": "$labels"},
                    "titles": {"$addToSet": "$title"},
                    "priority": {"$max": {"$cond": [today, {"$ifNull": ["$priority", 0]}, None]}},
                }
            },
        ]
    )
    found = dict.fromkeys(videos, Annotations())
    for row in rows:
        labels = distinct(label for several in row["labels"] for label in several or ())
        found[row["_id"]] = Annotations(labels, distinct(row["titles"]), row["priority"] or 0)
    return found


def title_of(facts: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """What a video is called, given its stored facts and metadata: by its sources, else by its file."""
    return next(iter(facts.get("titles") or ()), metadata.get("title"))


def distinct(texts: Iterable[str | None]) -> tuple[str, ...]:
    """Sorted; of those that differ only in case one is left, always the same one. Empty ones are left out."""
    by_key: dict[str, str] = {}
    for text in texts:
        if text:
            key = text.casefold()
            by_key[key] = min(text, by_key.get(key, text))
    return tuple(by_key[key] for key in sorted(by_key))
