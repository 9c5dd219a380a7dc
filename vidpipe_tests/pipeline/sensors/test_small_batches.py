"""A few new videos pass through all steps in the run that ingests them; many are split by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from vidpipe.library.library import Library
from vidpipe.pipeline import small_batches
from vidpipe.pipeline.build import build_definitions
from vidpipe.pipeline.ingest import ingest_job
from vidpipe.pipeline.resources import LibraryResource
from vidpipe.pipeline.run_queue import ALL_STEPS_TAG
from vidpipe.pipeline.small_batches import steps_are_launched
from vidpipe.settings import Settings, load
from vidpipe.stages.graph import StageGraph
from vidpipe_tests.clips import color_cuts
from vidpipe_tests.pipeline.sensors.list_sensor import ListSensor
from vidpipe_tests.pipeline.sensors.ticks import Ticks, keys
from vidpipe_tests.runner.small_graph import GRAPH, LENGTH, PARTS, REPORT, calls

pytestmark = pytest.mark.usefixtures("no_rest")

ON_GPU = StageGraph((LENGTH, replace(PARTS, job="describe", pool="gpu"), REPORT))
COLORS = ("red", "blue", "green")


@pytest.fixture
def due(library: Library, dagster: dg.DagsterInstance) -> Ticks:
    return Ticks(library, dagster, GRAPH, "due_videos")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [color_cuts(folder / f"{color}.mp4", (color,)) for color in COLORS]


def ingest(
    due: Ticks, request: Any, graph: StageGraph = GRAPH, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    return ingest_job(graph).execute_in_process(
        run_config=request.run_config,
        instance=due.dagster,
        tags=request.tags if tags is None else tags,
        resources={"library": LibraryResource(home=str(due.library.settings.home))},
        raise_on_error=False,
    )


def done(library: Library, stage: str) -> list[str]:
    """Names of the videos that have a result of `stage`."""
    found = library.collections["videos"].find({f"stages.{stage}.status": "ok"})
    return sorted(video["ingest"]["names"][0] for video in found)


def test_a_few_new_videos_pass_through_all_steps_in_one_run(
    list_sensor: ListSensor, due: Ticks, clips: list[Path]
) -> None:
    (request,) = list_sensor.say(*map(str, clips)).run_requests
    result = ingest(due, request)
    assert result.success
    assert done(due.library, "report") == ["blue.mp4", "green.mp4", "red.mp4"]
    assert due.skipped() == "Nothing is due."
    shown = due.dagster.get_materialized_partitions(dg.AssetKey("report"))
    assert shown == set(due.dagster.get_dynamic_partitions("videos"))
    (run,) = (run for run in due.library.collections["runs"].find() if run["_id"] == result.run_id)
    assert (run["sources"], run["stages"]["report"]["computed"], run["status"]) == ({"stored": 3}, 3, "success")


def test_failed_sources_and_failed_videos_are_both_told_and_stop_nothing_else(
    list_sensor: ListSensor, due: Ticks, clips: list[Path], settings: Settings, tmp_path: Path
) -> None:
    (settings.home / "broken-red.mp4").touch()
    page = tmp_path / "page.mp4"
    page.write_text("<html>no video</html>")
    (request,) = list_sensor.say(*map(str, clips), str(page)).run_requests
    result = ingest(due, request)
    assert not result.success
    told = str(result.failure_data_for_node("ingest_sources"))
    assert "1 of 4 sources could not be added" in told
    assert "1 of 3 videos failed" in told
    assert done(due.library, "report") == ["blue.mp4", "green.mp4"]
    assert due.skipped() == "Nothing is due.", "what failed for good is not tried again"
    record = due.dagster.get_latest_asset_check_evaluation_record(
        dg.AssetCheckKey(dg.AssetKey("length"), "videos_succeeded")
    )
    assert record is not None
    assert record.event is not None
    assert not record.event.dagster_event.asset_check_evaluation_data.passed


@pytest.mark.parametrize("limit", ["MOST_SOURCES", "MOST_BYTES"])
def test_many_or_large_videos_are_split_by_step(
    list_sensor: ListSensor, due: Ticks, clips: list[Path], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(small_batches, limit, 2)
    (request,) = list_sensor.say(*map(str, clips)).run_requests
    assert (ALL_STEPS_TAG in request.tags) is (limit != "MOST_SOURCES"), "sizes are not known before the download"
    assert ingest(due, request).success
    assert done(due.library, "length") == []
    (prepare,) = due.requests()
    assert (prepare.job_name, len(keys(prepare))) == ("prepare_list", 3)


@pytest.mark.parametrize("backend", ["qwen", "endpoint"])
def test_a_stage_that_asks_a_model_waits_for_a_run_of_its_own(
    list_sensor: ListSensor, due: Ticks, clips: list[Path], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("VIDPIPE_QWENVL_BACKEND", backend)
    (request,) = list_sensor.say(*map(str, clips)).run_requests
    with Library.open(due.library.settings, ON_GPU) as library:
        assert ingest(due, request, ON_GPU).success
        assert len(done(library, "length")) == 3
        (describe,) = Ticks(library, due.dagster, ON_GPU, "due_videos").requests()
    assert (describe.job_name, len(keys(describe))) == ("describe_list", 3)
    qwen = due.library.settings.model_copy(
        update={"qwen_vl": due.library.settings.qwen_vl.model_copy(update={"backend": backend})}
    )
    (op,) = build_definitions(ON_GPU, qwen).resolve_job_def("describe_list").all_node_defs
    assert isinstance(op, dg.OpDefinition)
    assert op.pool == {"qwen": "gpu", "endpoint": "model"}.get(backend)


def test_videos_of_an_unfinished_run_are_not_launched_a_second_time(
    list_sensor: ListSensor, due: Ticks, clips: list[Path], settings: Settings
) -> None:
    (request,) = list_sensor.say(*map(str, clips)).run_requests
    run = due.dagster.create_run_for_job(
        ingest_job(GRAPH), run_config=request.run_config, tags=request.tags, status=dg.DagsterRunStatus.STARTED
    )
    assert ingest(due, request, tags={}).success
    assert due.requests() == [], "the run in progress is about to process them"
    due.library.collections["sources"].update_many(
        {}, [{"$set": {"last_fetched": {"$subtract": ["$last_fetched", 60_000]}}}]
    )
    assert len(due.requests()) == 1, "they do not wait for its slow downloads"
    due.dagster.report_run_failed(run)
    assert calls(settings, "length") == []


@pytest.mark.parametrize("enabled", ["yes", "no"])
@pytest.mark.parametrize("switch", [None, InstigatorStatus.RUNNING, InstigatorStatus.STOPPED])
def test_nothing_is_processed_while_the_sensor_due_videos_is_off(
    dagster: dg.DagsterInstance,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    enabled: str,
    switch: InstigatorStatus | None,
) -> None:
    monkeypatch.setenv("VIDPIPE_SENSORS_ENABLED", enabled)
    if switch is not None:
        location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="vidpipe"))
        origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "due_videos")
        dagster.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, switch))
    on = enabled == "yes" if switch is None else switch is InstigatorStatus.RUNNING
    assert steps_are_launched(dagster, load(settings.home).settings) is on
