"""GridFS: files in the library's MongoDB.

A file is visible once its document is written, after all its chunks. Each upload has an identifier of its own, which
begins with the key and grows with time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bson import ObjectId
from gridfs import GridFSBucket

from vidpipe.library.connection import Connection
from vidpipe.settings import Settings
from vidpipe.storage.object_store import Progress, StoredObject
from vidpipe.storage.stores import Stores
from vidpipe.storage.verified_store import PART_BYTES, VerifiedStore

GRIDFS = "gridfs"
#: No upload takes longer: older chunks that belong to no file are what a killed process left behind.
_LONGEST_UPLOAD = timedelta(days=1)


def all_stores(settings: Settings, connection: Connection) -> Stores:
    """Return the stores of a library, GridFS included."""
    return Stores(settings, {GRIDFS: lambda: GridFSStore(connection)})


class GridFSStore(VerifiedStore):
    """The GridFS bucket CollectionName_media."""

    def __init__(self, connection: Connection, part_bytes: int = PART_BYTES) -> None:
        self.url, self.part_bytes, name = GRIDFS, part_bytes, connection.collection("media").name
        self._files = GridFSBucket(connection.database, bucket_name=name)
        self._chunks = connection.database[f"{name}.chunks"]

    def _find(self, key: str) -> StoredObject | None:
        return next((found for found in self._list(key) if found.key == key), None)

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        name = f"{key}#{ObjectId()}"
        stream = self._files.open_upload_stream_with_id(name, key, metadata={"sha256": sha256})
        try:
            for data in self._blocks(file, sha256, progress):
                stream.write(data)
            stream.close()
        except BaseException:
            stream.abort()
            raise
        self._remove(key, older_than=name)

    def _remove(self, key: str, older_than: str) -> None:
        """Delete the former versions of a file, and what killed uploads left behind."""
        for file in self._files.find({"filename": key, "_id": {"$lt": older_than}}):
            self._files.delete(file._id)
        abandoned = f"{key}#{ObjectId.from_datetime(datetime.now(UTC) - _LONGEST_UPLOAD)}"
        self._chunks.delete_many({"files_id": {"$gte": f"{key}#", "$lt": abandoned}})

    def _range(self, key: str, start: int, length: int) -> bytes:
        with self._files.open_download_stream_by_name(key) as file:
            file.seek(start)
            return bytes(file.read(length))

    def _delete(self, key: str) -> None:
        for file in self._files.find({"filename": key}):
            self._files.delete(file._id)
        self._chunks.delete_many({"files_id": {"$gte": f"{key}#", "$lt": f"{key}$"}})

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        within = {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}
        last = ""
        for file in self._files.find({"filename": within}).sort([("filename", 1), ("_id", -1)]):
            if file.filename != last:
                last = file.filename
                yield StoredObject(last, file.length, file.metadata["sha256"], file.upload_date)
