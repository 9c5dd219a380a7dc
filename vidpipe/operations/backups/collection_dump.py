"""Collections to and from files in mongodump's directory format: gzipped BSON, with options as extended JSON.

Others may write during a backup. So whatever refers to something is read before what it must not miss, or together with
it: sources and verdicts before videos (a source that is "stored" refers to an existing video), each video with exactly
the scenes of the generation that its document names, answers and lineage after the videos that they were made from.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import bson
from bson import json_util
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReplaceOne, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database

from vidpipe.library import collection_swap
from vidpipe.library.changes import COUNTER
from vidpipe.library.schema import OF_THIS_SERVER, Document
from vidpipe.library.schema_setup import LOCK
from vidpipe.library.videos import VideoIds
from vidpipe.operations.backups.manifest import BackupManifest, PartFile, ProgressMonitor, damaged_backup

#: Returns documents of a collection by query, fields and limit, in the order of their _id; 0: no limit.
Read = Callable[[Collection[Document], Document, Document | None, int], list[RawBSONDocument]]

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)
_VIDEOS_AT_ONCE = 100
_WITHOUT_LEASE = {"lease": 0, "late_commit": 0}
_BATCH = 1000
_BATCH_BYTES = 16_000_000
#: Rows of `meta` that are neither saved nor restored: locks and markers of changes to the library, and the counter of
#: changes, which starts anew. Reports on watched lists are not restored either: the lists may differ.
NOT_RESTORED = (LOCK, collection_swap.MARKER, COUNTER)
_LIST_REPORT = "list:"
#: What a commit wrote first may be this much older than the video's document that refers to it.
_LONGEST_COMMIT = timedelta(minutes=10)


class CollectionFile(PartFile):
    """A new file with the documents of a collection.

    Attributes:
        documents: Their number so far.
    """

    documents = 0

    def add(self, documents: Sequence[RawBSONDocument]) -> None:
        """Add documents."""
        self.write(b"".join(document.raw for document in documents))
        self.documents += len(documents)


def metadata(collection: Collection[Document]) -> bytes:
    """Return the contents of a collection's metadata file: its indexes, as the server lists them."""
    indexes: list[Any] = [dict(index) for index in collection.list_indexes()]
    options = {"indexes": indexes, "collectionName": collection.name, "type": "collection"}
    return json_util.dumps(options, json_options=json_util.CANONICAL_JSON_OPTIONS).encode()


def pages(collection: Collection[Document], read: Read) -> Iterator[list[RawBSONDocument]]:
    """Read every document in pages by _id. A single cursor would not survive a restart of the server."""
    query: Document = {}
    while page := read(collection, query, None, _BATCH):
        yield page
        query = {"_id": {"$gt": page[-1]["_id"]}}


def videos_with_scenes(
    videos: Collection[Document], scenes: Collection[Document], stages: Sequence[str], read: Read
) -> Iterator[tuple[list[RawBSONDocument], list[RawBSONDocument]]]:
    """Read batches of videos, without leases, and the scenes that they refer to.

    A commit writes scenes first and removes those it replaced last. So a generation that a video still refers to after
    its scenes were read was read completely; videos that refer to another one by then are read again.

    Args:
        videos: The collection of videos.
        scenes: The collection of scenes.
        stages: Those whose results are stored in the scenes.
        read: Reads documents.
    """
    fields = {"scene_generation": 1, **{f"stages.{stage}.commit": 1 for stage in stages}}
    last = ""
    while page := read(videos, {"_id": {"$gt": last}}, _WITHOUT_LEASE, _VIDEOS_AT_ONCE):
        last = page[-1]["_id"]
        while page:
            named = {video["_id"]: _named(video, stages) for video in page}
            wanted = [{"video": sha256, "generation": name[0]} for sha256, name in named.items() if name[0]]
            rows = read(scenes, {"$or": wanted}, None, 0) if wanted else []
            now = {row["_id"]: _named(row, stages) for row in read(videos, {"_id": {"$in": list(named)}}, fields, 0)}
            again = [sha256 for sha256 in named if now.get(sha256) != named[sha256]]
            yield (
                [video for video in page if video["_id"] not in again],
                [row for row in rows if row["video"] not in again],
            )
            page = read(videos, {"_id": {"$in": again}}, _WITHOUT_LEASE, 0) if again else []


def _named(video: Mapping[str, Any], stages: Sequence[str]) -> tuple[Any, ...]:
    """The generation of scenes that a video refers to, and the commits that may have changed it and changed it back."""
    entries = video.get("stages", {})
    return (video.get("scene_generation"), *(entries.get(stage, {}).get("commit") for stage in stages))


def documents(path: Path) -> Iterator[RawBSONDocument]:
    """Read a gzipped BSON file.

    Raises:
        BackupError: It is damaged.
    """
    try:
        with gzip.open(path, "rb") as file:
            yield from bson.decode_file_iter(cast(IO[bytes], file), RAW)
    except (OSError, EOFError, zlib.error, BSONError) as error:
        raise damaged_backup(f"{path}: {error}") from error


def load_collections(
    database: Database[Document],
    names: Mapping[str, str],
    folder: Path,
    manifest: BackupManifest,
    monitor: ProgressMonitor,
) -> VideoIds:
    """Load every collection of a backup, without leases.

    Args:
        database: To load into.
        names: Collection -> its name in the database, where it is empty except for `meta`.
        folder: The backup.
        manifest: Its manifest.
        monitor: Can cancel.

    Returns:
        The ids of the videos.

    Raises:
        BackupError: A file is damaged.
        BackupCancelled: The user canceled.
    """
    ids = VideoIds()
    for name in names:
        collection = manifest.collections.get(name)
        if name in ("meta", *OF_THIS_SERVER) or collection is None:
            continue
        # Fast, since the final rename or marker waits until everything is replicated.
        target = database[names[name]].with_options(write_concern=WriteConcern(w=1))
        count = 0
        for batch in _batches(documents(folder / collection.file)):
            monitor.check()
            inserts: list[Any] = [InsertOne(document) for document in batch]
            target.bulk_write(inserts, ordered=False)
            if name == "videos":
                try:
                    ids.extend(video["_id"] for video in batch)
                except (TypeError, ValueError) as error:
                    raise damaged_backup(f"{collection.file}: {error}") from None
            count += len(batch)
            monitor.progress(name, count, collection.documents)
        if count != collection.documents:
            raise damaged_backup(f"{collection.file} has {count} documents instead of {collection.documents}")
    database[names["videos"]].update_many({"lease": {"$exists": True}}, {"$unset": {"lease": ""}})
    rows: list[Any] = [
        ReplaceOne({"_id": row["_id"]}, row, upsert=True)
        for row in documents(folder / manifest.collections["meta"].file)
        if row["_id"] not in NOT_RESTORED and not str(row["_id"]).startswith(_LIST_REPORT)
    ]
    database[names["meta"]].bulk_write(rows)
    return ids


def _batches(found: Iterator[RawBSONDocument]) -> Iterator[list[RawBSONDocument]]:
    batch: list[RawBSONDocument] = []
    size_bytes = 0
    for document in found:
        batch.append(document)
        size_bytes += len(document.raw)
        if len(batch) >= _BATCH or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def drop_late_lineage(database: Database[Document], names: Mapping[str, str], manifest: BackupManifest) -> None:
    """Remove lineage of commits that were made after their video was read for the backup."""
    lineage, videos = database[names["lineage"]], database[names["videos"]]
    late = lineage.find(
        # the history of a verdict belongs to no commit
        {"at": {"$gte": manifest.began_at - _LONGEST_COMMIT}, "video": {"$exists": True}, "kind": {"$ne": "verdict"}},
        {"video": 1, "stage": 1, "at": 1},
    )
    while rows := list(islice(late, _BATCH)):
        ids = sorted({row["video"] for row in rows})
        stages = {row["_id"]: row["stages"] for row in videos.find({"_id": {"$in": ids}}, {"stages": 1})}
        late_ids = []
        for row in rows:
            # Without a video, it was added later.
            at = stages.get(row["video"], {}).get(row.get("stage", ""), {}).get("at")
            if at is None or row["at"] > at:
                late_ids.append(row["_id"])
        if late_ids:
            lineage.delete_many({"_id": {"$in": late_ids}})
