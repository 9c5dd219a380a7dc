"""What users and lists say about a video's sources (labels, titles, priority), combined for the video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pymongo.collection import Collection

from vidpipe.library.schema import MOST_KEPT, MOST_LABELS, Document


@dataclass(frozen=True)
class Annotations:
    """What the sources of a video say about it.

    Attributes:
        labels: Of the sources that lead to the video or did before, up to the limit of its document.
        titles: Likewise.
        priority: The highest of the sources that lead to it today; 0 if none has one.
    """

    labels: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    priority: int = 0


@dataclass
class _Gathered:
    labels: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    priorities: set[int] = field(default_factory=set)


def annotations_of(sources: Collection[Document], videos: Sequence[str]) -> dict[str, Annotations]:
    """Return sha256 -> what its sources say, in one query; empty annotations for a video without a source."""
    gathered = {video: _Gathered() for video in videos}
    fields = dict.fromkeys(("video", "earlier_videos", "labels", "title", "priority"), 1)
    for row in in_order_of_addition(sources, videos, fields):
        for video in {row["video"], *(row.get("earlier_videos") or ())} & gathered.keys():
            found = gathered[video]
            _put(found.labels, row.get("labels") or (), MOST_LABELS)
            _put(found.titles, [row.get("title")], MOST_KEPT)
            if row["video"] == video:
                found.priorities.add(row.get("priority") or 0)
    return {
        video: Annotations(_sorted(found.labels), _sorted(found.titles), max(found.priorities, default=0))
        for video, found in gathered.items()
    }


def in_order_of_addition(
    sources: Collection[Document], videos: Sequence[str], fields: Document | None = None
) -> Iterable[Document]:
    """Return the sources that lead to one of `videos` or did before, oldest first."""
    query = {"$or": [{"video": {"$in": list(videos)}}, {"earlier_videos": {"$in": list(videos)}}]}
    return sources.find(query, fields).sort([("first_seen", 1), ("_id", 1)]).allow_disk_use(True)


def title_of(facts: Mapping[str, Any], metadata: Mapping[str, Any]) -> str | None:
    """Return a video's title according to its sources, else to its file.

    Args:
        facts: The video's stored ingest facts.
        metadata: Its stored metadata.
    """
    return next(iter(facts.get("titles") or ()), metadata.get("title"))


def distinct(texts: Iterable[str | None], most: int = MOST_KEPT) -> tuple[str, ...]:
    """Return the first `most` of `texts` that are not empty, sorted.

    Of texts that differ only in case one is kept, always the same one.
    """
    by_key: dict[str, str] = {}
    _put(by_key, texts, most)
    return _sorted(by_key)


def first_distinct(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the first `MOST_KEPT` different texts, sorted."""
    return tuple(sorted(islice(dict.fromkeys(texts), MOST_KEPT)))


def _put(by_key: dict[str, str], texts: Iterable[str | None], most: int) -> None:
    for text in texts:
        if text and ((key := text.casefold()) in by_key or len(by_key) < most):
            by_key[key] = min(text, by_key.get(key, text))


def _sorted(by_key: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(by_key[key] for key in sorted(by_key))
