"""The budget of the describing model at the sensor: real ticks and runs, a real library, a model behind real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vidpipe.library.library import Library
from vidpipe.library.runs import Runs
from vidpipe.operations.alerts.delivery import send_alerts
from vidpipe.pipeline.in_process_run import run_process
from vidpipe.pipeline.ingest import run_ingest
from vidpipe.pipeline.sensors.alerts import alert_queue
from vidpipe.runner.budget import budget_note
from vidpipe.runner.request import RunRequest
from vidpipe.settings import Settings, load
from vidpipe_tests import clips
from vidpipe_tests.default_graph import GRAPH
from vidpipe_tests.models.endpoint.model_server import ModelServer
from vidpipe_tests.operations.alerts.hook_server import HookServer
from vidpipe_tests.pipeline.sensors.ticks import Ticks, keys

PREPARE = ["raw_video", "metadata", "scenes"]
COLORS = (("red", "green", "blue"), ("white", "black"), ("black", "white"))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library.open(load(settings.home).settings, GRAPH) as opened:
        yield opened


@pytest.fixture
def due(
    library: Library, dagster: dg.DagsterInstance, tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> Ticks:
    """Three videos of two or three scenes, cut; the model is asked for descriptions: ten answers in all."""
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", "127.0.0.1")
    monkeypatch.setenv("VIDPIPE_QWENVL_BACKEND", "endpoint")
    monkeypatch.setenv("VIDPIPE_QWENVL_PUBLICENDPOINT", server.url)
    monkeypatch.setenv("VIDPIPE_QWENVL_PROMPTS", "describe_scene, describe_video")
    inputs = [clips.color_cuts(tmp_path / f"clip{number}.mp4", colors) for number, colors in enumerate(COLORS)]
    settings = load(library.settings.home).settings
    run_ingest(settings, [str(path) for path in inputs], graph=GRAPH, library=library)
    run_process(settings, RunRequest(stages=PREPARE), graph=GRAPH, library=library)
    return Ticks(library, dagster, GRAPH, "due_videos")


def describing(due: Ticks) -> list[Any]:
    return [request for request in due.requests() if request.job_name == "describe_list"]


def used(library: Library, hours_ago: float, seconds: float, tokens: int = 0) -> None:
    """A run of an hour that used the model."""
    began = datetime.now(UTC) - timedelta(hours=hours_ago)
    library.collections["runs"].insert_one(
        {"_id": f"run {hours_ago}", "began_at": began, "updated_at": began + timedelta(hours=1),
         "stages": {"descriptions": {"model_seconds": seconds, "prompt_tokens": tokens, "computed": 1}}}
    )  # fmt: skip


def run_all(due: Ticks) -> None:
    for request in describing(due):
        assert due.run(request).success


def test_a_run_carries_what_it_was_launched_for_and_what_it_came_to(
    due: Ticks, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_BUDGET_PRICEINPUT", "1000")
    (request,) = describing(due)
    assert len(keys(request)) == 3
    assert request.tags["vidpipe/estimated_answers"] == "10"
    assert int(request.tags["vidpipe/estimated_prompt_tokens"]) > 0
    assert "EUR" not in request.tags["vidpipe/estimated_cost"]
    ended = due.run(request)
    assert ended.success
    assert len(server.posts) == 10
    run = due.dagster.get_run_by_id(ended.run_id)
    assert run is not None
    tags = {name.removeprefix("vidpipe/"): value for name, value in run.tags.items()}
    assert (tags["answers_asked"], tags["answers_reused"]) == ("10", "0")
    assert (tags["prompt_tokens"], tags["output_tokens"], tags["cost"]) == ("1000", "70", "1.0000 USD")
    assert tags["model"] == "Qwen/Qwen2-VL-7B-Instruct"
    assert float(tags["model_seconds"]) > 0
    latest = next(Runs(due.library.collections["runs"]).since())
    figures = latest["stages"]["descriptions"]
    assert (latest["models"], figures["asked"], figures["prompt_tokens"]) == ([tags["model"]], 10, 1000)


def test_a_persons_run_carries_its_estimate_too(due: Ticks, library: Library) -> None:
    run_process(load(library.settings.home).settings, RunRequest(stages=["descriptions"]), graph=GRAPH, library=library)
    run = due.dagster.get_runs(limit=1)[0]
    assert run.tags["vidpipe/estimated_answers"] == run.tags["vidpipe/answers_asked"] == "10"


def test_without_a_budget_a_changed_prompt_waits_and_with_one_it_starts(
    due: Ticks, library: Library, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(due)
    monkeypatch.setenv("VIDPIPE_QWENVL_PROMPTS", "describe_scene, describe_video, summary")
    assert describing(due) == []
    monkeypatch.setenv("VIDPIPE_BUDGET_MODELHOURS", "1")
    (request,) = describing(due)
    assert len(keys(request)) == 3
    assert request.tags["vidpipe/estimated_answers"] == "3", "one new prompt a video; the others have their answers"
    assert float(request.tags["vidpipe/estimated_model_seconds"]) > 0
    monkeypatch.setenv("VIDPIPE_SCENEDETECTION_MINSCENELENGTH", "0.7")
    assert [request.job_name for request in due.requests() if request.job_name == "prepare_list"] == [], (
        "the budget is the model's: what decodes again waits for a person"
    )


def test_a_budget_that_is_used_up_holds_back_tells_and_frees_up(
    due: Ticks, library: Library, dagster: dg.DagsterInstance, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDPIPE_BUDGET_MODELHOURS", "0.5")
    used(library, 20, 1800)
    with HookServer() as hook:
        monkeypatch.setenv("VIDPIPE_ALERTS_WEBHOOKURL", hook.url)
        sentence = due.skipped()
        assert "3 videos wait to be described" in sentence
        assert "0.50 of 0.5 model hours" in sentence
        room = datetime.now().astimezone() + timedelta(hours=4)
        assert (
            f"room again at {room:%Y-%m-%d %H}" in sentence or f"{room + timedelta(minutes=1):%Y-%m-%d %H}" in sentence
        )
        assert budget_note(library) == sentence, "for `vidpipe status`"
        settings = load(library.settings.home).settings
        send_alerts(alert_queue(dagster, library), settings)
        due.skipped()
        send_alerts(alert_queue(dagster, library), settings)
        (post,) = hook.posts
        assert "the budget of the describing model is reached" in str(post["text"])
        assert "`vidpipe run` describes them now" in str(post["text"])
    assert server.posts == []
    report = run_process(settings, RunRequest(stages=["descriptions"]), graph=GRAPH, library=library)
    assert report.counts["descriptions"]["computed"] == 3, "a person's own run is never held back"
    due.tick()
    assert budget_note(library) is None


def test_a_budget_of_cost_launches_what_fits(
    due: Ticks, library: Library, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(due)
    monkeypatch.setenv("VIDPIPE_QWENVL_PROMPTS", "describe_scene, describe_video, summary")
    monkeypatch.setenv("VIDPIPE_BUDGET_PRICEINPUT", "1000")  # 0.1 a request of 100 tokens
    monkeypatch.setenv("VIDPIPE_BUDGET_COST", "1.25")  # of which the ten answers have used 1
    (request,) = describing(due)
    assert len(keys(request)) == 2
    queued = due.queue(request)
    assert describing(due) == []
    sentence = budget_note(library) or ""
    assert "1 video waits to be described" in sentence
    assert "Unfinished runs may take 0.20 USD more." in sentence
    monkeypatch.setenv("VIDPIPE_BUDGET_COST", "1.35")
    due.dagster.report_run_failed(queued)
    assert len([key for request in describing(due) for key in keys(request)]) == 3


def test_an_unknown_speed_is_measured_first(due: Ticks, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_BUDGET_MODELHOURS", "1")
    monkeypatch.setattr("vidpipe.runner.budget.UNMEASURED", 2)
    (request,) = describing(due)
    assert len(keys(request)) == 2
    queued = due.queue(request)
    assert "speed, which is measured with a few videos first" in due.skipped()
    due.dagster.report_run_failed(queued)
    assert due.run(describing(due)[0]).success
    (rest,) = describing(due)
    assert len(keys(rest)) == 1
    assert float(rest.tags["vidpipe/estimated_model_seconds"]) > 0
