"""Notes that something below a watched folder has changed, so that an unchanged one is not listed again and again."""

import logging
import threading
from pathlib import Path

from vidpipe.errors import readable
from vidpipe.safe_files import network_file_system

log = logging.getLogger(__name__)


class FolderChanges(threading.Thread):
    """Watches one folder until `stopped` is set.

    The file system reports changes (inotify and the like, through watchfiles). Where it does not, on network file
    systems or when a limit of inotify is reached, the folder always counts as changed.

    Attributes:
        count: Grows with each change.
        listed: Value of `count` before the folder was listed last, with nothing left for the next time.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(name="folder", daemon=True)
        self._folder, self._reliable, self.count, self.listed = folder, False, 0, -1
        self.stopped = threading.Event()
        if not network_file_system(folder):
            self.start()

    @property
    def is_due(self) -> bool:
        """Whether something may have changed since the folder was listed."""
        return not self._reliable or self.count != self.listed

    def run(self) -> None:
        """Count changes."""
        import watchfiles  # when the first folder is watched

        # The file system is asked every half second; after two without a change, the folder is known to be watched.
        try:
            for found in watchfiles.watch(
                self._folder, watch_filter=None, stop_event=self.stopped, step=500, rust_timeout=2000,
                yield_on_timeout=True, raise_interrupt=False, force_polling=False, ignore_permission_denied=False,
            ):  # fmt: skip
                self.count += bool(found) or not self._reliable  # what changed before it was watched was not reported
                self._reliable = True
        except Exception as error:
            shown = readable(f"{self._folder}: {error}")
            log.warning("changes in a watched folder are not reported; it is listed at intervals: %s", shown)
        self._reliable = False
