"""The files that stages and pages read: on this disk, whichever store holds them.

With a remote store, the folders of [Paths] are its cache: a file has the same path either way, so results do not depend
on the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vidpipe.media.facts import PackReference
from vidpipe.media.frame_pack import FramePack, pack_exists
from vidpipe.settings import Settings
from vidpipe.storage.object_store import StoreError
from vidpipe.storage.places import MediaPlaces
from vidpipe.storage.stores import Stores


class DroppedError(StoreError):
    """The file was deleted on purpose after processing, and has to be fetched again with the user's consent."""

    def __init__(self, sha256: str) -> None:
        super().__init__(
            f"The file of video {sha256[:12]} was deleted after processing (KeepOriginals = no).",
            "`vidpipe run --refetch` downloads it again from its source; RefetchMB allows that automatically.",
            kind="permanent",
        )


class MediaFiles:
    """The files of one library.

    Args:
        settings: Those in force.
        places: Where its videos are stored; None: in the local folders.
        stores: The stores.
    """

    def __init__(self, settings: Settings, places: MediaPlaces | None = None, stores: Stores | None = None) -> None:
        self._settings = settings
        self._places = places
        self._stores = stores or Stores(settings)

    @contextmanager
    def video(
        self,
        sha256: str,
        path: str,
        cancelled: threading.Event | None = None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Iterator[Path]:
        """Give the file of a video, downloaded if it is not on this disk, and kept there meanwhile.

        Args:
            sha256: The video.
            path: Path of its file as stored (`raw_video.path`).
            cancelled: Stops a download.
            on_progress: Called with the share, 0 to 1, that is downloaded.

        Yields:
            Its path. If its store is local, the file may be missing; the caller reports that.

        Raises:
            StoreError: It cannot be downloaded.
            DroppedError: It was dropped.
            FetchCancelled: `cancelled` was set.
        """
        yield self._settings.resolve(path)

    def pack(self, sha256: str, reference: PackReference) -> FramePack:
        """Return a frame pack, downloaded if it is not on this disk.

        Raises:
            MediaError: It is missing or damaged.
            StoreError: It cannot be downloaded.
        """
        return FramePack.open(self._settings, reference)

    def pack_folder(self, sha256: str, reference: PackReference) -> Path:
        """Return the folder of a frame pack, for its thumbnails. Raises like `pack`."""
        return self._settings.resolve(reference.path)

    def has_pack(self, sha256: str, reference: PackReference) -> bool:
        """Return whether a pack is stored somewhere, at the cost of a stat."""
        return pack_exists(self._settings, reference)

    def keep_video(self, sha256: str, path: Path) -> None:
        """Store the file of a new video, which is complete at its place on this disk, where [Storage] Media says.

        Raises:
            StoreError: It cannot be stored.
        """

    def keep_pack(self, sha256: str, reference: PackReference) -> None:
        """Store a new frame pack, which is complete at its place on this disk. Raises StoreError."""
