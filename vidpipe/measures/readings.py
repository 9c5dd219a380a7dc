"""All figures of a home at one moment, as far as they can be had within a bounded time."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pymongo

from vidpipe.errors import SettingsError
from vidpipe.library.connection import Connection
from vidpipe.measures.kept import Kept, Taken
from vidpipe.measures.library_figures import ANSWER_LIMIT_S, LibraryFigures, connected, read_library
from vidpipe.runner.plan import Plan
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

if TYPE_CHECKING:
    from vidpipe.pipeline.run_queue import QueueFigures

#: Longest wait for one reading of the library. One that takes longer goes on; the page shows the figures before it.
_READ_LIMIT_S = 120.0
_FRESH_S = 5.0
#: All the page waits for; Prometheus gives a page ten seconds.
PATIENCE_S = 6.0


@dataclass(frozen=True)
class Readings:
    """Parts that cannot be had are None, or empty.

    settings_ok: config.ini can be read; where not, the figures are those of the settings before
    ages_s:      part -> seconds since it was read
    costs_s:     part -> seconds that took
    """

    mongodb_up: bool
    dagster_up: bool
    settings_ok: bool
    library: LibraryFigures | None = None
    queue: QueueFigures | None = None
    free_bytes: Mapping[str, int] = field(default_factory=dict)
    ages_s: Mapping[str, float] = field(default_factory=dict)
    costs_s: Mapping[str, float] = field(default_factory=dict)


class Home:
    """Reads the figures of one home; settings, rules and prompts are read anew each time. Safe for several threads.

    load: gives today's settings; raises SettingsError for what is wrong in them
    """

    def __init__(self, load: Callable[[], Settings], graph: StageGraph) -> None:
        self._load = load
        self._graph = graph
        self._settings = load()
        self._settings_ok = True
        self._connected = ExitStack()
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._instance: Any = None
        self._answer = Kept("MongoDB", self._ask, least_s=1.0, share=1.0)
        self._library = Kept("the library", self._read_library, least_s=_FRESH_S)
        self._queue = Kept("Dagster", self._read_queue, least_s=_FRESH_S)

    def readings(self, patience_s: float = PATIENCE_S) -> Readings:
        """What there is after at most `patience_s` seconds."""
        deadline = time.monotonic() + patience_s
        answer = self._answer.get(min(patience_s, ANSWER_LIMIT_S + 1))
        up = answer is not None and bool(answer.value) and answer.age_s < ANSWER_LIMIT_S + 1
        library = self._library.get(deadline - time.monotonic()) if up else None
        queue = self._queue.get(deadline - time.monotonic())
        parts: dict[str, Taken[Any] | None] = {"library": library, "dagster": queue}
        known = {name: taken for name, taken in parts.items() if taken is not None and taken.value is not None}
        return Readings(
            mongodb_up=up,
            dagster_up=queue is not None and queue.value is not None,
            settings_ok=self._settings_ok,
            library=library.value if library else None,
            queue=queue.value if queue else None,
            free_bytes=self._free_bytes(),
            ages_s={name: taken.age_s for name, taken in known.items()},
            costs_s={name: taken.cost_s for name, taken in known.items()},
        )

    def close(self) -> None:
        with self._lock:
            self._disconnect()
        if self._instance is not None:
            self._instance.dispose()

    def _ask(self) -> bool:
        """Whether the server answers. A server that does not is looked for anew: the embedded one may have moved."""
        try:
            with pymongo.timeout(ANSWER_LIMIT_S):
                self._connect().client.admin.command("ping")
        except Exception:
            with self._lock:
                self._disconnect()
            raise
        return True

    def _connect(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._connected.enter_context(connected(self._settings))
            return self._connection

    def _disconnect(self) -> None:
        self._connected.close()
        self._connection = None

    def _read_library(self) -> LibraryFigures:
        try:
            settings = self._load()
            self._settings_ok = True
        except SettingsError:
            settings, self._settings_ok = self._settings, False
        if settings.mongodb != self._settings.mongodb:
            with self._lock:
                self._disconnect()
        self._settings = settings
        plan = Plan.make(self._graph, settings)
        try:
            with pymongo.timeout(_READ_LIMIT_S):
                return read_library(self._connect(), plan)
        finally:
            plan.close()

    def _read_queue(self) -> QueueFigures:
        from vidpipe.pipeline.instance import instance
        from vidpipe.pipeline.run_queue import queue_figures

        if self._instance is None:
            self._instance = instance(self._settings)
        return queue_figures(self._instance)

    def _free_bytes(self) -> dict[str, int]:
        settings = self._settings
        folders = {
            "data": settings.data_directory, "media": settings.media_directory, "derived": settings.derived_directory,
        }  # fmt: skip
        return {name: shutil.disk_usage(folder).free for name, folder in folders.items() if folder.is_dir()}
