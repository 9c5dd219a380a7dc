"""From the URL of a store to the store."""

import threading
from collections.abc import Callable, Mapping

from vidpipe.errors import SettingsError
from vidpipe.settings import Settings
from vidpipe.storage.local_store import LocalStore
from vidpipe.storage.object_store import LOCAL
from vidpipe.storage.verified_store import VerifiedStore


class Stores:
    """The stores of one process, opened when they are needed.

    Args:
        settings: Those in force.
        others: Stores that need more than settings, by URL (GridFS, which is in the library's MongoDB).
    """

    def __init__(self, settings: Settings, others: Mapping[str, Callable[[], VerifiedStore]] | None = None) -> None:
        self.settings = settings
        self._others = others or {}
        self._open: dict[str, VerifiedStore] = {}
        self._lock = threading.RLock()

    def of(self, url: str) -> VerifiedStore:
        """Return the store with this URL.

        Raises:
            SettingsError: There is no such kind of store.
            UnavailableError: A package that it needs is not installed.
            StoreError: The access to it is not usable.
        """
        with self._lock:
            if url not in self._open:
                self._open[url] = self._new(url)
            return self._open[url]

    def _new(self, url: str) -> VerifiedStore:
        if url in self._others:
            return self._others[url]()
        if url == LOCAL:
            return LocalStore(self.settings)
        from vidpipe.storage.cloud_stores import CLOUD_STORES  # requests and urllib3 are slow to import

        cls = CLOUD_STORES.get(url.partition("://")[0])
        if cls is None:
            raise SettingsError(f"There is no store {url} here.", "`vidpipe store --help` shows the kinds of stores.")
        return cls(url, self.settings)
