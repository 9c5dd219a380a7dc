"""The open library of a server, opened again when settings, rules or prompts change."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from vidpipe.datasets.duplicates.library import KeptMatches
from vidpipe.errors import VidpipeError
from vidpipe.operations.kept_home import KeptHome, OpenHome
from vidpipe.operations.proxies import Proxies
from vidpipe.settings import Settings

log = logging.getLogger(__name__)

#: How often settings and rules are looked at, and how often the search index catches up: while much changes, less
#: often, so that it takes about a twentieth of the time.
_LOOK_S, _CATCH_UP_S, _LONGEST_PAUSE_S = 2.0, 1.0, 10.0


class WebHome(KeptHome):
    """The library of a server. Its settings of the start hold for the server itself.

    Args:
        load: Returns the settings in force.
        config: The file that they are read from instead of config.ini.

    Attributes:
        proxies: Playable copies of videos.
        duplicates: Which videos match.
    """

    def __init__(self, load: Callable[[], Settings], config: Path | None = None) -> None:
        super().__init__(load, log.info, _LOOK_S, config)
        self.proxies = Proxies(lambda: self.opened().library)
        self.duplicates = KeptMatches()
        self._catching_up = threading.Lock()
        self._caught_up_at = self._changed_at = self._pause_s = 0.0

    def catch_up(self) -> None:
        """Let the next search wait for the latest changes, which the user made."""
        self._changed_at = time.monotonic()

    def _open(self, seen: str) -> None:
        """Open the library. If changed settings or rules are invalid, it stays open as it was before."""
        try:
            super()._open(seen)
        except VidpipeError as error:
            if self.current is None:
                raise
            log.warning("settings or rules changed, but cannot be used: %s", error)
            self._seen = seen
        else:
            self.catch_up()

    def searchable(self) -> OpenHome:
        """Return the open library with its search index caught up, if that did not happen a moment ago."""
        opened = self.opened()
        # Only the first request waits: while the index catches up, others are answered from what is there.
        if self._catching_up.acquire(blocking=self._caught_up_at <= self._changed_at):
            try:
                began = time.monotonic()
                if began - self._caught_up_at > self._pause_s or self._caught_up_at <= self._changed_at:
                    opened.index.refresh()
                    self._caught_up_at = began
                    self._pause_s = min(max(_CATCH_UP_S, 20 * (time.monotonic() - began)), _LONGEST_PAUSE_S)
            finally:
                self._catching_up.release()
        return opened

    def close(self) -> None:
        """Close the library, and end what makes playable copies."""
        self.proxies.close()
        super().close()


async def _home(request: Request) -> WebHome:  # async: a thread for it would cost more than what it does
    home: WebHome = request.app.state.home
    return home


#: Parameters of endpoints: the server's library; opened; and with a search index that is up to date.
Home = Annotated[WebHome, Depends(_home)]


def _opened(home: Home) -> OpenHome:
    return home.opened()


def _searchable(home: Home) -> OpenHome:
    return home.searchable()


Opened = Annotated[OpenHome, Depends(_opened)]
Searchable = Annotated[OpenHome, Depends(_searchable)]
