"""The open library of a server, opened again when settings, rules or prompts change."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from vidpipe.errors import VidpipeError
from vidpipe.library.library import Library
from vidpipe.runner.plan import Plan
from vidpipe.search.engine import Engine
from vidpipe.search.index import SearchIndex
from vidpipe.settings import Settings
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME
from vidpipe.stages.registry import build_graph

log = logging.getLogger(__name__)

#: How often settings and rules are looked at, and how often the search index catches up.
_LOOK_S, _CATCH_UP_S = 2.0, 1.0
#: A library that is replaced is closed after this time: no request takes longer.
_CLOSE_AFTER_S = 300.0


@dataclass(frozen=True)
class OpenHome:
    """A library as the current settings describe it.

    Attributes:
        settings: The settings.
        library: The library.
        plan: All stages under these settings, which tells how current each video is.
        engine: Answers searches.
        index: What it answers from.
    """

    settings: Settings
    library: Library
    plan: Plan
    engine: Engine
    index: SearchIndex

    def close(self) -> None:
        """Close the library."""
        self.plan.close()
        self.library.close()


class WebHome:
    """The library of a server. All threads share it.

    Args:
        load: Returns the settings in force.
        config: The file that they are read from; None: config.ini of the home.

    Attributes:
        settings: Those of the start, which hold for the server itself.
        config: The file that they are read from.
    """

    def __init__(self, load: Callable[[], Settings], config: Path | None = None) -> None:
        self._load = load
        self.settings = load()
        self.config = config or self.settings.home / CONFIG_NAME
        self._mutex = threading.Lock()
        self._catching_up = threading.Lock()
        self._opened: OpenHome | None = None
        self._seen = ""
        self._looked_at = self._caught_up_at = 0.0

    def opened(self) -> OpenHome:
        """Return the open library.

        If changed settings or rules are invalid, the library as it was before stays open; `fault` says why.

        Raises:
            VidpipeError: The library cannot be opened.
        """
        with self._mutex:
            if self._opened is None or time.monotonic() - self._looked_at > _LOOK_S:
                self._looked_at = time.monotonic()
                seen = _state_of_files(self.settings, self.config)
                if self._opened is None or seen != self._seen:
                    self._open(seen)
            assert self._opened is not None  # noqa: S101 - opened, or an error was raised
            return self._opened

    def reload(self) -> None:
        """Look at settings and rules with the next request."""
        self._looked_at = 0.0

    def catch_up(self) -> None:
        """Let the next search wait for the latest changes, which the user made."""
        self._caught_up_at = 0.0

    def _open(self, seen: str) -> None:
        try:
            settings = self._load()
            graph = build_graph(settings)
            plan = Plan.make(graph, settings)
            library = Library.open(settings, graph)
            index = SearchIndex(library, log.info)
        except VidpipeError as error:
            if self._opened is None:
                raise
            log.warning("settings or rules changed, but cannot be used: %s", error)
            self._seen = seen
            return
        former, self._opened = (
            self._opened,
            OpenHome(settings, library, plan, Engine(library, plan.specs, index), index),
        )
        self._seen, self._caught_up_at = seen, 0.0
        if former is not None:
            timer = threading.Timer(_CLOSE_AFTER_S, former.close)
            timer.daemon = True
            timer.start()

    def searchable(self) -> OpenHome:
        """Return the open library with its search index caught up, if that did not happen a moment ago."""
        opened = self.opened()
        # Only the first request waits: while the index catches up, others are answered from what is there.
        if self._catching_up.acquire(blocking=self._caught_up_at == 0.0):
            try:
                if time.monotonic() - self._caught_up_at > _CATCH_UP_S or self._caught_up_at == 0.0:
                    opened.index.refresh()
                    self._caught_up_at = time.monotonic()
            finally:
                self._catching_up.release()
        return opened

    def close(self) -> None:
        """Close the library."""
        with self._mutex:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


def _state_of_files(settings: Settings, config: Path) -> str:
    """Return a hash that changes with config.ini and the files of rules and prompts."""
    digest = hashlib.sha256()
    for path in _files(settings, config):
        with suppress(OSError):
            stat = path.stat()
            digest.update(f"{path}|{stat.st_mtime_ns}|{stat.st_size}\n".encode())
    return digest.hexdigest()


def _files(settings: Settings, config: Path) -> Iterator[Path]:
    yield config
    yield settings.home / LOCAL_CONFIG_NAME
    rules = settings.rules
    for path in (rules.custom_tag_rules, rules.priority_keywords, rules.categories, rules.questions):
        yield settings.resolve(path)
    if rules.tag_vocabulary:
        yield settings.resolve(rules.tag_vocabulary)
    yield from sorted(settings.resolve(rules.prompts).glob("*"))


def web_home(request: Request) -> WebHome:
    """Return the server's library."""
    home: WebHome = request.app.state.home
    return home


def _opened(request: Request) -> OpenHome:
    return web_home(request).opened()


def _searchable(request: Request) -> OpenHome:
    return web_home(request).searchable()


#: Parameters of endpoints: the open library, and with a search index that is up to date.
Opened = Annotated[OpenHome, Depends(_opened)]
Searchable = Annotated[OpenHome, Depends(_searchable)]
