"""Stores in folders: real further places for files."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import Settings
from vidpipe.storage.object_store import NoSuchObject, Progress, StoredObject, StoreError
from vidpipe.storage.stores import Stores

OTHER = "s3://other/media"
COLD = "s3://cold"


class FolderStore:
    """Objects as files below a folder. Like most stores, it keeps no hash."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    def path(self, key: str) -> Path:
        return self.folder / key

    def put(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        if progress.cancelled.is_set():
            raise FetchCancelled
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise StoreError(f"{file.name} has other bytes.", kind="permanent")
        place = self.path(key)
        if place.is_file() and place.read_bytes() == data:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{uuid.uuid4().hex}")
        part.write_bytes(data)
        os.replace(part, place)

    def stat(self, key: str) -> StoredObject | None:
        path = self.path(key)
        if not path.exists():
            return None
        return StoredObject(key, path.stat().st_size, "", datetime.fromtimestamp(path.stat().st_mtime, UTC))

    def get(self, key: str, file: Path, progress: Progress) -> str:
        data = self.read(key, 0, 1 << 40)
        file.write_bytes(data)
        return hashlib.sha256(data).hexdigest()

    def read(self, key: str, start: int, length: int) -> bytes:
        try:
            return self.path(key).read_bytes()[start : start + length]
        except FileNotFoundError:
            raise NoSuchObject(self.url, key) from None

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        for path in sorted(self.folder.rglob("*")):
            key = path.relative_to(self.folder).as_posix()
            if path.is_file() and key.startswith(prefix) and not path.name.startswith("."):
                yield StoredObject(key, path.stat().st_size, "", datetime.fromtimestamp(path.stat().st_mtime, UTC))


def folder_stores(settings: Settings) -> Stores:
    """The local folders, and two further stores in the home."""
    return Stores(
        settings,
        {
            **{url: lambda url=url: FolderStore(url, settings.home / url.replace("/", "_")) for url in (OTHER, COLD)},
        },  # type: ignore[misc]
    )
