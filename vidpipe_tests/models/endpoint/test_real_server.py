"""Against a real server with the tiny Qwen2-VL: it sees the frames that are sent, and says their colour."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from vidpipe.errors import UnavailableError
from vidpipe.models.answer_forms import AnswerForm
from vidpipe.models.describing_model import ModelReply
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe.models.prompts import Prompt
from vidpipe_tests import clips
from vidpipe_tests.cli.conftest import Command, command_on
from vidpipe_tests.models.endpoint.endpoint_requests import request, settings
from vidpipe_tests.models.endpoint.serving import Served
from vidpipe_tests.models.qwen.conftest import DESCRIBE, clip

KEY = "sk-hunter2-AbCd0123"
COLORS = ("red", "green", "blue", "yellow", "white", "purple", "cyan")
SHORT = Prompt("short", "scene", "Which colour?", max_tokens=24)


def asked(served: Served, *prompts: Prompt, **qwen_vl: object) -> dict[str, ModelReply]:
    """What is said of a clip of each colour, asked all at once."""
    named = {"model": served.model, "request_timeout": 120, **qwen_vl}
    model = EndpointModel(settings(served.url, **named))
    shown = [request(*prompts, video=f"{place:x}", frames=clip(color, "square")) for place, color in enumerate(COLORS)]
    found = {COLORS[int(reply.request.video[0], 16)]: reply for reply in model.answer(shown, threading.Event())}
    assert [reply.error for reply in found.values()] == [None] * len(COLORS)
    return found


def test_each_clip_gets_its_colour_from_the_server(served: Served) -> None:
    found = asked(served, DESCRIBE, SHORT)
    for color, reply in found.items():
        assert [answer.text for answer in reply.answers] == [f"A {color} square."] * 2
        assert [answer.prompt for answer in reply.answers] == [DESCRIBE, SHORT]
        assert all(answer.tokens == 5 and answer.prompt_tokens > 50 for answer in reply.answers)


def test_the_budget_of_tokens_and_of_frames_holds(served: Served) -> None:
    four = replace(SHORT, max_tokens=4)
    few = asked(served, four, max_frames=2)
    all_of_them = asked(served, four)
    for color in COLORS:
        assert few[color].answers[0].tokens == 4
        assert few[color].answers[0].prompt_tokens < all_of_them[color].answers[0].prompt_tokens


def test_a_schema_does_not_harm_where_the_server_ignores_it(served: Served) -> None:
    form = AnswerForm("tags", json.loads, schema={"type": "array"})
    found = asked(served, replace(SHORT, form=form))
    assert found["red"].answers[0].text == "A red square."


def test_a_model_that_the_server_does_not_have_is_an_error_in_its_words(served: Served) -> None:
    model = EndpointModel(settings(served.url, model="another/model"))
    (reply,) = model.answer([request(DESCRIBE, frames=clip("red", "square"))], threading.Event())
    assert "answered 400" in str(reply.error)
    assert "another/model" in str(reply.error)


def test_another_path_is_said_to_be_wrong(served: Served) -> None:
    model = EndpointModel(settings(f"{served.url}/v2", model=served.model))
    with pytest.raises(UnavailableError, match=r"answered 404.*PublicEndpoint"):
        list(model.answer([request(DESCRIBE, frames=clip("red", "square"))], threading.Event()))


def test_frames_as_one_video_are_refused_in_the_servers_words(served: Served) -> None:
    """Only vLLM takes them so; the error names the setting."""
    model = EndpointModel(settings(served.url, model=served.model, video_format="video_url"))
    (reply,) = model.answer([request(DESCRIBE, frames=clip("red", "square"))], threading.Event())
    assert "media_io_kwargs" in str(reply.error)
    assert "VideoFormat" in str(reply.error)


def test_the_whole_pipeline_goes_through_the_server(served: Served, mongod_uri: str, tmp_path: Path) -> None:
    """Files in, described library out; one request a prompt, and none the second time. (Here, beside the tests of the
    server, so that it is started once.)"""
    colors = {"rgb.mp4": ("red", "green", "blue"), "yw.mp4": ("yellow", "white")}
    for name, shown in colors.items():
        clips.color_cuts(tmp_path / "clips" / name, shown)
    with command_on(tmp_path / "home", mongod_uri) as plain:
        command = plain.under(
            QWENVL_BACKEND="endpoint", QWENVL_PUBLICENDPOINT=served.url, QWENVL_MODEL=served.model,
            QWENVL_ACCESSKEY=KEY, QWENVL_REQUESTTIMEOUT="120",
        )  # fmt: skip
        before = served.requests()
        command.json("add", tmp_path / "clips", "--run")
        for name, shown in colors.items():
            found = command.json("show", name)
            said = [scene["description"] for scene in found["scenes"]]
            assert all(color in text for color, text in zip(shown, said, strict=True))
            assert found["description"]["text"]
            assert found["description"]["prompt_tokens"] > 100
        answers = [answer for name in colors for answer in command.json("show", name, "--answers")["answers"]]
        assert served.requests() - before >= len(answers) == 5 + 2 * 5
        before = served.requests()
        assert command.json("run", "--force")["stages"]["descriptions"]["computed"] == 2
        assert served.requests() == before
        assert_key_is_nowhere(KEY, command, served.log)


def assert_key_is_nowhere(key: str, command: Command, *others: Path) -> None:
    """Neither in the home (logs, Dagster's history, settings) nor in MongoDB."""
    needle = key.encode()
    files = [path for path in command.home.rglob("*") if path.is_file()]
    assert any("dagster" in path.parts for path in files)
    assert [path for path in (*files, *others) if needle in path.read_bytes()] == []
    with MongoClient[dict[str, Any]](command.env["VIDPIPE_MONGODB_URI"]) as client:
        database = client[command.env["VIDPIPE_MONGODB_DATABASENAME"]]
        kept = [row for name in database.list_collection_names() for row in database[name].find()]
    assert kept
    assert [row for row in kept if key in str(row)] == []
