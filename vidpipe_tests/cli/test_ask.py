"""A library described by the tiny Qwen2-VL through the command: every text of the model's, traced; questions, now and
for good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient

from vidpipe.pipeline.instance import instance
from vidpipe.settings import Settings
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command, command_on
from vidpipe_tests.models.qwen.conftest import TINY, needs_torch

pytestmark = needs_torch

COLORS = {"rgb.mp4": ("red", "green", "blue"), "pyw.mp4": ("purple", "yellow", "white")}


def with_tiny_model(command: Command) -> Command:
    return command.under(QWENVL_BACKEND="qwen", QWENVL_MODELDIR=str(TINY))


@pytest.fixture(scope="module")
def seen(mongod_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A library of two clips of three colours each, described by the tiny model."""
    folder = tmp_path_factory.mktemp("clips")
    for name, colors in COLORS.items():
        clips.color_cuts(folder / name, colors)
    with command_on(tmp_path_factory.mktemp("seen"), mongod_uri) as command:
        seeing = with_tiny_model(command)
        result = seeing("add", folder, "--run", "--json")
        assert result.exit_code == 0, result.output
        yield seeing


def test_each_scene_is_described_with_its_colour_in_order_and_named_with_its_model(seen: Command) -> None:
    for name, colors in COLORS.items():
        found = seen.json("show", name)
        said = [scene["description"] for scene in found["scenes"]]
        assert [color in text for color, text in zip(colors, said, strict=True)] == [True] * 3
        assert found["description"]["model"].startswith("qwen2_vl ")
        assert found["stages"]["descriptions"]["state"] == "current"


def test_every_answer_can_be_traced_to_prompt_model_and_frames(seen: Command) -> None:
    found = seen.json("show", "rgb.mp4", "--answers")["answers"]
    in_force = [answer for answer in found if answer["in_force"]]
    assert {answer["prompt_id"] for answer in in_force} >= {
        "describe_scene", "describe_video", "sentiment", "tags", "category", "summary",
    }  # fmt: skip
    for answer in in_force:
        assert answer["model"].startswith("qwen-")
        assert answer["frames_version"]
        assert answer["prompt_tokens"] >= 0
        assert answer["run"]
    with MongoClient[dict[str, Any]](seen.env["VIDPIPE_MONGODB_URI"]) as client:
        lineage = client[seen.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos_lineage"]
        for answer in in_force:
            text = lineage.find_one({"_id": f"text:{answer['template']}"})
            assert text
            assert answer["prompt_id"] in text["text"]
    assert "template" in seen("show", "rgb.mp4", "--answers").stdout


def test_dagster_shows_model_tokens_and_seconds_with_each_description(seen: Command) -> None:
    described = seen.json("show", "rgb.mp4")
    with instance(Settings(home=seen.home)) as dagster:
        (record,) = dagster.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey("descriptions"), [described["video"]["sha256"]]), limit=1
        ).records
    assert record.asset_materialization
    shown = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert shown["model"] == described["description"]["model"]
    assert shown["answers_asked"] == 3 + 5
    assert shown["output_tokens"] == described["description"]["output_tokens"] > 0
    assert shown["prompt_tokens"] == described["description"]["prompt_tokens"] > 0
    assert shown["seconds"] >= 0


def test_a_question_is_answered_now_and_costs_nothing_the_second_time(seen: Command) -> None:
    first = seen.json("ask", "rgb.mp4", "What do you see?")
    assert [answer["name"] for answer in first["answers"]] == ["rgb.mp4"]
    assert first["answers"][0]["value"]
    before = answers_kept(seen)
    again = seen.json("ask", "rgb.mp4", "What do you see?")
    assert again["answers"] == first["answers"]
    assert answers_kept(seen) == before


#: Holds the model's lock, as a process that describes does, until the other one's log says that it waits.
HOLDER = """
import sys, time
from pathlib import Path
from vidpipe.settings import load
from vidpipe.models.qwen.loading import ModelLock
settings = load(Path(sys.argv[1])).settings
lock = ModelLock(settings)
assert lock.take("another model")
print("taken", flush=True)
while "Waiting for the model" not in settings.resolve(settings.logging.log_file).read_text():
    time.sleep(0.05)
"""


def test_who_waits_for_another_process_is_told_on_the_terminal(seen: Command) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(seen.home)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout
            assert holder.stdout.readline() == "taken\n"
            result = seen("ask", "rgb.mp4", "Who is there?", "--json")
        finally:
            holder.kill()
    assert f"Waiting for the model: process {holder.pid} holds it" in result.stderr
    assert json.loads(result.stdout)["answers"], "stdout has the answer and nothing else"


def test_the_text_of_a_question_that_is_not_kept_can_be_found_later(seen: Command) -> None:
    seen.json("ask", "rgb.mp4", "What colour comes first?")
    (answer,) = (
        answer
        for answer in seen.json("show", "rgb.mp4", "--answers")["answers"]
        if answer["prompt_id"] == "question:what-colour-comes-first"
    )
    with MongoClient[dict[str, Any]](seen.env["VIDPIPE_MONGODB_URI"]) as client:
        lineage = client[seen.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos_lineage"]
        text = lineage.find_one({"_id": f"text:{answer['template']}"})
    assert text
    assert "What colour comes first?" in text["text"]


def test_scenes_are_asked_one_by_one(seen: Command) -> None:
    found = seen.json("ask", "--all", "--scenes", "Which colour is it?")["answers"]
    searched = seen.json("ask", "--search", "file:rgb", "--scenes", "Which colour is it?")["answers"]
    assert searched
    assert searched == [answer for answer in found if answer["name"] == "rgb.mp4"], "the same stored answers"
    by_name = {name: [answer["value"] for answer in found if answer["name"] == name] for name in COLORS}
    for name, colors in COLORS.items():
        assert all(color in said for color, said in zip(colors, by_name[name], strict=True))
    text = seen("ask", "rgb.mp4", "--scenes", "Which colour is it?").stdout
    assert text.count("rgb.mp4") == 3


def test_videos_are_chosen_by_conditions_of_the_rules(seen: Command) -> None:
    assert (
        len(seen.json("ask", "--where", "duration_gt=1", "--where", "orientation=landscape", "What?")["answers"]) == 2
    )
    assert seen.json("ask", "--where", "orientation=portrait", "What?")["answers"] == []
    assert seen.json("ask", "--where", "duration_gt=600", "--where", "duration_gt=1", "What?")["answers"] == []
    refused = seen("ask", "--where", "orientatoin=portrait", "What?")
    assert refused.exit_code == 2
    assert "orientation" in refused.output
    assert seen("ask", "--where", "duration_gt=NaN", "What?").exit_code == 2
    assert seen("ask", "What?").exit_code == 2


@pytest.mark.soak
def test_a_kept_question_finds_its_answer_and_is_asked_of_the_others_alone(vidpipe: Command, tmp_path: Path) -> None:
    for name, colors in COLORS.items():
        clips.color_cuts(tmp_path / "clips" / name, colors)
    seeing = with_tiny_model(vidpipe)
    seeing.json("add", tmp_path / "clips", "--run")
    answer = seeing.json("ask", "rgb.mp4", "What is to be seen?", "--save", "--id", "seen")["answers"][0]
    kept = json.loads((seeing.home / "rules" / "questions.json").read_text())["questions"]
    assert [(question["id"], question["text"]) for question in kept] == [("seen", "What is to be seen?")]
    report = seeing.json("run")
    assert report["stages"]["descriptions"]["computed"] == 2
    assert {name: seeing.json("show", name)["description"]["asked"] for name in COLORS} == {"rgb.mp4": 0, "pyw.mp4": 1}
    (stored,) = seeing.json("show", "rgb.mp4")["description"]["questions"]
    assert (stored["id"], stored["value"]) == ("seen", answer["value"])
    assert seeing.json("run")["videos"] == 0
    edited = json.loads((seeing.home / "rules" / "questions.json").read_text())
    edited["questions"][0]["text"] = "What else is to be seen?"
    (seeing.home / "rules" / "questions.json").write_text(json.dumps(edited))
    seeing.json("run")
    assert {name: seeing.json("show", name)["description"]["asked"] for name in COLORS} == {"rgb.mp4": 1, "pyw.mp4": 1}


def test_sentences_made_of_measurements_are_not_told_to_the_model(vidpipe: Command, tmp_path: Path) -> None:
    clips.color_cuts(tmp_path / "clips" / "rgb.mp4", COLORS["rgb.mp4"])
    vidpipe.json("add", tmp_path / "clips")
    vidpipe.json("run", "--stages", "raw_video,metadata,scenes")
    seeing = with_tiny_model(vidpipe)
    before = seeing.json("ask", "rgb.mp4", "What is it?")["answers"]
    vidpipe.json("run")
    assert vidpipe.json("show", "rgb.mp4")["description"]["measured"]
    assert seeing.json("ask", "rgb.mp4", "What is it?")["answers"] == before


def test_without_a_model_there_is_nobody_to_ask(vidpipe: Command) -> None:
    refused = vidpipe("ask", "--all", "What is it?")
    assert refused.exit_code == 3
    assert "Backend = statistics" in refused.output


@pytest.mark.soak
def test_a_run_killed_in_mid_batch_has_not_asked_in_vain(vidpipe: Command, tmp_path: Path) -> None:
    for number in range(2):
        clips.color_cuts(tmp_path / "clips" / f"{number}.mp4", ("red", "green", "blue"), fps=20 + number)
    answers = 2 * (3 + 5)
    # one answer at a time, so that the kill finds the batch half done
    seeing = with_tiny_model(vidpipe).under(QWENVL_BATCHTOKENS="256")
    seeing.json("add", tmp_path / "clips")
    running = seeing.start("run")
    deadline = time.monotonic() + 120
    while answers_kept(seeing) < 2:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    time.sleep(0.5)  # what was on its way to MongoDB has arrived
    kept = answers_kept(seeing)
    assert kept < answers
    seeing.json("run")
    shown = [seeing.json("show", f"{number}.mp4") for number in range(2)]
    done = [found["stages"]["descriptions"] for found in shown]
    second_run = max(done, key=lambda stage: str(stage["at"]))["run"]
    asked = [
        found["description"]["asked"] for found, stage in zip(shown, done, strict=True) if stage["run"] == second_run
    ]
    assert sum(asked) == answers - kept
    assert answers_kept(seeing) == answers


def answers_kept(command: Command) -> int:
    with MongoClient[dict[str, Any]](command.env["VIDPIPE_MONGODB_URI"]) as client:
        return client[command.env["VIDPIPE_MONGODB_DATABASENAME"]]["videos_answers"].count_documents({})
