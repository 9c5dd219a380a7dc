"""The local cache of remote stores: which of the files in the folders of [Paths] may be deleted again, and when.

    data/cache/media+ab+abcdef….mp4     an entry: its size in bytes; its modification time is its last use
               admission.lock           held while room is made

An entry counts with its full size from before its download starts until its file is deleted, so all processes together
stay within CacheMB. A lock on the entry, shared by readers and exclusive for a download, ends with its process. Files
without an entry (of the store `local`, referenced, not uploaded yet) are no cache and are never deleted.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import IO

from filelock import FileLock

from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import Settings
from vidpipe.storage.local_store import LocalStore
from vidpipe.storage.object_store import StoreError

_POLL_S, _LOCK = 0.05, "admission.lock"


class MediaCache:
    """The cache of one home. Its only state is in files, so all processes and threads share it.

    Args:
        settings: Those in force.

    Attributes:
        path: Returns the place of an object's file, or of a pack's folder.
        limit_bytes: CacheMB of [Storage].
    """

    def __init__(self, settings: Settings) -> None:
        self.path = LocalStore(settings).path
        self._folder = settings.data_directory / "cache"
        self.limit_bytes = settings.storage.cache_mb * 1_000_000

    def entry(self, key: str) -> Path:
        """Return the path of an object's entry, which exists if its file is, or is going to be, cached."""
        return self._folder / key.replace("/", "+")

    def hold(self, key: str) -> IO[bytes] | None:
        """Keep a cached file until the returned handle is closed, and note that it is used.

        Returns:
            None if it is not cached, or is being downloaded or deleted.
        """
        with suppress(FileNotFoundError):
            entry = self.entry(key).open("rb")
            # a deleted entry, opened before, has no name any more
            if _locked(entry, fcntl.LOCK_SH) and os.fstat(entry.fileno()).st_nlink and self.path(key).exists():
                os.utime(entry.fileno(), ns=(time.time_ns(),) * 2)  # the kernel's own time is coarse
                return entry
            entry.close()
        return None

    def fetch(self, key: str, size_bytes: int, download: Callable[[Path], None], cancelled: Event) -> IO[bytes]:
        """Keep a file like `hold`, downloaded first if it is not cached. Of several processes, one downloads it.

        Waits while the files that others hold leave no room.

        Args:
            key: Of the object.
            size_bytes: Size of the file; of a pack, all that it may take.
            download: Called with a temporary file, which may hold a part from an interrupted download. Puts the
                complete file in its place.
            cancelled: Ends the wait.

        Raises:
            StoreError: It is larger than the cache, or `download` raised it.
            FetchCancelled: `cancelled` was set.
        """
        if size_bytes > self.limit_bytes:
            message = f"{key} needs {size_bytes / 1e6:,.0f} MB, more than the local cache may hold ([Storage] CacheMB)."
            raise StoreError(message, "Increase CacheMB in config.ini.", kind="permanent")
        while (held := self.hold(key)) is None:
            with self._reserved(key, size_bytes) as reserved:
                if reserved and not self.path(key).exists():
                    part = self._part(key)
                    part.mkdir(parents=True, exist_ok=True)
                    download(part / self.path(key).name)
                    shutil.rmtree(part)
            if not reserved and cancelled.wait(_POLL_S):
                raise FetchCancelled
        return held

    def used_bytes(self) -> int:
        """Return what the cached files take, and those that are being downloaded."""
        with FileLock(self._folder / _LOCK):
            return sum(int(entry.read_text() or 0) for entry in self._folder.iterdir() if entry.name != _LOCK)

    def adopt(self, key: str, size_bytes: int) -> None:
        """Make a file, which its store has by now, a part of the cache; delete it if there is no room."""
        with self._reserved(key, size_bytes) as reserved:
            if reserved is False:
                self._delete(key)

    def discard(self, key: str) -> bool:
        """Delete a cached file, if there is one. Returns False if someone holds it."""
        with FileLock(self._folder / _LOCK):
            return self._evict(self.entry(key))

    def discard_video(self, sha256: str) -> None:
        """Delete all that is cached of a video, also what someone holds."""
        with FileLock(self._folder / _LOCK):
            for entry in self._folder.glob(f"*{sha256}*"):
                if not self._evict(entry):
                    self._delete(entry.name.replace("+", "/"))
                    entry.unlink()

    @contextmanager
    def _reserved(self, key: str, size_bytes: int) -> Iterator[bool | None]:
        """Reserve room, and lock the entry; yields False if there is none, and None if another holds the entry."""
        with FileLock(self._folder / _LOCK):
            entry = self.entry(key).open("a")
            reserved = self._make_room(key, size_bytes) if _locked(entry, fcntl.LOCK_EX) else None
            if reserved:
                self.entry(key).write_text(str(size_bytes))
        with entry:
            yield reserved

    def _make_room(self, key: str, size_bytes: int) -> bool:
        """Delete the least recently used files until there is room for one more."""
        others = [entry for entry in self._folder.iterdir() if entry.name not in (_LOCK, self.entry(key).name)]
        entries = sorted((entry.stat().st_mtime_ns, int(entry.read_text() or 0), entry) for entry in others)
        used = size_bytes + sum(size for _, size, _ in entries)
        for _, size, entry in entries:
            if used > self.limit_bytes and self._evict(entry):
                used -= size
        return used <= self.limit_bytes

    def _evict(self, entry: Path) -> bool:
        with suppress(FileNotFoundError), entry.open("rb") as opened:
            if not _locked(opened, fcntl.LOCK_EX):
                return False
            if entry.stat().st_size:  # otherwise no room was made for the file
                self._delete(entry.name.replace("+", "/"))
            entry.unlink()
        return True

    def _part(self, key: str) -> Path:
        """Return the folder, beside a file, for what is incomplete or about to be deleted."""
        return self.path(key).with_name(f".cached-{self.path(key).name}")

    def _delete(self, key: str) -> None:
        """Delete a file or folder, in one step for its readers, and parts of it."""
        shutil.rmtree(self._part(key), ignore_errors=True)
        if self.path(key).exists():
            self._part(key).mkdir()
            self.path(key).rename(self._part(key) / "old")
            shutil.rmtree(self._part(key))


def _locked(entry: IO[bytes] | IO[str], kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(entry, kind | fcntl.LOCK_NB)
        return True
    return False
