"""Lets the sensors of a process share one Dagster instance and one connection to MongoDB.

For each tick of a sensor that has resources, Dagster opens its instance, which takes 20 ms of processor time, and
connecting to MongoDB takes 8 ms. The sensors themselves need a few milliseconds, and tick every 5 s.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pymongo.errors import PyMongoError

from vidpipe.errors import UnavailableError
from vidpipe.library import server_clock
from vidpipe.library.connection import Connection, connect
from vidpipe.library.library import Library
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME
from vidpipe.stages.graph import StageGraph


def with_shared_connections(sensor: dg.SensorDefinition, home: str) -> dg.SensorDefinition:
    """Return `sensor` with an instance and a library of `home` that stay open between ticks.

    Where a test provides the instance, it gets what the test provides.
    """

    def evaluate(context: dg.SensorEvaluationContext) -> Any:
        if context.instance_ref is None:
            return sensor(context)
        reference = context.instance_ref
        instance = _shared(home).get("instance", reference, lambda: dg.DagsterInstance.from_ref(reference))
        resources = {"library": SharedLibraryResource(home=home)}
        with dg.build_sensor_context(
            instance, cursor=context.cursor, sensor_name=sensor.name, resources=resources
        ) as opened:
            return sensor(opened)

    target: dict[str, Any] = {"jobs": sensor.jobs} if sensor.has_jobs else {}
    if sensor.targets and not target:
        target = {"job_name": sensor.job_name}
    return dg.SensorDefinition(
        sensor.name,
        evaluation_fn=evaluate,
        minimum_interval_seconds=sensor.minimum_interval_seconds,
        description=sensor.description,
        default_status=sensor.default_status,
        **target,
    )


class _SharedHome:
    """What the sensors of a home keep between ticks; Dagster makes a new copy of a resource for each tick."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[Any, Any]] = {}

    def get(self, name: str, key: Any, make: Any) -> Any:
        """Return what `make` returned for the same `key` before, or call it."""
        with self._lock:
            if name not in self._kept or self._kept[name][0] != key:
                self._kept[name] = key, make()
            return self._kept[name][1]

    def forget(self, name: str) -> None:
        """Make `get` call `make` again. Other threads may be using what was kept, so it is not closed."""
        with self._lock:
            self._kept.pop(name, None)


_shared = cache(lambda home: _SharedHome())  # one for each home


class SharedLibraryResource(LibraryResource):
    """The library on a connection that is kept until the server becomes unavailable or other settings name another."""

    def settings(self) -> Settings:
        """Return today's settings, read again when one of their files has changed."""
        files = [Path(self.home) / name for name in (CONFIG_NAME, LOCAL_CONFIG_NAME)]
        settings: Settings = _shared(self.home).get("settings", [_facts(file) for file in files], super().settings)
        return settings

    @contextmanager
    def opened(self, graph: StageGraph, settings: Settings | None = None) -> Iterator[Library]:
        """Yield the library of `graph`. Raises UnavailableError if MongoDB cannot be reached."""
        today, shared = settings or self.settings(), _shared(self.home)
        try:
            connection: Connection = shared.get("connection", today.mongodb, lambda: connect(today))
            server_clock.synchronize(connection.client)
            yield Library(connection, today, graph)
        except (UnavailableError, PyMongoError):
            shared.forget("connection")
            raise


def _facts(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = os.stat(file)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
