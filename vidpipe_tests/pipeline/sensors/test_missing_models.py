"""An analysis whose model is missing: sensors and runs do their other work, and do not try it again and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.models.installed import installed_model
from vidpipe.settings import Settings, load
from vidpipe.stages.contract import IngestFacts
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.pipeline.sensors.ticks import Ticks

MODEL = "meaning-e5-small"


@pytest.fixture
def due(
    settings: Settings, dagster: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ticks]:
    """The sensor due_videos of a library with one new video and the analysis meaning, without its model."""
    monkeypatch.setenv("VIDPIPE_ANALYSES_ENABLED", "meaning")
    today = load(settings.home).settings
    graph = build_graph(today)
    path = clips.color_cuts(tmp_path / "clip.mp4", seconds_each=0.8)
    stat = path.stat()
    facts = IngestFacts(path=str(path), size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns, names=(path.name,))
    with Library.open(today, graph) as library:
        library.videos.add(hashlib.sha256(path.read_bytes()).hexdigest(), facts)
        yield Ticks(library, dagster, graph, "due_videos")


def run_all(due: Ticks) -> list[dg.ExecuteInProcessResult]:
    """Run what the sensor asks for until it asks for nothing, at most six times."""
    results: list[dg.ExecuteInProcessResult] = []
    for _ in range(6):
        requests = due.requests()
        if not requests:
            return results
        results += [due.run(request) for request in requests]
    raise AssertionError("the sensor does not stop")


def test_runs_succeed_without_the_stage_and_the_sensor_names_the_command(due: Ticks) -> None:
    results = run_all(due)
    assert [result.success for result in results] == [True] * len(results)
    (row,) = due.library.collections["videos"].find({}, {"stages": 1})
    statuses = {name: stage.get("status") for name, stage in row["stages"].items()}
    assert statuses.pop("meaning", None) != "ok"
    assert set(statuses.values()) == {"ok"}
    assert f"vidpipe models install {MODEL}" in due.skipped()


def test_with_fetch_the_run_installs_the_model(
    due: Ticks, models_directory: PackagedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_directory(MODEL)
    monkeypatch.setenv("VIDPIPE_MODELS_FETCH", "yes")
    assert [result.success for result in run_all(due)] == [True] * 3
    assert installed_model(due.library.settings.models_directory, MODEL).damaged() == []
    (row,) = due.library.collections["videos"].find({}, {"stages": 1})
    assert row["stages"]["meaning"]["status"] == "ok"
