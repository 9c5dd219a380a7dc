"""Collections out of the files of a back-up."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import bson
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, ReplaceOne, WriteConcern
from pymongo.database import Database

from vidpipe.library import collection_swap
from vidpipe.library.backups.dump import RAW, Document
from vidpipe.library.backups.manifest import BackupError, Follower, Manifest
from vidpipe.library.schema_setup import LOCK
from vidpipe.library.video_ids import VideoIds

_BATCH = 1000
_BATCH_BYTES = 16_000_000
#: Not for a library that is loaded: who was just working on its shape, and what was read of lists that may differ.
_DROPPED_FROM_META = (LOCK, collection_swap.MARKER)
_LIST_REPORT = "list:"
#: What a commit wrote first may be this much older than the video's document that names it.
_LONGEST_COMMIT = timedelta(minutes=10)


def documents(path: Path) -> Iterator[RawBSONDocument]:
    """The documents of a gzipped BSON file. Raises BackupError where it cannot be read to its end."""
    try:
        with gzip.open(path, "rb") as file:
            yield from bson.decode_file_iter(cast(IO[bytes], file), RAW)
    except (OSError, EOFError, zlib.error, BSONError) as error:
        raise BackupError(f"The back-up is damaged: {path}: {error}.", "Name another back-up.") from error


def load(
    database: Database[Document],
    names: Mapping[str, str],
    folder: Path,
    manifest: Manifest,
    follower: Follower,
) -> VideoIds:
    """Loads every collection into `names`, which are empty but for `meta`; gives the videos' ids.

    Leases are left out. Raises BackupError where a file holds less than the manifest says, Stopped.
    """
    ids = VideoIds()
    for name in names:
        collection = manifest.collections.get(name)
        if name == "meta" or collection is None:
            continue
        # The last rename, or the marker, waits until all of it is on the disks that have to have it.
        target = database[names[name]].with_options(write_concern=WriteConcern(w=1))
        count = 0
        for batch in _batches(documents(folder / collection.file)):
            follower.check()
            inserts: list[Any] = [InsertOne(document) for document in batch]
            target.bulk_write(inserts, ordered=False)
            if name == "videos":
                _note(ids, batch, folder / collection.file)
            count += len(batch)
            follower.progress(name, count, collection.documents)
        if count != collection.documents:
            raise BackupError(
                f"The back-up is damaged: {collection.file} holds {count} documents instead of {collection.documents}.",
                "Name another back-up.",
            )
    database[names["videos"]].update_many({"lease": {"$exists": True}}, {"$unset": {"lease": ""}})
    _load_meta(database, names["meta"], folder / manifest.collections["meta"].file)
    return ids


def _note(ids: VideoIds, videos: list[RawBSONDocument], file: Path) -> None:
    try:
        ids.extend(video["_id"] for video in videos)
    except (TypeError, ValueError) as error:
        raise BackupError(f"{file} is not as vidpipe writes it: {error}.", "Name another back-up.") from None


def _load_meta(database: Database[Document], name: str, file: Path) -> None:
    rows: list[Any] = [
        ReplaceOne({"_id": row["_id"]}, row, upsert=True)
        for row in documents(file)
        if row["_id"] not in _DROPPED_FROM_META and not str(row["_id"]).startswith(_LIST_REPORT)
    ]
    database[name].bulk_write(rows)


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


def drop_unfinished(database: Database[Document], names: Mapping[str, str], manifest: Manifest) -> None:
    """Removes lineage of commits that came after their video had been read for the back-up."""
    lineage, videos = database[names["lineage"]], database[names["videos"]]
    late = lineage.find(
        {"at": {"$gte": manifest.began_at - _LONGEST_COMMIT}, "video": {"$exists": True}},
        {"video": 1, "stage": 1, "at": 1},
    )
    while rows := list(islice(late, _BATCH)):
        ids = sorted({row["video"] for row in rows})
        stages = {row["_id"]: row["stages"] for row in videos.find({"_id": {"$in": ids}}, {"stages": 1})}
        unnamed = [row["_id"] for row in rows if _is_unnamed(row, stages.get(row["video"]))]
        if unnamed:
            lineage.delete_many({"_id": {"$in": unnamed}})


def _is_unnamed(row: Document, stages: Mapping[str, Any] | None) -> bool:
    if stages is None:  # its video came in later
        return True
    at = stages.get(row.get("stage", ""), {}).get("at")
    return at is None or row["at"] > at
