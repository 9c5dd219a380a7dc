"""The local folders of [Paths] as a store, so that files can be moved from and to it like between any others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vidpipe.settings import Settings
from vidpipe.storage.object_store import LOCAL, Progress, StoredObject, StoreError

_BLOCK_BYTES = 1 << 20
_KEY = re.compile(r"media/[0-9a-f]{2}/[0-9a-f]{64}\.\w{1,20}|packs/[0-9a-f]{64}/[0-9a-f]{16}\.tar")


class LocalStore:
    """The media folder, and the folder of frame packs; a pack is a tar archive only while it is transferred."""

    url = LOCAL

    def __init__(self, settings: Settings) -> None:
        self._media = settings.media_directory
        self._packs = settings.derived_directory

    def path(self, key: str) -> Path:
        """Return the place of an object: a file, or the folder of a pack. Raises StoreError for an invalid key."""
        if not _KEY.fullmatch(key):
            raise StoreError(f"{key} is not a key of a stored object.", kind="permanent")
        kind, _, rest = key.partition("/")
        return self._media / rest if kind == "media" else self._packs / rest.removesuffix(".tar")

    def put(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        """Store a file (see `ObjectStore`)."""
        raise NotImplementedError

    def stat(self, key: str) -> StoredObject | None:
        """Return the object; None if there is none."""
        raise NotImplementedError

    def get(self, key: str, file: Path, progress: Progress) -> str:
        """Write an object into `file` and return the sha256 of its bytes."""
        raise NotImplementedError

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return a range of an object's bytes."""
        raise NotImplementedError

    def delete(self, key: str) -> None:
        """Delete an object."""
        raise NotImplementedError

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose keys begin with `prefix`."""
        raise NotImplementedError
