"""Notes that something below a watched folder has changed, so that an unchanged one is not listed again and again.

The file system says so (inotify and the like, through watchfiles) to a thread of this process. Where it cannot, on
network file systems or when the limit of inotify is reached, a folder always counts as changed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from vidpipe.errors import readable
from vidpipe.safe_files import network_file_system

log = logging.getLogger(__name__)

#: Between two looks at what the file system has reported.
_STEP_MS = 500
#: A folder without changes is known to be watched after this time.
_TIMEOUT_MS = 2000


@dataclass
class _Folder:
    """A folder that is watched.

    Attributes:
        identity: Device and inode: a folder that is replaced is another one.
        changes: Times that something below it has changed.
        listed: Value of `changes` when it was listed last.
        reliable: Changes are noticed.
    """

    identity: tuple[int, int]
    changes: int = 0
    listed: int = -1
    reliable: bool = False
    stop: threading.Event = field(default_factory=threading.Event)


class FolderChanges:
    """Watches folders, each in a thread, until `keep` leaves them out."""

    def __init__(self) -> None:
        self._folders: dict[Path, _Folder] = {}

    def keep(self, folders: Collection[Path]) -> None:
        """Stop watching all but `folders`."""
        for folder in self._folders.keys() - folders:
            self._folders.pop(folder).stop.set()

    def changes(self, folder: Path) -> int:
        """Return a number that is greater once something below has changed. The first call starts to watch.

        Raises:
            OSError: There is no such folder.
        """
        stat = os.stat(folder)
        identity = (stat.st_dev, stat.st_ino)
        known = self._folders.get(folder)
        if known is None or known.identity != identity:
            if known is not None:
                known.stop.set()
            known = self._folders[folder] = _Folder(identity)
            if kind := network_file_system(folder):
                log.info(
                    "%s is on %s, which reports no changes; it is listed at intervals", readable(str(folder)), kind
                )
            else:
                threading.Thread(target=_watch, args=(folder, known), name="folder", daemon=True).start()
        return known.changes

    def is_due(self, folder: Path) -> bool:
        """Return whether something may have changed since the folder was listed."""
        known = self._folders[folder]
        return not known.reliable or known.changes != known.listed

    def listed(self, folder: Path, changes: int) -> None:
        """Record that the folder was listed after `changes`, and nothing in it is left for the next time."""
        self._folders[folder].listed = changes


def _watch(folder: Path, state: _Folder) -> None:
    import watchfiles  # when the first folder is watched

    try:
        for found in watchfiles.watch(
            folder, watch_filter=None, stop_event=state.stop, step=_STEP_MS, rust_timeout=_TIMEOUT_MS,
            yield_on_timeout=True, raise_interrupt=False, force_polling=False, ignore_permission_denied=True,
        ):  # fmt: skip
            if found or not state.reliable:  # what changed before it was watched was not reported
                state.changes += 1
                state.reliable = True
    except Exception as error:
        shown = readable(f"{folder}: {error}")
        log.warning("changes in a folder are not reported; it is listed at intervals: %s", shown)
    finally:
        state.reliable = False
