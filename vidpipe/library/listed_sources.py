"""Sources by the watched lists that name them: what a list says is written, what it no longer names is let go, and what
is due is found by priority."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection

from vidpipe.ingest.dependencies import Dependencies
from vidpipe.ingest.records import SAID, ListedSource, SourceRecord
from vidpipe.library.schema import Document
from vidpipe.library.sources import Sources
from vidpipe.library.video_ids import chunked

_WRITTEN_AT_ONCE = 1000
#: What a source begins with.
_BLANK = SourceRecord(id="", url="").model_dump(
    exclude={"id", "url", "has_secret", "fragment_dropped", "kind", "first_seen", *SAID}
)
#: No priority is 0. One range after the other, each in the order of the index.
_PRIORITIES: tuple[Document, ...] = ({"$gt": 0}, {"$in": [0, None]}, {"$lt": 0})


@dataclass(frozen=True)
class DueSource:
    id: str
    priority: int


class ListedSources:
    def __init__(self, collections: Mapping[str, Collection[Document]], sources: Sources) -> None:
        self._sources = collections["sources"]
        self._meta = collections["meta"]
        self._annotate = sources.annotate

    def save_many(self, name: str, listed: Iterable[ListedSource], *, folder: str | None = None) -> int:
        """Writes what the list `name` says; gives how many sources are new.

        Safe to repeat. A source that is known keeps its state; labels, titles and priorities of its videos follow.
        folder: id of the watched folder in which the sources were found; those that a list names itself stay as they
                are
        """
        new = 0
        for chunk in _portions(listed):
            now = datetime.now(UTC)
            if folder is not None:
                unnamed = {"_id": {"$in": [one.id for one in chunk]}, "lists": []}
                self._sources.update_many(unnamed, {"$set": {"folder": folder}})
            result = self._sources.bulk_write([_change(name, one, folder, now) for one in chunk], ordered=False)
            inserted = result.upserted_ids or {}
            new += len(inserted)
            if len(inserted) < len(chunk):
                self._annotate_videos_of([one.id for position, one in enumerate(chunk) if position not in inserted])
        return new

    def drop(self, name: str, ids: Iterable[str]) -> None:
        """The list `name` no longer names these: they are not fetched again; their videos stay. What was found in
        a folder that went goes with it."""
        for chunk in chunked(ids, _WRITTEN_AT_ONCE):
            gone = {"_id": {"$in": chunk}}
            self._sources.update_many({"lists": name, **gone}, {"$pull": {"lists": name}})
            folders = [
                row["_id"] for row in self._sources.find({**gone, "kind": "s3", "url": {"$regex": "/$"}}, {"_id": 1})
            ]
            if folders:
                self._sources.update_many({"lists": name, "folder": {"$in": folders}}, {"$pull": {"lists": name}})

    def forget(self, name: str) -> None:
        """The file `name` is watched no longer."""
        self._sources.update_many({"lists": name}, {"$pull": {"lists": name}})
        self._meta.delete_one({"_id": f"list:{name}"})

    def again(self, ids: Iterable[str]) -> None:
        """These files changed: they are due again, whatever became of them before."""
        settled = {"state": {"$in": ["stored", "failed", "refused"]}}
        for chunk in chunked(ids):
            self._sources.update_many(
                {"_id": {"$in": chunk}, **settled}, {"$set": {"state": "new", "failures": 0, "next_try_at": None}}
            )

    def ids(self, name: str) -> Iterator[str]:
        """Of the sources that the list itself names; those of S3 folders in it are left out."""
        for row in self._sources.find({"lists": name, "folder": None}, {"_id": 1}, batch_size=10_000):
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
        """At most `limit` due sources that one of the lists `names` names, the highest priority first.

        Due are those in `states`; the failed ones and folders whose next look has come; and those whose failure
        depended on something that is different `today`.
        held: ids to be left out
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
        """Remembers something about the list itself: problems of its lines, when it was read."""
        self._meta.update_one({"_id": f"list:{name}"}, {"$set": fields}, upsert=True)

    def reports(self) -> dict[str, Document]:
        """list -> what is remembered of it."""
        return {row.pop("_id").removeprefix("list:"): row for row in self._meta.find({"_id": {"$regex": "^list:"}})}

    def problems(self) -> Iterator[tuple[str, str]]:
        """(where, sentence) of what cannot be read in the watched lists: whole files, lines, files they name."""
        for _, report in sorted(self.reports().items()):
            for field in ("file_problems", "line_problems", "local_problems"):
                yield from ((where, sentence) for where, sentence in report.get(field, ()))

    def _annotate_videos_of(self, ids: Iterable[str]) -> None:
        for chunk in chunked(ids):
            rows = self._sources.find(
                {"_id": {"$in": chunk}, "video": {"$ne": None}}, {"video": 1, "earlier_videos": 1}
            )
            self._annotate({video for row in rows for video in (row["video"], *row.get("earlier_videos", ()))})


def _changed(today: Dependencies) -> list[Document]:
    """The queries for sources of which `Dependencies.changed_for` is true."""
    differs = [{"name": name, "value": {"$ne": value}} for name, value in today.values.items()]
    changed = {"blocked_by": {"$elemMatch": {"$or": differs}}}
    return [
        {"state": "failed", **changed},
        {"state": "refused", **changed},
        {"state": "failed", "needed_bytes": {"$lte": today.spare_bytes}},
    ]


def _portions(listed: Iterable[ListedSource]) -> Iterator[list[ListedSource]]:
    portion: list[ListedSource] = []
    for one in listed:
        portion.append(one)
        if len(portion) == _WRITTEN_AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion


def _change(name: str, one: ListedSource, folder: str | None, now: datetime) -> UpdateOne:
    said: Document = {"title": one.title, "labels": list(one.labels), "priority": one.priority}
    new = {
        **_BLANK,
        "url": one.url,
        "has_secret": one.has_secret,
        "fragment_dropped": one.fragment_dropped,
        "kind": one.kind,
        "first_seen": now,
    }
    if not one.edited:
        new.update((field, value) for field, value in said.items() if value in (None, []))
        said = {field: value for field, value in said.items() if value not in (None, [])}
    if folder is None:
        said["folder"] = None
    else:
        new["folder"] = folder
    change: Document = {"$setOnInsert": new, "$addToSet": {"lists": name}}
    if said:
        change["$set"] = said
    return UpdateOne({"_id": one.id}, change, upsert=True)
