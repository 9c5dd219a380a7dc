"""An analysis whose model is missing: sensors and runs do their other work, and do not try it again and again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.models.installed import installed_model
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.settings import Settings, load
from vidpipe.stages.ingest_facts import IngestFacts
from vidpipe.stages.registry import build_graph
from vidpipe_tests import clips
from vidpipe_tests.models.packaged_models import PackagedModels
from vidpipe_tests.pipeline.sensors.ticks import Ticks

MODEL = "meaning-e5-small"


@pytest.fixture
def due(
    settings: Settings, dagster: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ticks]:
    """The sensor due_videos of a library with one new video, two analyses without models and one that is nowhere."""
    monkeypatch.setenv("VIDPIPE_ANALYSES_ENABLED", "speech, meaning, logo_finder")
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
    assert {statuses.pop("meaning"), statuses.pop("speech")} == {"new"}
    assert set(statuses.values()) == {"ok"}
    assert "no installed plugin, called logo_finder" in due.skipped()
    assert f"vidpipe models install {MODEL}" in due.skipped()


def test_all_steps_of_a_video_are_materialized_without_the_stages(due: Ticks) -> None:
    (video,) = due.library.collections["videos"].distinct("_id")
    due.dagster.add_dynamic_partitions("videos", [video])
    resources = {"library": LibraryResource(home=str(due.library.settings.home))}
    definitions = build_definitions(due.library.graph, due.library.settings, resources=resources)
    ended = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=due.dagster,
        partition_key=video,
        asset_selection=[dg.AssetKey(name) for name in due.library.graph.names],
    )
    made = {event.asset_key.to_user_string() for event in ended.get_asset_materialization_events() if event.asset_key}
    assert made == {*due.library.graph.names} - {"speech", "meaning"}
    assert due.requests() == []


@pytest.mark.soak
def test_a_model_that_cannot_be_loaded_is_not_tried_again_and_again(
    due: Ticks, models_directory: PackagedModels
) -> None:
    models = due.library.settings.models_directory
    shutil.copytree(models_directory(MODEL) / MODEL, models / MODEL)
    (models / MODEL / "e5-small-q4.bin").write_bytes(b"no model")
    run_all(due)


@pytest.mark.soak
def test_with_fetch_the_run_installs_the_model(
    due: Ticks, models_directory: PackagedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    models_directory(MODEL)
    monkeypatch.setenv("VIDPIPE_MODELS_FETCH", "yes")
    assert [result.success for result in run_all(due)] == [True] * 3
    assert installed_model(due.library.settings.models_directory, MODEL).damaged() == []
    (row,) = due.library.collections["videos"].find({}, {"stages": 1})
    assert row["stages"]["meaning"]["status"] == "ok"
