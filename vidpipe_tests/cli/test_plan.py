"""`vidpipe plan`: what a run would do, and that it does just that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command
from vidpipe_tests.models.endpoint.model_server import ModelServer, status
from vidpipe_tests.models.endpoint.serving import TINY

STAGES = ["raw_video", "metadata", "scenes", "descriptions", "sentiment", "tags", "categories"]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
def seeing(vidpipe: Command, server: ModelServer, tmp_path: Path) -> Command:
    """Two clips of three and two scenes, cut but not described; the model is an endpoint that is asked for descriptions
    only."""
    command = vidpipe.under(
        QWENVL_BACKEND="endpoint", QWENVL_PUBLICENDPOINT=server.url, QWENVL_PROMPTS="describe_scene, describe_video",
        BUDGET_PRICEINPUT="2", BUDGET_PRICEOUTPUT="10", BUDGET_CURRENCY="EUR",
    )  # fmt: skip
    clips.color_cuts(tmp_path / "three.mp4", ("red", "green", "blue"))
    clips.color_cuts(tmp_path / "two.mp4", ("white", "black"))
    vidpipe.json("add", tmp_path / "three.mp4", tmp_path / "two.mp4")
    vidpipe.json("run", "--stages", "raw_video,metadata,scenes")
    return command


def computed(report: dict[str, Any]) -> dict[str, int]:
    return {name: counts["computed"] for name, counts in report["stages"].items()}


def planned(plan: dict[str, Any]) -> dict[str, int]:
    return {name: stage["due"] + stage["follows"] for name, stage in plan["stages"].items()}


def ask_question(home: Path) -> None:
    """One more question, about the whole video."""
    question = {"id": "people", "text": "Is anybody in it?", "kind": "text", "scope": "video"}
    (home / "rules" / "questions.json").write_text(json.dumps({"questions": [question]}))


def everything(command: Command) -> list[Any]:
    """All documents of the library, but those that name processes."""
    with MongoClient[dict[str, Any]](command.env["VIDPIPE_MONGODB_URI"]) as client:
        database = client[command.env["VIDPIPE_MONGODB_DATABASENAME"]]
        names = sorted(name for name in database.list_collection_names() if not name.endswith("_meta"))
        return [(name, list(database[name].find().sort("_id", 1))) for name in names]


def test_a_plan_is_what_the_run_then_does(vidpipe: Command, tmp_path: Path) -> None:
    assert "Nothing is due" in vidpipe("plan").stdout
    for name, seconds in (("a", 0.6), ("b", 0.8)):
        clips.moving(tmp_path / f"{name}.mp4", seconds=seconds)
    vidpipe.json("add", tmp_path / "a.mp4", tmp_path / "b.mp4")
    before = everything(vidpipe)
    plan = vidpipe.json("plan")
    assert everything(vidpipe) == before, "nothing is changed"
    assert list(plan["stages"]) == STAGES
    assert (plan["videos"], plan["stages"]["raw_video"]["due"], plan["stages"]["scenes"]["follows"]) == (2, 2, 2)
    assert plan["stages"]["tags"]["why"] == {"new": 2}
    assert plan["unmeasured"] == STAGES
    assert "not measured yet" in vidpipe("plan").stdout
    some = vidpipe.json("plan", "a", "--stages", "raw_video,metadata")
    assert planned(some) == computed(vidpipe.json("run", "a", "--stages", "raw_video,metadata"))
    assert planned(vidpipe.json("plan")) == computed(vidpipe.json("run"))
    assert vidpipe.json("plan")["videos"] == 0
    forced = vidpipe.json("plan", "b", "--stage", "scenes", "--force")
    assert planned(forced) == {"scenes": 1}
    assert forced["stages"]["scenes"]["seconds"] > 0, "measured by now"
    assert vidpipe.json("plan", "--scene-threshold", "200")["stages"]["scenes"]["why"] == {"spec": 2}


def test_wrong_words_are_refused_as_by_run(vidpipe: Command) -> None:
    assert "nobody" in vidpipe.json("plan", "nobody", code=4)["error"]["message"]
    assert "scenes" in vidpipe.json("plan", "--stage", "scene", code=2)["error"]["hint"]


def test_the_answers_that_a_plan_counts_are_those_that_are_asked(seeing: Command, server: ModelServer) -> None:
    model = seeing.json("plan")["model"]
    assert (model["videos"], model["scenes"], model["answers_to_ask"], model["answers_there"]) == (2, 5, 7, 0)
    assert model["tokens_at_most"]
    assert (model["seconds"], model["gpu_hours"]) == (None, None)
    assert model["output_tokens"] >= 7 * 7, "an upper bound"
    seeing.json("run")
    assert len(server.posts) == 7
    assert seeing.json("plan")["model"]["answers_to_ask"] == 0

    ask_question(seeing.home)
    plan = seeing.json("plan")
    model = plan["model"]
    assert plan["stages"]["descriptions"]["why"] == {"spec": 2}
    assert (model["answers_to_ask"], model["answers_there"]) == (2, 7), "one new question, once a video"
    assert model["prompt_tokens"] == 2 * 100, "as the server counted them so far"
    assert model["seconds"] > 0
    assert model["measured_answers"] == 7
    text = seeing("plan").stdout
    assert "2 answers to request, 7 stored already" in text
    assert "2 what the model is asked" in text
    assert "EUR" in text
    seeing.json("run")
    assert len(server.posts) == 7 + 2


def test_a_cost_is_told_by_the_prices_of_config_ini(seeing: Command) -> None:
    plan = seeing.json("plan")["model"]
    assert plan["cost"] == pytest.approx((2 * plan["prompt_tokens"] + 10 * plan["output_tokens"]) / 1e6, abs=1e-5)
    assert plan["currency"] == "EUR"
    assert seeing.under(BUDGET_PRICEINPUT="0", BUDGET_PRICEOUTPUT="0").json("plan")["model"]["cost"] is None
    by_the_hour = seeing.under(BUDGET_PRICEGPUHOUR="3").json("plan")["model"]
    assert by_the_hour["cost"] is None, "its time has a price, and is not known yet"
    refused = seeing.under(BUDGET_PRICEINPUT="0", BUDGET_PRICEOUTPUT="0", BUDGET_COST="5")("plan")
    assert refused.exit_code == 2
    assert "PriceInput" in refused.stderr


def test_videos_not_cut_yet_are_taken_to_be_like_the_others(seeing: Command, tmp_path: Path) -> None:
    clips.moving(tmp_path / "new.mp4", seconds=0.6)
    seeing.json("add", tmp_path / "new.mp4")
    model = seeing.json("plan")["model"]
    assert (model["counted_videos"], model["estimated_videos"], model["unknown_videos"]) == (2, 1, 0)
    assert model["answers_to_ask"] == round(7 + 2.5 + 1), "two and a half scenes a video"
    alone = seeing.json("plan", "new")["model"]
    assert alone["videos"] == 1
    assert "assumed to be like the others" in seeing("plan").stdout


def test_of_many_videos_a_sample_is_counted_and_that_is_said(seeing: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidpipe.runner.estimate.MOST_COUNTED", 1)
    model = seeing.json("plan")["model"]
    assert (model["videos"], model["counted_videos"], model["estimated_videos"]) == (2, 1, 1)
    assert model["answers_to_ask"] in (2 * (3 + 1), 2 * (2 + 1))
    assert "Estimated from 1 of 2 videos." in seeing("plan").stdout


def test_figures_of_the_model_are_kept_a_run(seeing: Command) -> None:
    seeing.json("run")
    model = seeing.json("stats")["model"]
    assert (model["asked"], model["reused"], model["prompt_tokens"], model["output_tokens"]) == (7, 0, 700, 49)
    assert model["model_seconds"] > 0
    assert "7 answers" in seeing("stats").stdout


def test_what_a_question_asked_at_once_takes_counts_for_budget_and_rates(seeing: Command, server: ModelServer) -> None:
    limited = seeing.under(BUDGET_COST="1")
    assert limited.json("plan")["budget"]["used_cost"] == 0
    for _ in range(2):
        assert len(seeing.json("ask", "--all", "--scenes", "What is it?")["answers"]) == 5
    assert len(server.posts) == 5
    after = limited.json("plan")
    assert after["budget"]["used_cost"] == pytest.approx((2 * 500 + 10 * 35) / 1e6)
    assert after["model"]["measured_answers"] == 5
    figures = seeing.json("stats")["model"]
    assert (figures["asked"], figures["reused"]) == (5, 5), "the second time they were there already"
    assert figures["model_seconds"] > 0
    with MongoClient[dict[str, Any]](seeing.env["VIDPIPE_MONGODB_URI"]) as client:
        database = client[seeing.env["VIDPIPE_MONGODB_DATABASENAME"]]
        asked = database["videos_runs"].find_one({"job": "ask", "stages.descriptions.asked": 5})
        assert asked
        assert database["videos_answers"].distinct("run") == [asked["_id"]]
    runs = seeing.json("stats")["runs"]
    seeing.json("ask", "--where", "duration_gt=600", "What is it?")
    assert seeing.json("stats")["runs"] == runs, "a question about no video is no run"


def test_what_a_failed_video_took_of_the_model_counts(seeing: Command, server: ModelServer) -> None:
    server.faults = [status(400)]
    report = seeing.json("run", code=1)
    assert (report["stages"]["descriptions"]["computed"], report["stages"]["descriptions"]["failed"]) == (1, 1)
    answered = len(server.posts) - 1
    model = seeing.json("stats")["model"]
    assert (model["asked"], model["prompt_tokens"], model["output_tokens"]) == (answered, 100 * answered, 7 * answered)
    ((address, use),) = seeing.json("status")["model_servers"].items()
    assert address.startswith(server.url)
    assert (use["requests"], use["failures"]) == (answered + 1, 1)
    assert 0 < use["busy_seconds"] <= use["seconds"]
    assert f"Model server {server.url}" in seeing("status").stdout


def test_status_says_why_videos_wait_for_the_budget(vidpipe: Command) -> None:
    vidpipe("status")
    with MongoClient[dict[str, Any]](vidpipe.env["VIDPIPE_MONGODB_URI"]) as client:
        meta = client[vidpipe.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos_meta"]
        note = {"_id": "budget", "sentence": "9 videos wait.", "at": datetime.now(UTC)}
        meta.insert_one(note)
        assert "9 videos wait." in vidpipe("status").stdout
        meta.update_one({"_id": "budget"}, {"$set": {"at": datetime.now(UTC) - timedelta(hours=1)}})
        assert "9 videos wait." not in vidpipe("status").stdout, "no sensor has looked for long"
    told = vidpipe.under(BUDGET_MODELHOURS="2")("plan").stdout
    assert "0.00 of 2 model hours" in told


def test_failed_and_blocked_results_are_told(vidpipe: Command, tmp_path: Path) -> None:
    clips.moving(tmp_path / "gone.mp4", seconds=0.6)
    vidpipe.json("add", tmp_path / "gone.mp4", "--mode", "reference")
    (tmp_path / "gone.mp4").unlink()
    vidpipe.json("run", code=1)
    plan = vidpipe.json("plan")
    assert (plan["videos"], plan["stages"]["raw_video"]["failed"], plan["stages"]["tags"]["blocked"]) == (0, 1, 1)
    assert "--retry" in vidpipe("plan").stdout
    retried = vidpipe.json("plan", "--retry")
    assert retried["stages"]["raw_video"]["why"] == {"retry": 1}
    assert retried["stages"]["categories"]["follows"] == 1


def test_no_model_is_loaded_for_a_plan(vidpipe: Command) -> None:
    code = (
        "import sys\nfrom vidpipe.cli.main import app\n"
        "try:\n    app(['plan'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print({'torch', 'transformers', 'dagster'} & set(sys.modules))"
    )
    seeing = vidpipe.under(QWENVL_BACKEND="qwen", QWENVL_MODELDIR=str(TINY))
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **seeing.env}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "set()"


def test_a_stage_that_cannot_run_is_told(vidpipe: Command, tmp_path: Path) -> None:
    (vidpipe.home / "rules" / "custom_tags.json").write_text("{")
    plan = vidpipe.json("plan")
    assert "custom_tags.json" in plan["problems"]["tags"]["message"]
    assert "custom_tags.json" in vidpipe("plan").stdout
