"""Collections to files, in mongodump's directory format: gzipped BSON, and the options and indexes as extended JSON.

Others may write meanwhile. What names something is read after the thing it must not miss, or together with it:
sources before videos (a source that says "stored" names a video that is there), each video with exactly the scenes of
the generation that its document names, answers and lineage after the videos that were made from them.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from vidpipe.library.backups.manifest import DumpedCollection, HashingFile, Part

Document = dict[str, Any]
Result = TypeVar("Result")
RideOut = Callable[[Callable[[], list[RawBSONDocument]]], list[RawBSONDocument]]

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)
#: The faster end: BSON of text still shrinks to a quarter.
_COMPRESSION = 3
_PAGE = 1000
_VIDEOS_AT_ONCE = 100
_WITHOUT_LEASE = {"lease": 0}


class CollectionWriter:
    """One collection's file."""

    def __init__(self, folder: Path, below: str, name: str) -> None:
        self._below = below
        self._folder = folder
        self._name = name
        self._file = HashingFile(folder / below / f"{name}.bson.gz")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=_COMPRESSION, mtime=0)
        self.documents = 0

    def write(self, documents: Sequence[RawBSONDocument]) -> None:
        self._gzip.write(b"".join(document.raw for document in documents))
        self.documents += len(documents)

    def close(self, options: str) -> tuple[DumpedCollection, dict[str, Part]]:
        """options: what stands in the metadata file. Gives what the manifest says of the collection, and its parts."""
        self._gzip.close()
        file = f"{self._below}/{self._name}.bson.gz"
        parts = {file: self._file.close()}
        beside = f"{self._below}/{self._name}.metadata.json.gz"
        parts[beside] = write_gzip(self._folder / beside, options.encode())
        return DumpedCollection(file=file, documents=self.documents), parts

    def abandon(self) -> None:
        self._file.abandon()


def write_gzip(path: Path, content: bytes) -> Part:
    file = HashingFile(path)
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(content)
    return file.close()


@contextmanager
def writer(folder: Path, below: str, name: str) -> Iterator[CollectionWriter]:
    made = CollectionWriter(folder, below, name)
    try:
        yield made
    except BaseException:
        made.abandon()
        raise


def metadata(collection: Collection[Document]) -> str:
    """The metadata file of a collection: its indexes, as the server lists them."""
    listed: list[Any] = [dict(index) for index in collection.list_indexes()]
    said = {"indexes": listed, "collectionName": collection.name, "type": "collection"}
    return json_util.dumps(said, json_options=json_util.CANONICAL_JSON_OPTIONS)


def pages(collection: Collection[Document], ride_out: RideOut) -> Iterator[list[RawBSONDocument]]:
    """Every document, by _id. Not by one cursor: it would die with the server it reads from."""
    raw = collection.with_options(codec_options=RAW)
    query: Document = {}
    while page := ride_out(partial(_read, raw, query, limit=_PAGE)):
        yield page
        query = {"_id": {"$gt": page[-1]["_id"]}}


def _read(
    collection: Collection[RawBSONDocument], query: Document, fields: Document | None = None, limit: int = 0
) -> list[RawBSONDocument]:
    """In the order of the _id."""
    return list(collection.find(query, fields).sort("_id", 1).limit(limit))


def videos_with_scenes(
    videos: Collection[Document], scenes: Collection[Document], stages: Sequence[str], ride_out: RideOut
) -> Iterator[tuple[list[RawBSONDocument], list[RawBSONDocument]]]:
    """Batches of videos, without leases, and the scenes that they name.

    A commit writes scenes first and removes those it replaced last. So a generation that a video still names after its
    scenes were read was read whole; the videos that name another one by then are read again.
    stages: those whose results are kept in the scenes
    """
    raw_videos, raw_scenes = (one.with_options(codec_options=RAW) for one in (videos, scenes))
    last = ""
    while page := ride_out(partial(_read, raw_videos, {"_id": {"$gt": last}}, _WITHOUT_LEASE, _VIDEOS_AT_ONCE)):
        last = page[-1]["_id"]
        while page:
            named = {video["_id"]: _named(video, stages) for video in page}
            rows = _scenes_of(raw_scenes, named, ride_out)
            now = _named_now(raw_videos, list(named), stages, ride_out)
            again = [sha256 for sha256 in named if now.get(sha256) != named[sha256]]
            if again:
                page = [video for video in page if video["_id"] not in again]
                rows = [row for row in rows if row["video"] not in again]
            yield page, rows
            page = ride_out(partial(_read, raw_videos, {"_id": {"$in": again}}, _WITHOUT_LEASE)) if again else []


#: The scenes that a video's document names, and the commits that may have changed them and changed them back.
_Named = tuple[Any, ...]


def _named(video: Mapping[str, Any], stages: Sequence[str]) -> _Named:
    entries = video.get("stages", {})
    return (video.get("scene_generation"), *(entries.get(stage, {}).get("commit") for stage in stages))


def _named_now(
    videos: Collection[RawBSONDocument], ids: list[str], stages: Sequence[str], ride_out: RideOut
) -> dict[str, _Named]:
    fields = {"scene_generation": 1, **{f"stages.{stage}.commit": 1 for stage in stages}}
    found = ride_out(partial(_read, videos, {"_id": {"$in": ids}}, fields))
    return {row["_id"]: _named(row, stages) for row in found}


def _scenes_of(
    scenes: Collection[RawBSONDocument], named: Mapping[str, _Named], ride_out: RideOut
) -> list[RawBSONDocument]:
    wanted = [{"video": sha256, "generation": generation} for sha256, (generation, *_) in named.items() if generation]
    return ride_out(partial(_read, scenes, {"$or": wanted})) if wanted else []
