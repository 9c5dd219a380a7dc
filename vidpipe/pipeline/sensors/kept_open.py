"""Lets the sensors of a process share one Dagster instance and one connection to MongoDB.

For each tick of a sensor that has resources, Dagster opens its instance, which takes 20 ms of processor time, and
connecting to MongoDB takes 8 ms. The sensors themselves need a few milliseconds, and tick every 5 s.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr
from pymongo.errors import PyMongoError

from vidpipe.errors import UnavailableError
from vidpipe.library.connection import Connection, connect
from vidpipe.library.library import Library
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings
from vidpipe.settings.home import CONFIG_NAME, LOCAL_CONFIG_NAME
from vidpipe.stages.graph import StageGraph


def kept_open(sensors: Sequence[dg.SensorDefinition], home: Path) -> list[dg.SensorDefinition]:
    """Returns `sensors` with an instance and a library of `home` that stay open between ticks.

    Where a test provides the instance, they get what the test provides.
    """
    shared = _SharedInstance()
    resources = {"library": SharedLibraryResource(home=str(home))}
    return [_kept_open(sensor, shared, resources) for sensor in sensors]


def _kept_open(
    sensor: dg.SensorDefinition, shared: _SharedInstance, resources: Mapping[str, object]
) -> dg.SensorDefinition:
    def evaluate(context: dg.SensorEvaluationContext) -> Any:
        if context.instance_ref is None:
            return sensor(context)
        instance = shared.get(context.instance_ref)
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


class _SharedInstance:
    """Opens an instance once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: tuple[Any, dg.DagsterInstance] | None = None

    def get(self, reference: Any) -> dg.DagsterInstance:
        """Returns the instance that `reference`, Dagster's own, describes."""
        with self._lock:
            if self._opened is None or self._opened[0] != reference:
                self._opened = reference, dg.DagsterInstance.from_ref(reference)
            return self._opened[1]


def _facts(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


class SharedLibraryResource(LibraryResource):
    """The library on a connection that is kept until the server becomes unavailable or other settings name another."""

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _loaded: tuple[Any, Settings] | None = PrivateAttr(None)
    _connected: tuple[Any, Connection] | None = PrivateAttr(None)

    def settings(self) -> Settings:
        """Returns today's settings, read again when one of their files has changed."""
        files = [Path(self.home) / name for name in (CONFIG_NAME, LOCAL_CONFIG_NAME)]
        now = [(facts.st_mtime_ns, facts.st_size, facts.st_ino) if (facts := _facts(file)) else None for file in files]
        if self._loaded is None or self._loaded[0] != now:
            self._loaded = now, super().settings()
        return self._loaded[1]

    @contextmanager
    def opened(self, graph: StageGraph, settings: Settings | None = None) -> Iterator[Library]:
        """Yields the library of `graph`. Raises UnavailableError if MongoDB cannot be reached."""
        today = settings or self.settings()
        try:
            yield Library(self._connect(today), today, graph)
        except (UnavailableError, PyMongoError):
            with self._lock:
                self._connected = None  # other threads may be using it, so it is not closed
            raise

    def _connect(self, settings: Settings) -> Connection:
        with self._lock:
            if self._connected is None or self._connected[0] != settings.mongodb:
                self._connected = settings.mongodb, connect(settings)
            return self._connected[1]
