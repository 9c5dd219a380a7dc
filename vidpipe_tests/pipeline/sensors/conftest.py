"""What the tests of sensors share."""

from __future__ import annotations

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe.sources.watched_files import DEFAULT_TIMING
from vidpipe_tests.pipeline.sensors.desk import NO_REST, Desk


@pytest.fixture
def no_rest() -> None:
    """Files need not be unchanged for a while before they are read: see `desk`."""


@pytest.fixture
def desk(request: pytest.FixtureRequest, settings: Settings, library: Library, dagster: dg.DagsterInstance) -> Desk:
    return Desk(settings, library, dagster, NO_REST if "no_rest" in request.fixturenames else DEFAULT_TIMING)
