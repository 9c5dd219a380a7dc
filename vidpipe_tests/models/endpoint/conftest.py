"""The servers of these tests: one that fails as it is told, and a real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidpipe_tests.models.endpoint.model_server import ModelServer
from vidpipe_tests.models.endpoint.serving import served

__all__ = ["served", "server"]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running
