"""The sources' records in MongoDB: what ingest keeps of each URL (the store that `vidpipe.ingest.records` asks for)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as Names
from functools import partial
from typing import Any

from pymongo import ReturnDocument, UpdateOne
from pymongo.collection import Collection

from vidpipe.ingest.records import SAID, SourceRecord, StoredVideo
from vidpipe.library.annotations import annotations_of, distinct
from vidpipe.library.schema import MOST_LABELS, Document
from vidpipe.library.video_ids import chunked
from vidpipe.library.videos import Videos
from vidpipe.stages.contract import IngestFacts

#: Fields of a source that are copied to its video.
_OF_VIDEOS = frozenset({"labels", "title", "priority"})


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
        if record.video is not None and not _OF_VIDEOS.isdisjoint(said):
            self._ride_out(partial(self.annotate, [record.video, *record.earlier_videos]))

    def _save(self, record: SourceRecord, said: Names[str]) -> Document:
        """Returns the `_OF_VIDEOS` fields as they are stored now."""
        plain = record.model_dump(mode="python", exclude={"id"})
        kept = {name: plain.pop(name) for name in SAID - set(said)}
        now = self._sources.find_one_and_update(
            {"_id": record.id}, {"$set": plain, "$setOnInsert": kept}, dict.fromkeys(_OF_VIDEOS, 1),
            upsert=True, return_document=ReturnDocument.AFTER,
        )  # fmt: skip
        assert now is not None  # noqa: S101  (it was inserted where there was none)
        return now

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """Stores the video first, so that a source never names a missing one. Does not read the video's other sources,
        of which there may be tens of thousands."""
        facts = IngestFacts(
            path=video.path,
            size_bytes=video.size_bytes,
            modified_ns=video.modified_ns,
            referenced=video.referenced,
            names=(video.file_name,) if video.file_name else (),
            urls=(video.url,) if video.url else (),
            labels=distinct(record.labels, MOST_LABELS),
            titles=distinct([record.title]),
        )
        new = self._ride_out(partial(self._videos.add, video.sha256, facts))
        now = self._ride_out(partial(self._save, record, ()))
        said = (tuple(now.get("labels") or ()), now.get("title"), now.get("priority"))
        if said != (record.labels, record.title, record.priority):  # a list was edited meanwhile
            self._ride_out(partial(self.annotate, [video.sha256, *record.earlier_videos]))
            return
        if record.priority or not new:
            self._ride_out(partial(self._rank, video.sha256))
        for former in record.earlier_videos[-1:]:
            self._ride_out(partial(self._rank, former))

    def _rank(self, video: str) -> None:
        """Gives the video the highest priority of the sources that give it today."""
        of_video: Document = {"video": video}
        first = self._sources.find_one(of_video, {"priority": 1}, sort=[("priority", -1)]) or {}
        priority = first.get("priority") or 0
        if priority < 0 and self._sources.find_one({**of_video, "priority": None}, {"_id": 1}):
            priority = 0
        self._collection_of_videos.bulk_write([_ranked(video, priority)])

    def annotate(self, videos: Iterable[str]) -> None:
        """Gives each video the labels and titles of its sources, and the highest priority; 0 is not written."""
        for chunk in chunked(videos):
            found = self._videos.annotate(chunk, partial(annotations_of, self._sources, chunk))
            changes = [_ranked(video, said.priority) for video, said in found.items()]
            self._collection_of_videos.bulk_write(changes, ordered=False)

    def in_state(self, *states: str) -> Iterator[SourceRecord]:
        for row in self._sources.find({"state": {"$in": list(states)}}).sort("last_fetched", -1):
            yield _record(row)

    def counts(self) -> dict[str, int]:
        """state -> number of sources."""
        return {
            row["_id"]: row["n"] for row in self._sources.aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
        }


def _ranked(video: str, priority: int) -> UpdateOne:
    if priority:
        return UpdateOne({"_id": video, "priority": {"$ne": priority}}, {"$set": {"priority": priority}})
    return UpdateOne({"_id": video, "priority": {"$exists": True}}, {"$unset": {"priority": ""}})


def _record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord.model_validate({"id": row["_id"], **row})
