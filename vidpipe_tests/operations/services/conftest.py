"""A home whose servers are up, with a tiny clip in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe_tests.end_to_end.conftest import ENVIRONMENT
from vidpipe_tests.end_to_end.home import Home
from vidpipe_tests.end_to_end.unattended_home import UnattendedHome, running


@pytest.fixture(scope="session")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnattendedHome]:
    path: Path = tmp_path_factory.mktemp("station") / "home"
    home = Home(
        path,
        {
            **ENVIRONMENT,
            "VIDPIPE_SENSORS_ENABLED": "no",
            "VIDPIPE_SERVICES_LIBRARYPORT": "8400",
            "VIDPIPE_SERVICES_WEBPORT": "3400",
            "VIDPIPE_CONCURRENCY_MAXWORKERS": "1",
        },
    )
    assert home("init", path).code == 0
    with running(home) as station:
        yield station
