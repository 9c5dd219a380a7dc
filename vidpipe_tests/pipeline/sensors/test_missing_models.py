"""An analysis whose model is missing: sensors and runs do their other work, and do not try it again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.models.installed import installed_model
from vidpipe.settings import Settings, load
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.pipeline.sensors.ticks import Ticks, config

MODEL = "meaning-e5-small"


@pytest.fixture
def due(settings: Settings, dagster: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticks]:
    monkeypatch.setenv("VIDPIPE_ANALYSES_ENABLED", "meaning")
    today = load(settings.home).settings
    graph = build_graph(today)
    with Library.open(today, graph) as library:
        yield Ticks(library, dagster, graph, "due_videos")


@pytest.fixture
def video(due: Ticks, tmp_path: Path) -> str:
    from vidpipe.sources.ingest import add_videos

    raise NotImplementedError
