"""The sources' records in MongoDB: what ingest keeps of each URL (the store that `vidpipe.ingest.records` asks for)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Names
from functools import partial
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection

from vidpipe.ingest.records import SAID, SourceRecord, StoredVideo
from vidpipe.library.annotations import annotations_of, distinct
from vidpipe.library.schema import Document
from vidpipe.library.states import chunked
from vidpipe.library.videos import Videos
from vidpipe.stages.contract import IngestFacts


class Sources:
    def __init__(
        self,
        collections: Mapping[str, Collection[Document]],
        videos: Videos,
        ride_out: Callable[[Callable[[], Any]], Any] = lambda operation: operation(),
    ) -> None:
        self._ride_out = ride_out
        self._sources = collections["sources"]
        self._collection_of_videos = collections["videos"]
        self._videos = videos

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        found: dict[str, SourceRecord] = {}
        for chunk in chunked(ids):
            for row in self._ride_out(partial(self._rows, chunk)):
                found[row["_id"]] = _record(row)
        return found

    def _rows(self, ids: list[str]) -> list[Document]:
        return list(self._sources.find({"_id": {"$in": ids}}))

    def save(self, record: SourceRecord, said: Names[str] = ()) -> None:
        """What lists say of a known source (`SAID`) stays as it is, except for the fields named in `said`."""
        self._ride_out(partial(self._save, record, said))

    def _save(self, record: SourceRecord, said: Names[str]) -> None:
        plain = record.model_dump(mode="python", exclude={"id"})
        kept = {name: plain.pop(name) for name in SAID - set(said)}
        self._sources.update_one({"_id": record.id}, {"$set": plain, "$setOnInsert": kept}, upsert=True)
        if record.video is not None and not {"labels", "title", "priority"}.isdisjoint(said):
            self.annotate([record.video, *record.earlier_videos])

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """The video first, so that a source never names one that is not there."""
        facts = IngestFacts(
            path=video.path,
            size_bytes=video.size_bytes,
            modified_ns=video.modified_ns,
            referenced=video.referenced,
            names=(video.file_name,) if video.file_name else (),
            urls=(video.url,) if video.url else (),
            labels=distinct(record.labels),
            titles=distinct([record.title]),
        )
        self._ride_out(partial(self._videos.add, video.sha256, facts))
        self.save(record)
        self._ride_out(partial(self.annotate, [video.sha256, *record.earlier_videos]))

    def annotate(self, videos: Iterable[str]) -> None:
        """Gives each video the labels and titles of its sources, and the highest priority; 0 is not written."""
        for chunk in chunked(videos):
            found = self._videos.annotate(chunk, partial(annotations_of, self._sources, chunk))
            changes = [
                UpdateOne({"_id": video, "priority": {"$ne": said.priority}}, {"$set": {"priority": said.priority}})
                if said.priority
                else UpdateOne({"_id": video, "priority": {"$exists": True}}, {"$unset": {"priority": ""}})
                for video, said in found.items()
            ]
            self._collection_of_videos.bulk_write(changes, ordered=False)

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
