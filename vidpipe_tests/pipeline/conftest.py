"""A home on disk with the small graph, a real mongod and a real Dagster instance."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings, init_home
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe_tests.runner.small_graph import GRAPH


@pytest.fixture
def settings(settings: Settings, empty_history: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The shared settings; what a process of its own loads from the home is the same."""
    init_home(settings.home)
    shutil.copytree(empty_history, dagster_home(settings))
    monkeypatch.setenv("VIDPIPE_HOME", str(settings.home))
    monkeypatch.setenv("VIDPIPE_MONGODB_URI", settings.mongodb.uri.get_secret_value())
    monkeypatch.setenv("VIDPIPE_MONGODB_DATABASENAME", settings.mongodb.database_name)
    return settings


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def dagster(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with instance(settings) as opened:
        yield opened


@pytest.fixture
def add(library: Library) -> Callable[..., list[str]]:
    def add_videos(*names: str) -> list[str]:
        ids = []
        for name in names:
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            library.videos.add(sha256, IngestFacts(path=name, size_bytes=1, modified_ns=1, names=(name,)))
            ids.append(sha256)
        return ids

    return add_videos
