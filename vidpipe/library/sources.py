"""The sources' records in MongoDB: what ingest keeps of each URL (the store that `vidpipe.ingest.records` asks for)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection

from vidpipe.ingest.records import SourceRecord, StoredVideo
from vidpipe.library.schema import Document
from vidpipe.library.states import chunked
from vidpipe.library.videos import Videos
from vidpipe.stages.contract import IngestFacts


class Sources:
    def __init__(self, collections: Mapping[str, Collection[Document]], videos: Videos) -> None:
        self._sources = collections["sources"]
        self._videos = videos

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        found: dict[str, SourceRecord] = {}
        for chunk in chunked(ids):
            for row in self._sources.find({"_id": {"$in": chunk}}):
                found[row["_id"]] = _record(row)
        return found

    def save(self, record: SourceRecord) -> None:
        plain = record.model_dump(mode="python", exclude={"id"})
        self._sources.replace_one({"_id": record.id}, {"_id": record.id, **plain}, upsert=True)

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """The video first, so that a source never names one that is not there."""
        facts = IngestFacts(
            path=video.path,
            size_bytes=video.size_bytes,
            modified_ns=video.modified_ns,
            referenced=video.referenced,
            names=(video.file_name,) if video.file_name else (),
            urls=(video.url,) if video.url else (),
        )
        self._videos.add(video.sha256, facts)
        self.save(record)

    def in_state(self, *states: str) -> Iterator[SourceRecord]:
        for row in self._sources.find({"state": {"$in": list(states)}}).sort("last_fetched", -1):
            yield _record(row)

    def counts(self) -> dict[str, int]:
        """state -> number of sources."""
        return {
            row["_id"]: row["n"] for row in self._sources.aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
        }


def _record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord.model_validate({"id": row["_id"], **row})
