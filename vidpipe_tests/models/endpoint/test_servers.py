"""Each video has its own server, one that fails is skipped until it answers, and the run waits for the last one."""

from __future__ import annotations

import hashlib
import logging
import socket
import string
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.models.describing_model import ModelReply, ModelRequest
from vidpipe.models.endpoint import scheduler
from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe.models.endpoint.servers import EndpointServer, server_order
from vidpipe.models.prompts import Prompt
from vidpipe_tests.models.endpoint.endpoint_requests import WHAT, error, request, settings
from vidpipe_tests.models.endpoint.model_server import Handler, ModelServer, hang, hang_up, slowly, status, well

SECOND = Prompt("sentiment", "scene", "How is it?", max_tokens=8)
LETTERS = string.ascii_lowercase[:24]
ASKED = [request(WHAT, SECOND, video=letter) for letter in LETTERS]


@pytest.fixture
def other() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PROBE_S", 0.1)


def model_of(*servers: ModelServer | str, **qwen_vl: object) -> EndpointModel:
    urls = ",".join(server if isinstance(server, str) else server.url for server in servers)
    return EndpointModel(settings(urls, **{"server_wait": 60, **qwen_vl}))


def answers(model: EndpointModel, asked: list[ModelRequest] = ASKED) -> list[ModelReply]:
    return list(model.answer(asked, threading.Event()))


def assert_all_answered_once(replies: list[ModelReply]) -> None:
    assert [reply.error for reply in replies] == [None] * len(ASKED)
    assert sorted(reply.request.video[0] for reply in replies) == sorted(LETTERS)
    assert {tuple(answer.text for answer in reply.answers) for reply in replies} == {
        ("To: What is it?", "To: How is it?")
    }


def kill(server: ModelServer) -> None:
    """End it as SIGKILL would: kept connections end as well, and nothing listens."""
    server.always = hang_up
    server.__exit__()


def until_killed(handler: Handler) -> None:
    if not handler.pause(0.01):
        well(handler)
    handler.close_connection = True


def named(names: list[str]) -> list[EndpointServer]:
    return [EndpointServer(ServerAddress(f"http://{name}/v1", SecretStr(""), "PublicEndpoint")) for name in names]


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,8}:[0-9]{2,4}", fullmatch=True), min_size=2, max_size=8, unique=True), st.data()
)
def test_removing_a_server_moves_its_own_videos_only(names: list[str], data: st.DataObject) -> None:
    servers = named(names)
    gone = data.draw(st.sampled_from(servers))
    shuffled = data.draw(st.permutations(servers))
    for number in range(10):
        video = hashlib.sha256(bytes([number])).hexdigest()
        order = server_order(video, servers)
        assert server_order(video, shuffled) == order
        assert server_order(video, [server for server in shuffled if server is not gone]) == [
            server for server in order if server is not gone
        ]


def test_videos_are_spread_evenly() -> None:
    servers = named(["a:1", "b:1", "c:1", "d:1"])
    first = Counter(server_order(hashlib.sha256(bytes([n % 256, n >> 8])).hexdigest(), servers)[0] for n in range(4000))
    assert all(850 < first[server] < 1150 for server in servers)


def test_each_video_stays_with_its_server(server: ModelServer, other: ModelServer) -> None:
    assert_all_answered_once(answers(model_of(server, other)))
    shares = len(server.posts), len(other.posts)
    assert sum(shares) == 2 * len(ASKED)
    assert min(shares) > 0
    assert all(share % 2 == 0 for share in shares), "both prompts of a video go to one server"
    assert_all_answered_once(answers(model_of(other, f"{server.url}/v1", server.url)))
    assert (len(server.posts), len(other.posts)) == tuple(2 * share for share in shares)


def test_each_server_has_its_own_requests_in_flight(server: ModelServer, other: ModelServer) -> None:
    server.always = other.always = slowly(0.05)
    assert len(answers(model_of(server, other, requests_in_flight=2), ASKED[:12])) == 12
    assert (server.most_at_once, other.most_at_once) == (2, 2)


def test_a_server_killed_and_restarted_is_skipped_meanwhile(
    server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    dying = ModelServer(always=until_killed).__enter__()
    server.always = slowly(0.02)
    model = model_of(server, dying, requests_in_flight=2)
    found: list[ModelReply] = []
    replies = model.answer(ASKED, threading.Event())
    while not dying.posts:
        found.append(next(replies))
    kill(dying)
    found += replies
    assert_all_answered_once(found)
    assert f"Skipping a model server: The model server {dying.url}" in caplog.text
    with ModelServer(port=dying.port) as restarted:
        while not restarted.posts:
            assert_all_answered_once(answers(model))
        before = len(server.posts)
        assert_all_answered_once(answers(model))
        assert len(server.posts) - before < 2 * len(ASKED)


def test_a_run_goes_on_once_its_only_server_is_back(caplog: pytest.LogCaptureFixture) -> None:
    dying = ModelServer(always=until_killed).__enter__()
    model = model_of(dying, requests_in_flight=3)
    replies = model.answer(ASKED, threading.Event())
    found = [next(replies)]
    kill(dying)
    back: list[ModelServer] = []
    timer = threading.Timer(1.0, lambda: back.append(ModelServer(port=dying.port).__enter__()))
    timer.start()
    found += replies
    assert_all_answered_once(found)
    assert "answers again" in caplog.text
    timer.join()
    back[0].__exit__()


def test_a_server_that_hangs_and_cannot_be_reached_any_more_is_left(server: ModelServer) -> None:
    """As a machine without power: what is in flight there never ends."""
    with ModelServer(always=hang) as gone:
        model = model_of(server, gone, request_timeout=600)
        closer = threading.Thread(target=lambda: (_until(lambda: gone.posts), gone.shutdown(), gone.socket.close()))
        closer.start()
        assert_all_answered_once(answers(model))
        closer.join()


def _until(holds: object) -> None:
    while not holds():  # type: ignore[operator]
        time.sleep(0.01)


def test_after_the_wait_it_ends_with_what_is_answered() -> None:
    dying = ModelServer(always=until_killed).__enter__()
    found: list[ModelReply] = []
    replies = model_of(dying, requests_in_flight=1, server_wait=0.5).answer(ASKED, threading.Event())
    found.append(next(replies))
    kill(dying)
    with pytest.raises(UnavailableError, match="connection refused"):
        found.extend(replies)
    assert found[0].error is None
    assert all(reply.transient and len(reply.answers) == 1 for reply in found[1:] if reply.error)


def test_cancelling_ends_the_wait_for_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    started = time.monotonic()
    assert not list(model_of(url, server_wait=180).answer(ASKED, cancelled))
    assert time.monotonic() - started < 60


def test_a_server_with_wrong_settings_is_named_and_the_others_asked(
    server: ModelServer, other: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    other.always = status(404, said="The model `x` does not exist.")
    caplog.set_level(logging.WARNING)
    model = model_of(server, other)
    assert_all_answered_once(answers(model))
    posts = len(other.posts)
    assert_all_answered_once(answers(model))
    assert len(other.posts) == posts, "it is not asked again in this run"
    assert f"Skipping a model server: The model server {other.url}" in caplog.text
    assert "Model is the name that the server uses" in caplog.text


def test_wrong_settings_of_all_servers_end_the_run_at_once(server: ModelServer, other: ModelServer) -> None:
    server.always, other.always = status(404, said="No such model."), status(401, said="No such key.")
    with pytest.raises(UnavailableError, match=r"(?s)(No such model.*No such key|No such key.*No such model)"):
        answers(model_of(server, other, server_wait=600))


def test_a_server_that_only_fails_is_tried_with_one_prompt_at_a_time(server: ModelServer, other: ModelServer) -> None:
    other.always = status(503)
    model = model_of(server, other, request_retries=20)
    server.always = slowly(0.05)
    assert_all_answered_once(answers(model))
    assert other.probes
    assert set(other.probes) == {"/v1/models"}
    other.always = well
    before = len(other.posts)
    while len(other.posts) < before + 10:
        assert_all_answered_once(answers(model))


def test_videos_that_always_fail_do_not_end_the_run(server: ModelServer) -> None:
    def choosy(handler: Handler) -> None:
        (status(500) if "bad" in handler.post.prompt else well)(handler)

    server.always = choosy
    bad = Prompt("describe_scene", "scene", "bad", max_tokens=8)
    asked = [request(bad, video=letter) for letter in "abcdef"] + [request(video="z")]
    found = {reply.request.video[0]: reply for reply in answers(model_of(server), asked)}
    assert found["z"].error is None
    assert all("answered 500" in error(found[letter]) and found[letter].transient for letter in "abcdef")


def test_doctor_asks_every_server(server: ModelServer, other: ModelServer) -> None:
    said = model_of(server, other).readiness()
    assert said.count("answered in") == 2
    assert (len(server.posts), len(other.posts)) == (1, 1)
    other.always = status(401, said="no such key")
    with pytest.raises(VidpipeError, match=f"{other.url}.*no such key"):
        model_of(server, other).readiness()


def test_the_version_does_not_depend_on_the_servers(server: ModelServer, other: ModelServer) -> None:
    assert model_of(server, other).version == model_of(server).version


def test_the_busy_share_of_a_server_is_measured(server: ModelServer) -> None:
    server.always = slowly(0.3)
    model = model_of(server, requests_in_flight=2)
    (before,) = model.server_use().values()
    assert not any(before.values())
    assert len(answers(model, [request(video=letter) for letter in "abcd"])) == 4
    idle = time.monotonic()
    time.sleep(0.4)
    (use,) = model.server_use().values()
    slept_s = time.monotonic() - idle
    assert (use["requests"], use["failures"]) == (4, 0)
    assert 0.6 <= use["busy_seconds"] <= use["seconds"] - 0.4
    assert use["busy_seconds"] + slept_s <= use["seconds"] + 0.01
    assert use["busy_seconds"] < use["request_seconds"] <= 2 * use["busy_seconds"] + 0.01
    server.always = status(400)
    answers(model, [request()])
    (use,) = model.server_use().values()
    assert (use["requests"], use["failures"]) == (5, 1)
