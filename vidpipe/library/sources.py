"""Records of sources in MongoDB, and which watched list names which source.

Implements the stores of `vidpipe.sources.records`.
"""

from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pymongo import ReturnDocument, UpdateOne

from vidpipe.library.annotations import annotations_of, facts_of, in_order_of_addition, stated_by
from vidpipe.library.retry import Retry
from vidpipe.library.schema import FORGOTTEN_SOURCE, MOST_LABELS, Collections, Document
from vidpipe.library.videos import Videos, chunked
from vidpipe.sources.failures import Dependencies
from vidpipe.sources.records import USER_FIELDS, DueSource, ListedSource, SourceRecord, StoredVideo

#: Fields of a source that are copied to its video.
_OF_VIDEOS = frozenset({"labels", "title", "priority", "licence"})
_LABELED = dict.fromkeys(("video", "earlier_videos", "labels"), 1)
_WRITTEN_AT_ONCE = 1000
#: Fields of a new source.
_NEW_SOURCE = SourceRecord(id="", url="").model_dump(
    exclude={"id", "url", "has_secret", "fragment_dropped", "kind", "first_seen", *USER_FIELDS}
)
#: No priority is 0. One range after the other, each in the order of the index.
_PRIORITIES: tuple[Document, ...] = ({"$gt": 0}, {"$in": [0, None]}, {"$lt": 0})


class Sources:
    """The records of sources (a `SourceStore`)."""

    def __init__(self, collections: Collections, videos: Videos, retry: Retry) -> None:
        self._retry = retry
        self._sources = collections["sources"]
        self._tombstones = collections["tombstones"]
        self._collection_of_videos = collections["videos"]
        self._videos = videos

    def get_many(self, ids: Sequence[str]) -> dict[str, SourceRecord]:
        """Return the known ones of `ids`."""
        found: dict[str, SourceRecord] = {}
        for chunk in chunked(ids):
            for row in self._retry(partial(self._rows, chunk)):
                found[row["_id"]] = _record(row)
        return found

    def _rows(self, ids: list[str]) -> list[Document]:
        return list(self._sources.find({"_id": {"$in": ids}}))

    def save(self, record: SourceRecord, user_fields: Names[str] = ()) -> None:
        """Write a record; of a known source, `USER_FIELDS` are kept except for those in `user_fields`."""
        self._retry(partial(self._save, record, user_fields))
        if record.video is not None and not _OF_VIDEOS.isdisjoint(user_fields):
            self._retry(partial(self.annotate, [record.video, *record.earlier_videos]))

    def _save(self, record: SourceRecord, user_fields: Names[str]) -> Document:
        """Return the `_OF_VIDEOS` fields as they are stored now."""
        fields = record.model_dump(mode="python", exclude={"id"})
        kept = {name: fields.pop(name) for name in USER_FIELDS - set(user_fields)}
        now = self._sources.find_one_and_update(
            {"_id": record.id},
            {"$set": fields, "$setOnInsert": kept},
            dict.fromkeys(_OF_VIDEOS, 1),
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert now is not None  # noqa: S101  (it was inserted if there was none)
        return now

    def forgotten(self, sha256: str, *, recall: bool) -> str | None:
        """Return when a video was forgotten, as words; None if it was not. `recall` lets it be added again."""
        take = self._tombstones.find_one_and_delete if recall else self._tombstones.find_one
        found = None if self._videos.get(sha256) else self._retry(lambda: take({"_id": sha256}))
        return found and (f" on {found['forgotten_at']:%Y-%m-%d}" if "forgotten_at" in found else "")

    def record_stored(self, record: SourceRecord, video: StoredVideo) -> None:
        """Store the video, then its source, so that a source never refers to a missing video.

        The video's other sources, of which there may be tens of thousands, are not read.
        """
        facts = facts_of(record, video)
        new = self._retry(partial(self._videos.add, video.sha256, facts, video.store))
        known = None if new else self.get_many([record.id]).get(record.id)
        now = self._retry(partial(self._save, record, ()))
        if not new:
            self._retry(partial(self._videos.source_added, video.sha256))
        stored = (tuple(now.get("labels") or ()), *(now.get(name) for name in ("title", "priority", "licence")))
        edited = stored != (record.labels, record.title, record.priority, record.licence)  # in its list, meanwhile
        if edited or (known and known.video == video.sha256 and stated_by(known) != facts.source_data):
            self._retry(partial(self.annotate, [video.sha256, *record.earlier_videos]))
            return
        if record.priority or not new:
            self._retry(partial(self._rank, video.sha256))
        for former in record.earlier_videos[-1:]:
            self._retry(partial(self._rank, former))

    def _rank(self, video: str) -> None:
        """Give the video the highest priority of the sources that give it now."""
        of_video: Document = {"video": video}
        first = self._sources.find_one(of_video, {"priority": 1}, sort=[("priority", -1)]) or {}
        priority = first.get("priority") or 0
        if priority < 0 and self._sources.find_one({**of_video, "priority": None}, {"_id": 1}):
            priority = 0
        self._collection_of_videos.bulk_write([_ranked(video, priority)])

    def annotate(self, videos: Iterable[str]) -> None:
        """Give each video what its sources say, and the highest priority; 0 is not written."""
        for chunk in chunked(videos):
            found = self._videos.annotate(chunk, partial(annotations_of, self._sources, chunk))
            changes = [_ranked(video, annotations.priority) for video, annotations in found.items()]
            self._collection_of_videos.bulk_write(changes, ordered=False)

    def relabel(self, videos: Iterable[str], add: Sequence[str] = (), remove: Sequence[str] = ()) -> int:
        """Change the labels of the sources that lead to the videos, or did before, and thereby those of the videos.

        Labels are added to the sources that lead to a video now, and removed in whatever case. When an edited list
        gives a source other labels, those replace these.

        Returns:
            The number of videos with such a source.
        """
        changed = 0
        for chunk in chunked(videos):
            chosen, relabeled = set(chunk), set[str]()
            for row in in_order_of_addition(self._sources, chunk, _LABELED):
                relabeled |= self._retry(partial(self._relabel, row, chosen, add, remove))
            changed += len(relabeled & chosen)
            self._retry(partial(self.annotate, sorted(chosen | relabeled)))
        return changed

    def _relabel(self, row: Document, chosen: set[str], add: Sequence[str], remove: Sequence[str]) -> set[str]:
        """Change the labels of one source, and return its videos if they are others now."""
        gone = {label.casefold() for label in remove}
        while True:
            before = row.get("labels") or []
            after = [label for label in before if label.casefold() not in gone]
            known = {label.casefold() for label in after}
            if row["video"] in chosen:
                after += [label for label in add if label.casefold() not in known]
            if after == before:
                return set()
            unchanged = {"_id": row["_id"], "labels": row.get("labels")}
            if self._sources.update_one(unchanged, {"$set": {"labels": after[:MOST_LABELS]}}).matched_count:
                return {video for video in (row["video"], *(row.get("earlier_videos") or ())) if video}
            row = self._sources.find_one({"_id": row["_id"]}, _LABELED) or {**row, "labels": after}

    def in_state(self, *states: str) -> Iterator[SourceRecord]:
        """Yield the sources in these states, the last fetched first."""
        for row in self._sources.find({"state": {"$in": list(states)}}).sort("last_fetched", -1):
            yield _record(row)

    def latest(self, state: str | None, *, after: str | None, limit: int) -> list[SourceRecord]:
        """Return at most `limit` sources, the first seen last, from the one with the id `after` on."""
        query: Document = {"state": state} if state else {}
        last = self._sources.find_one({"_id": after}, {"first_seen": 1}) if after else None
        if last is not None:
            earlier = {"first_seen": {"$lt": last["first_seen"]}}
            query["$or"] = [earlier, {"first_seen": last["first_seen"], "_id": {"$lt": after}}]
        rows = self._sources.find(query).sort([("first_seen", -1), ("_id", -1)]).limit(limit)
        return [_record(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return the number of sources by state."""
        return {
            row["_id"]: row["n"] for row in self._sources.aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
        }


def _ranked(video: str, priority: int) -> UpdateOne:
    if priority:
        return UpdateOne({"_id": video, "priority": {"$ne": priority}}, {"$set": {"priority": priority}})
    return UpdateOne({"_id": video, "priority": {"$exists": True}}, {"$unset": {"priority": ""}})


def _record(row: Mapping[str, Any]) -> SourceRecord:
    return SourceRecord.model_validate({"id": row["_id"], **row})


class ListedSources:
    """Which watched list names which source, and which of these sources are due (a `DueSourceStore`)."""

    def __init__(self, collections: Collections, sources: Sources) -> None:
        self._sources = collections["sources"]
        self._meta = collections["meta"]
        self._annotate = sources.annotate

    def save_many(self, name: str, listed: Iterable[ListedSource], *, folder: str | None = None) -> int:
        """Write entries of the list `name`; return the number of new sources.

        Known sources keep their state; labels, titles and priorities of their videos follow.

        Args:
            name: Of the list.
            listed: Its entries.
            folder: Id of the watched folder in which the sources were found; sources that a list names itself are not
                changed by it.
        """
        new = 0
        for chunk in chunked(listed, _WRITTEN_AT_ONCE):
            now = datetime.now(UTC)
            if folder is not None:
                unnamed = {"_id": {"$in": [one.id for one in chunk]}, "lists": []}
                self._sources.update_many(unnamed, {"$set": {"folder": folder}})
            result = self._sources.bulk_write([_change(name, one, folder, now) for one in chunk], ordered=False)
            inserted = result.upserted_ids or {}
            new += len(inserted)
            if len(inserted) < len(chunk):
                known = {"_id": {"$in": [one.id for one in chunk]}, "state": "forgotten"}
                self._sources.update_many(known, FORGOTTEN_SOURCE)  # nothing of the list's entry is kept
                self._annotate_videos_of([one.id for position, one in enumerate(chunk) if position not in inserted])
        return new

    def drop(self, name: str, ids: Iterable[str]) -> None:
        """Remove sources from the list `name`: they are not fetched again, and their videos are kept.

        The objects of a removed folder are removed with it, and the segments of a source that no list names any more.
        """
        for chunk in chunked(ids, _WRITTEN_AT_ONCE):
            gone = {"_id": {"$in": chunk}}
            self._sources.update_many({"lists": name, **gone}, {"$pull": {"lists": name}})
            self._sources.update_many({"lists": name, "folder": {"$in": chunk}}, {"$pull": {"lists": name}})
            self._sources.update_many({"lists": [], **gone}, {"$set": {"segments": []}})

    def forget(self, name: str) -> None:
        """Remove the list `name`: the file is no longer watched."""
        self._sources.update_many({"lists": name}, {"$pull": {"lists": name}})
        self._meta.delete_one({"_id": f"list:{name}"})

    def again(self, ids: Iterable[str]) -> None:
        """Make sources due again, whatever their state, because their files have changed."""
        settled = {"state": {"$in": ["stored", "failed", "refused", "gone"]}}
        for chunk in chunked(ids):
            self._sources.update_many(
                {"_id": {"$in": chunk}, **settled}, {"$set": {"state": "new", "failures": 0, "next_try_at": None}}
            )

    def ids(self, name: str, folder: str | None = None) -> Iterator[str]:
        """Yield the ids of the sources that the list itself names, or of those found in a folder or playlist in it."""
        for row in self._sources.find({"lists": name, "folder": folder}, {"_id": 1}, batch_size=10_000):
            yield row["_id"]

    def due(
        self,
        names: Sequence[str],
        *,
        limit: int,
        held: Names[str] = (),
        states: Sequence[str] = ("new", "fetching"),
        today: Dependencies | None = None,
    ) -> list[DueSource]:
        """Return the due sources of watched lists, the highest priority first.

        Due are new sources and those whose process died; failed ones and folders whose next attempt has come; and those
        whose failure depended on something that is different now.

        Args:
            names: Of the lists.
            limit: Maximum number of sources.
            held: Ids that are left out.
            states: Sources in these states are due at any time.
            today: What failures can depend on.
        """
        now = datetime.now(UTC)
        conditions: list[Document] = [{"state": state} for state in states]
        conditions += [{"state": state, "next_try_at": {"$lte": now}} for state in ("failed", "listed")]
        conditions += _changed(today) if today is not None else []
        found: dict[str, int] = {}
        for priorities in _PRIORITIES:
            in_range: dict[str, int] = {}
            for name in names:
                for condition in conditions:
                    query = {"lists": name, **condition, "priority": priorities}
                    if held:
                        query["_id"] = {"$nin": list(held)}
                    rows = self._sources.find(query, {"priority": 1}).hint("watched").sort("priority", -1).limit(limit)
                    in_range.update({row["_id"]: row.get("priority") or 0 for row in rows})
            found.update(sorted(in_range.items(), key=lambda item: -item[1]))
            if len(found) >= limit:
                break
        return [DueSource(source, priority) for source, priority in list(found.items())[:limit]]

    def report(self, name: str, **fields: Any) -> None:
        """Store facts about the list itself: problems of its lines, when it was read."""
        self._meta.update_one({"_id": f"list:{name}"}, {"$set": fields}, upsert=True)

    def reports(self) -> dict[str, Document]:
        """Return what `report` stored, by list."""
        return {row.pop("_id").removeprefix("list:"): row for row in self._meta.find({"_id": {"$regex": "^list:"}})}

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (where, message) for each problem of the watched lists: files, lines, files that they name."""
        for _, report in sorted(self.reports().items()):
            for field in ("file_problems", "line_problems", "local_problems"):
                yield from ((where, message) for where, message in report.get(field, ()))

    def _annotate_videos_of(self, ids: Iterable[str]) -> None:
        for chunk in chunked(ids):
            rows = self._sources.find(
                {"_id": {"$in": chunk}, "video": {"$ne": None}}, {"video": 1, "earlier_videos": 1}
            )
            self._annotate({video for row in rows for video in (row["video"], *row.get("earlier_videos", ()))})


def _changed(today: Dependencies) -> list[Document]:
    """Return the queries for sources for which `Dependencies.changed_for` is true."""
    differs = [{"name": name, "value": {"$ne": value}} for name, value in today.values.items()]
    changed = {"blocked_by": {"$elemMatch": {"$or": differs}}}
    return [
        {"state": "failed", **changed},
        {"state": "refused", **changed},
        {"state": "failed", "needed_bytes": {"$lte": today.spare_bytes}},
    ]


def _change(name: str, one: ListedSource, folder: str | None, now: datetime) -> UpdateOne:
    user_fields = {**one.stated, "segments": tuple(segment.model_dump() for segment in one.segments)}
    identity = {field: getattr(one, field) for field in ("url", "has_secret", "fragment_dropped", "kind")}
    new = {**_NEW_SOURCE, **identity, "first_seen": now, "etag": one.etag}
    if not one.edited:
        new.update((field, value) for field, value in user_fields.items() if value in (None, ()))
        user_fields = {field: value for field, value in user_fields.items() if value not in (None, ())}
    if folder is None:
        user_fields["folder"] = None
    else:
        new["folder"] = folder
    change: Document = {"$setOnInsert": new, "$addToSet": {"lists": name}}
    if user_fields:
        change["$set"] = user_fields
    return UpdateOne({"_id": one.id}, change, upsert=True)
