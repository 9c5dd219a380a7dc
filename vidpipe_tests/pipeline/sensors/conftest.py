"""What the tests of sensors share."""

from __future__ import annotations

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.settings import Settings
from vidpipe_tests.pipeline.sensors.desk import Desk


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files need not be at rest before they are read: the tests that are not about that need not wait."""
    for name in ("files.REST_S", "files.REST_IN_LINE_S", "local._REST_S"):
        monkeypatch.setattr(f"vidpipe.sources.watch.{name}", 0.0)


@pytest.fixture
def desk(settings: Settings, library: Library, dagster: dg.DagsterInstance) -> Desk:
    return Desk(settings, library, dagster)
