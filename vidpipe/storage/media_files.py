"""The files that stages and pages read: on this disk, whichever store holds them.

With a remote store, the folders of [Paths] are its cache: a file has the same path either way, so results do not depend
on the store.
"""

import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import IO

from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack, partial_folder
from vidpipe.settings import Settings
from vidpipe.storage.cache import MediaCache
from vidpipe.storage.object_store import (
    DROPPED,
    LOCAL,
    NoSuchObject,
    Progress,
    StoredObject,
    StoreError,
    media_key,
    pack_key,
)
from vidpipe.storage.places import MediaPlace, MediaPlaces
from vidpipe.storage.stores import Stores

_NEVER = Event()
#: A pack takes up to this multiple of its archive: both while it is extracted, later its storyboard.
_PACK_SHARE = 2


class DroppedError(StoreError):
    """The file was deleted on purpose after processing, and has to be fetched again with the user's consent."""

    def __init__(self, sha256: str) -> None:
        message = f"The file of video {sha256[:12]} was deleted after processing (KeepOriginals = no)."
        hint = "`vidpipe run --refetch` downloads it again from its source; RefetchMB allows that automatically."
        super().__init__(message, hint, kind="permanent")


class MediaFiles:
    """The files of one library.

    Args:
        settings: Those in force.
        places: Where its videos are stored; None: in the local folders.
        stores: The stores.

    Attributes:
        cache: The local cache of remote stores.
    """

    def __init__(self, settings: Settings, places: MediaPlaces | None = None, stores: Stores | None = None) -> None:
        self._settings = settings
        self._places = places
        self._stores = stores or Stores(settings)
        self.cache = MediaCache(settings)

    @contextmanager
    def video(self, sha256: str, path: str, cancelled: Event = _NEVER) -> Iterator[Path]:
        """Give the file of a video, downloaded if it is not on this disk, and kept there meanwhile.

        Args:
            sha256: The video.
            path: Path of its file as stored (`raw_video.path`).
            cancelled: Stops a download, and the wait for room.

        Yields:
            Its path. If its store is local, the file may be missing; the caller reports that.

        Raises:
            StoreError: It cannot be downloaded.
            DroppedError: It was dropped.
            FetchCancelled: `cancelled` was set.
        """
        key, file = media_key(sha256, Path(path).suffix), self._settings.resolve(path)
        with self._held(sha256, key, file, cancelled) or nullcontext() as held:
            yield self.cache.path(key) if held else file

    def pack(self, sha256: str, reference: PackReference, cancelled: Event = _NEVER) -> FramePack:
        """Return a frame pack, downloaded if it is not on this disk, and kept there as long as the object exists.

        Raises:
            MediaError: It is missing or damaged.
            StoreError: It cannot be downloaded.
            FetchCancelled: `cancelled` was set.
        """
        key, folder = pack_key(sha256, reference.version), self._settings.resolve(reference.path)
        held = self._held(sha256, key, folder, cancelled, reference.version)
        pack = FramePack(self.cache.path(key) if held else folder)
        if held:
            weakref.finalize(pack, held.close)
        return pack

    def store_of(self, sha256: str, version: str = "") -> str:
        """Return the URL of the store that holds a video's file, "local" or "dropped"; or that of a pack's version."""
        place = self._place(sha256)
        return place.packs.get(version, LOCAL) if version else place.media

    def stored(self, sha256: str, path: str) -> StoredObject | None:
        """Return a video's file in a remote store; None if it is not there. Raises StoreError."""
        url, key = self.store_of(sha256), media_key(sha256, Path(path).suffix)
        return None if url in (LOCAL, DROPPED) else self._stores.of(url).stat(key)

    def keep_video(self, sha256: str, path: Path, cancelled: Event = _NEVER) -> str:
        """Store the file of a new video, which is complete at its place on this disk, where [Storage] Media says.

        A known video stays in its store; if its file was dropped or lost, it is stored again.

        Returns:
            URL of the store. That of a new video is recorded with it.

        Raises:
            StoreError: It cannot be stored.
            FetchCancelled: `cancelled` was set.
        """
        place = self._places.find(sha256) if self._places else None
        url = self._settings.storage.media if place is None or place.media == DROPPED else place.media
        if url != LOCAL:
            key, size_bytes = media_key(sha256, path.suffix), path.stat().st_size
            self._stores.of(url).put(key, path, sha256, Progress(cancelled=cancelled))
            self.cache.adopt(key, size_bytes)
        if self._places and place and place.media != url:
            self._places.note(sha256, "media", url, place.media)
        return url

    def keep_pack(self, sha256: str, reference: PackReference, cancelled: Event = _NEVER) -> None:
        """Store a new frame pack, which is complete at its place on this disk.

        Raises:
            StoreError: It cannot be stored.
            OSError: Its archive cannot be written.
            FetchCancelled: `cancelled` was set.
        """
        url, progress = self._settings.storage.media, Progress(cancelled=cancelled)
        if url == LOCAL or self._places is None:
            return
        key, folder = pack_key(sha256, reference.version), self._settings.resolve(reference.path)
        # an equal pack may be cached already
        with self.cache.hold(key) or nullcontext(), partial_folder(folder.parent) as temporary:
            archive = temporary / "pack.tar"
            digest = self._stores.of(LOCAL).get(key, archive, progress)
            self._stores.of(url).put(key, archive, digest, progress)
            size_bytes = _PACK_SHARE * archive.stat().st_size
        self._places.note(sha256, f"packs.{reference.version}", url)
        self.cache.adopt(key, size_bytes)

    def delete_pack(self, sha256: str, version: str) -> bool:
        """Delete a pack from its store, unless that is local, and from the cache. Returns False if it is in use.

        Raises:
            StoreError: The store rejects it or cannot be reached.
        """
        key, url = pack_key(sha256, version), self.store_of(sha256, version)
        if self._places is None or url == LOCAL:
            return True
        if not self.cache.discard(key):
            return False
        self._stores.of(url).delete(key)
        self._places.note(sha256, f"packs.{version}", LOCAL)
        return True

    def _place(self, sha256: str) -> MediaPlace:
        return self._places.get(sha256) if self._places else MediaPlace()

    def _held(self, sha256: str, key: str, path: Path, cancelled: Event, version: str = "") -> IO[bytes] | None:
        """Keep a video's file, or the pack with this version, in the cache; None if it is stored locally."""
        held = self.cache.hold(key)
        if held or (not self.cache.entry(key).exists() and path.exists()):
            return held
        url = self.store_of(sha256, version)
        if url == LOCAL:
            return None
        if url == DROPPED:
            raise DroppedError(sha256)
        store, progress = self._stores.of(url), Progress(cancelled=cancelled)
        found = store.stat(key)
        if found is None:
            raise NoSuchObject(url, key)

        def download(file: Path) -> None:
            digest, expected = store.get(key, file, progress), found.sha256 if version else sha256
            if expected and digest != expected:
                file.unlink()
                raise StoreError(f"{key} in {url} has other bytes than were stored.", "Run `vidpipe store verify`.")
            if version:
                self._stores.of(LOCAL).put(key, file, digest, progress)
            else:
                os.utime(file, ns=(time.time_ns(), self._place(sha256).modified_ns))
                file.replace(self.cache.path(key))

        size_bytes = found.size_bytes * (_PACK_SHARE if version else 1)
        return self.cache.fetch(key, size_bytes, download, cancelled)
