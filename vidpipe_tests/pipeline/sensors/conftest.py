"""What the tests of sensors share."""

from __future__ import annotations

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.sources.list_watch import DEFAULT_TIMING
from vidpipe_tests.pipeline.sensors.list_sensor import NO_REST, ListSensor


@pytest.fixture
def no_rest() -> None:
    """Files are read at every tick, however new they are: see `list_sensor`."""


@pytest.fixture
def list_sensor(
    request: pytest.FixtureRequest, settings: Settings, library: Library, dagster: dg.DagsterInstance
) -> ListSensor:
    return ListSensor(settings, library, dagster, NO_REST if "no_rest" in request.fixturenames else DEFAULT_TIMING)
