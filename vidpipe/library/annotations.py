"""What users, lists and sites say about the sources of a video (labels, titles, priority), combined for the video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from vidpipe.library.schema import MOST_KEPT, MOST_LABELS, MOST_STATED, Document
from vidpipe.sources.records import SourceRecord, StoredVideo
from vidpipe.sources.source_data import STATED, stated_texts
from vidpipe.stages.ingest_facts import IngestFacts

if TYPE_CHECKING:
    from pymongo.collection import Collection


@dataclass(frozen=True)
class Annotations:
    """What the sources of a video, or people, say about it.

    Attributes:
        facts: Fields of its `IngestFacts`, such as the labels of the sources that lead to it or did before.
        priority: The highest of the sources that lead to it today; 0 if none has one.
    """

    facts: Mapping[str, Any]
    priority: int = 0


@dataclass
class _Gathered:
    labels: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    stated: dict[str, dict[str, str]] = field(default_factory=dict)
    priorities: set[int] = field(default_factory=set)

    def facts(self) -> dict[str, Any]:
        source_data = {name: _sorted(texts) for name, texts in self.stated.items()}
        return {"labels": _sorted(self.labels), "titles": _sorted(self.titles), "source_data": source_data}


def annotations_of(sources: Collection[Document], videos: Sequence[str]) -> dict[str, Annotations]:
    """Return sha256 -> what its sources say, in one query; empty annotations for a video without a source."""
    gathered = {video: _Gathered() for video in videos}
    fields = dict.fromkeys(("video", "earlier_videos", "labels", "title", "priority", "licence", "data.title"), 1)
    fields |= dict.fromkeys((f"data.{name}" for name in STATED), 1)
    for row in in_order_of_addition(sources, videos, fields):
        data = row.get("data") or {}
        for video in {row["video"], *(row.get("earlier_videos") or ())} & gathered.keys():
            found = gathered[video]
            _put(found.labels, row.get("labels") or (), MOST_LABELS)
            _put(found.titles, [row.get("title") or data.get("title")], MOST_KEPT)
            for name, texts in stated_texts(data, row.get("licence")).items():
                _put(found.stated.setdefault(name, {}), texts, MOST_STATED)
            if row["video"] == video:
                found.priorities.add(row.get("priority") or 0)
    return {video: Annotations(found.facts(), max(found.priorities, default=0)) for video, found in gathered.items()}


def facts_of(record: SourceRecord, video: StoredVideo) -> IngestFacts:
    """Return what is known of a new video from the source that gave it."""
    return IngestFacts(
        path=video.path,
        size_bytes=video.size_bytes,
        modified_ns=video.modified_ns,
        referenced=video.referenced,
        names=(video.file_name,) if video.file_name else (),
        urls=(video.url,) if video.url else (),
        labels=distinct(record.labels, MOST_LABELS),
        titles=distinct([record.title or (record.data.title if record.data else "")]),
        source_data=stated_by(record),
    )


def stated_by(record: SourceRecord) -> dict[str, tuple[str, ...]]:
    """Return what the site of a source says (see `IngestFacts.source_data`)."""
    return stated_texts(record.data.model_dump() if record.data else {}, record.licence)


def in_order_of_addition(
    sources: Collection[Document], videos: Sequence[str], fields: Document | None = None
) -> Iterable[Document]:
    """Return the sources that lead to one of `videos` or did before, oldest first."""
    query = {"$or": [{"video": {"$in": list(videos)}}, {"earlier_videos": {"$in": list(videos)}}]}
    return sources.find(query, fields).sort([("first_seen", 1), ("_id", 1)]).allow_disk_use(True)


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
