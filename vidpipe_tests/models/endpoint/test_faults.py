"""Servers fail: what may pass is tried again, what does not is said, and one request's fault is its own."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.models.describing_model import Frame, ModelReply
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe.models.prompts import Prompt
from vidpipe.network.retry import RetryPolicy, parse_retry_after
from vidpipe_tests.models.endpoint.endpoint_requests import WHAT, error, one, replies, request, settings
from vidpipe_tests.models.endpoint.model_server import (
    Fault,
    Handler,
    ModelServer,
    completion,
    cut,
    drip,
    drip_body,
    hang,
    hang_up,
    says,
    slowly,
    status,
    well,
)

SECOND = Prompt("sentiment", "scene", "How is it?", max_tokens=8)


@pytest.mark.parametrize(
    "fault",
    [status(429, {"Retry-After": "0"}), status(500), status(503), status(408), cut, hang_up, says(b"<html>busy</html>"),
     says(b"{"), says(b"{}"), says(b'{"choices": []}'), says(b"[" * 100_000), says(b"null")],
    ids=["429", "500", "503", "408", "cut", "hung up", "page", "half", "no choices", "none chosen", "deep", "null"],
)  # fmt: skip
def test_what_may_pass_is_tried_again(server: ModelServer, fault: Fault) -> None:
    server.faults = [fault, fault]
    reply = one(server.url)
    assert [answer.text for answer in reply.answers] == ["To: What is it?"]
    assert len(server.posts) == 3
    assert server.posts[0].raw == server.posts[2].raw


@pytest.mark.parametrize(
    ("fault", "said"),
    [(status(503, said="All workers are busy."), "answered 503.*All workers are busy.*3 times in a row"),
     (cut, "closed the connection in the middle of an answer, 3 times"), (says(b"{"), "is not JSON, 3 times"),
     (says(b'{"choices": []}'), "has no `choices`, 3 times"), (hang_up, "connection .* was lost, 3 times")],
    ids=["503", "cut", "half", "no choices", "hung up"],
)  # fmt: skip
def test_what_does_not_pass_is_a_transient_error_of_its_request(server: ModelServer, fault: Fault, said: str) -> None:
    server.always = fault
    reply = one(server.url)
    assert reply.transient
    assert not reply.answers
    with pytest.raises(Exception, match=f"(?s)^Video aaaaaaaaaaaa, prompt describe_scene: .*{said}"):
        raise reply.error or AssertionError
    assert len(server.posts) == 3


@pytest.mark.parametrize("fault", [hang, drip, drip_body], ids=["hang", "dripping headers", "dripping body"])
def test_an_answer_has_a_limit_on_its_whole_time(server: ModelServer, fault: Fault) -> None:
    server.always = fault
    started = time.monotonic()
    reply = one(server.url, request_timeout=0.3, request_retries=1)
    assert reply.transient
    assert "did not answer within 0.3 s, 2 times in a row" in error(reply)
    assert "RequestTimeout" in error(reply)
    assert time.monotonic() - started < 30, "a socket's own limit would never have come"


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_that_is_not_taken_is_that_videos_error_alone(server: ModelServer, code: int) -> None:
    refused = status(code, said="This model's maximum context length is 32768 tokens.")

    def choosy(handler: object) -> None:
        (refused if "too long" in handler.post.prompt else well)(handler)  # type: ignore[attr-defined, arg-type]

    server.always = choosy
    too_long = Prompt("describe_scene", "scene", "too long")
    found = replies(server.url, request(too_long, SECOND, video="b"), request(video="a"))
    by_video = {reply.request.video[0]: reply for reply in found}
    assert by_video["a"].error is None
    assert not by_video["b"].transient
    said = error(by_video["b"])
    assert said.startswith("Video bbbbbbbbbbbb, prompt describe_scene: ")
    assert f"answered {code}" in said
    assert '"This model\'s maximum context length is 32768 tokens."' in said
    assert "[QwenVL]" in said
    assert len(server.posts) == 2, "it is not asked a second time, and not its other prompt"


@pytest.mark.parametrize(
    ("fault", "named"),
    [(status(404, said="The model `x` does not exist."), "does not exist.*Model and ApiStyle"),
     (status(405), "ApiStyle"), (status(401), "VIDPIPE_QWENVL_ACCESSKEY"), (status(403), "VIDPIPE_QWENVL_ACCESSKEY"),
     (status(402), "no credit"),
     (says(b'{"error": {"message": "You exceeded it.", "code": "insufficient_quota"}}', 429), "no credit")],
    ids=["404", "405", "401", "403", "402", "no money"],
)  # fmt: skip
def test_a_wrong_setting_stops_all_at_once_and_says_which(server: ModelServer, fault: Fault, named: str) -> None:
    server.always = fault
    with pytest.raises(UnavailableError, match=f"(?s){server.url}.* answered 4.*{named}"):
        replies(server.url, *[request(video=letter) for letter in "abcdef"], requests_in_flight=1)
    assert len(server.posts) == 1


def test_money_that_runs_out_stops_all(server: ModelServer) -> None:
    server.faults = [well, says(b'{"error": {"code": "insufficient_quota"}}', 429)]
    with pytest.raises(UnavailableError, match="no credit"):
        replies(server.url, *[request(video=letter) for letter in "abc"], requests_in_flight=1)


def test_a_gateway_that_refuses_one_request_among_others_does_not_stop_them(server: ModelServer) -> None:
    server.faults = [well, status(403, said="Blocked by a filter."), well]
    found = replies(server.url, *[request(video=letter) for letter in "abc"], requests_in_flight=1)
    assert [bool(reply.error) for reply in found] == [False, True, False]
    assert "Blocked by a filter." in error(found[1])


def test_where_nothing_listens_the_setting_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UnavailableError, match=r"connection refused.*running\? PublicEndpoint"):
        replies(url)
    with pytest.raises(UnavailableError, match=r"name cannot be resolved.*VpcEndpoint"):
        replies("", use_vpc=True, vpc_endpoint="http://nowhere.invalid", request_retries=0)


def test_a_plain_server_asked_for_https_is_said_to_be_one(server: ModelServer) -> None:
    with pytest.raises(UnavailableError, match="does not speak https"):
        replies(server.url.replace("http://", "https://"), request_retries=0)


def test_what_is_answered_already_is_kept_when_the_server_goes_away(server: ModelServer) -> None:
    server.faults = [well, well, status(401)]
    model = EndpointModel(settings(server.url, requests_in_flight=1))
    asked = [request(video="a"), request(WHAT, SECOND, video="b"), request(video="c")]
    found: list[ModelReply] = []
    with pytest.raises(UnavailableError):
        found.extend(model.answer(asked, threading.Event()))
    # `extend` keeps what came before the error
    assert [(reply.request.video[0], len(reply.answers), bool(reply.error)) for reply in found] == [
        ("a", 1, False), ("b", 1, True),
    ]  # fmt: skip
    assert found[1].transient


def test_answers_that_are_there_come_with_the_error_of_the_others(server: ModelServer) -> None:
    server.faults = [well, status(400)]
    reply = one(server.url, WHAT, SECOND, requests_in_flight=1)
    assert [answer.prompt.id for answer in reply.answers] == ["describe_scene"]
    assert "prompt sentiment" in error(reply)


def test_a_server_that_only_fails_counts_as_gone(server: ModelServer) -> None:
    server.always = status(503)
    found: list[ModelReply] = []
    model = EndpointModel(settings(server.url, request_retries=0, requests_in_flight=4))
    with pytest.raises(UnavailableError, match="503"):
        found.extend(model.answer([request(video=letter) for letter in "abcdefghijklmnop"], threading.Event()))
    assert len(server.posts) < 16


@pytest.mark.parametrize(
    ("body", "said"),
    [(completion(None), "returned no text.*chat template"),
     (completion(None, finish_reason="length"), "no text.*thinking"),
     (completion(None, refusal="I cannot help\x07 with that."), "refused to answer: I cannot help with that"),
     (completion("x", finish_reason="content_filter"), "refused to answer")],
    ids=["null", "thought only", "refusal", "filter"],
)  # fmt: skip
def test_an_answer_without_words_is_an_error(server: ModelServer, body: bytes, said: str) -> None:
    server.always = says(body)
    reply = one(server.url)
    with pytest.raises(Exception, match=f"(?s){said}"):
        raise reply.error or AssertionError
    assert not reply.transient
    assert len(server.posts) == 1, "asked greedily once more, it would say the same"


def test_an_answer_cut_at_its_length_is_kept_and_so_is_an_empty_one(server: ModelServer) -> None:
    """Whoever reads them by their form finds out, and asks again."""
    server.faults = [says(completion("A red squ", finish_reason="length")), says(completion(" "))]
    assert [answer.text for answer in one(server.url, WHAT, SECOND).answers] == ["A red squ", ""]


def test_hostile_words_are_cleaned_and_hostile_lengths_refused(server: ModelServer) -> None:
    server.faults = [says(completion("A\x00 red\x1b[31m\ud800 square.\n\u202eYes."))]
    (answer,) = one(server.url).answers
    assert answer.text == "A red[31m? square.\nYes."
    for fault in (status(400, said="no " * 10_000), says(b"x" * (5 << 20), 400)):
        server.faults = [fault]
        assert len(error(one(server.url))) < 1000
    server.faults = [says(completion("x" * (5 << 20)))]
    assert "longer than 4 MB" in error(one(server.url))


def test_strange_counts_of_tokens_are_none(server: ModelServer) -> None:
    strange = (
        completion("Yes.").replace(b"100", b'"many"').replace(b'"completion_tokens": 7', b'"completion_tokens": -7')
    )
    server.always = says(strange)
    (answer,) = one(server.url).answers
    assert (answer.text, answer.tokens, answer.prompt_tokens) == ("Yes.", 0, 0)


def test_frames_that_cannot_be_read_are_an_error_of_their_request(server: ModelServer) -> None:
    found = replies(server.url, request(video="b", frames=()), request(video="a"))
    by_video = {reply.request.video[0]: reply for reply in found}
    assert "no frames" in error(by_video["b"])
    assert not by_video["b"].transient
    assert by_video["a"].error is None


def test_cancelling_ends_what_is_in_flight(server: ModelServer) -> None:
    cancelled = threading.Event()

    def hang_and_cancel(handler: Handler) -> None:
        if len(server.posts) == 3:
            cancelled.set()
        hang(handler)

    server.always = hang_and_cancel
    model = EndpointModel(settings(server.url, request_timeout=60))
    started = time.monotonic()
    assert not list(model.answer([request(video=letter) for letter in "abc"], cancelled))
    assert time.monotonic() - started < 30
    assert not list(model.answer([request()], cancelled)), "nor does it begin"
    assert len(server.posts) == 3


def test_cancelling_ends_a_wait_for_the_next_attempt(server: ModelServer) -> None:
    cancelled = threading.Event()

    def put_off(handler: Handler) -> None:
        status(503, {"Retry-After": "50"})(handler)
        threading.Timer(0.3, cancelled.set).start()

    server.always = put_off
    model = EndpointModel(settings(server.url, request_max_wait=60))
    started = time.monotonic()
    assert not list(model.answer([request()], cancelled))
    assert time.monotonic() - started < 30
    assert len(server.posts) == 1


def test_not_more_requests_are_in_flight_than_allowed(server: ModelServer) -> None:
    def answer_three_at_once(handler: Handler) -> None:
        for _ in range(1000):
            if server.most_at_once >= 3:
                break
            handler.pause(0.01)
        slowly(0.05)(handler)

    server.always = answer_three_at_once
    asked = [request(WHAT, SECOND, video=letter) for letter in "abcdefgh"]
    assert len(replies(server.url, *asked, requests_in_flight=3)) == 8
    assert server.most_at_once == 3


def test_the_server_works_on_while_a_reply_is_looked_at(server: ModelServer) -> None:
    model = EndpointModel(settings(server.url, requests_in_flight=1))
    answers = model.answer([request(video=letter) for letter in "abc"], threading.Event())
    next(answers)
    deadline = time.monotonic() + 60
    while len(server.posts) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(server.posts) == 2
    answers.close()  # type: ignore[attr-defined]


def test_retry_after_is_kept_to_up_to_the_longest_wait() -> None:
    quick = RetryPolicy(None, 0.1, 60)
    assert 3.0 <= quick.wait_s(1, 3.0) <= 3.1
    assert quick.wait_s(1, 3600.0) == 60
    waits = [RetryPolicy(None, 1.0, 60).wait_s(failures) for failures in (1, 2, 3, 30)]
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2 <= waits[2] <= 4
    assert 30 <= waits[3] <= 60
    assert parse_retry_after("7") == 7
    in_a_minute = datetime.now(UTC) + timedelta(seconds=60)
    assert parse_retry_after(format_datetime(in_a_minute, usegmt=True)) == pytest.approx(60, abs=2)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [parse_retry_after(nonsense) for nonsense in ("soon", "-5", "", None)] == [None] * 4
    assert (parse_retry_after("9" * 5000) or 0) <= 6 * 3600


def test_a_server_that_asks_for_time_gets_it(server: ModelServer) -> None:
    server.faults = [status(429, {"Retry-After": "1"})]
    started = time.monotonic()
    assert one(server.url, request_max_wait=30).error is None
    assert time.monotonic() - started >= 1


def test_megabytes_of_frames_are_sent_whole(server: ModelServer) -> None:
    big = [Frame(0.0, b"\xff\xd8\xff" + b"x" * 3_000_000)]
    (reply,) = replies(server.url, request(frames=big))
    assert reply.error is None
    assert len(server.posts[0].raw) > 4_000_000


def test_a_kept_connection_that_the_server_closes_is_made_anew(server: ModelServer) -> None:
    def closing(handler: Handler) -> None:
        well(handler)
        handler.close_connection = True

    server.always = closing
    found = replies(server.url, *[request(video=letter) for letter in "abc"], requests_in_flight=1)
    assert [reply.error for reply in found] == [None] * 3
    assert len(server.posts) == 3


def test_doctor_asks_the_server_for_a_word(server: ModelServer) -> None:
    assert "answered in" in EndpointModel(settings(server.url)).readiness()
    assert server.posts[0].body["max_tokens"] == 4
    server.always = status(401, said="no such key")
    with pytest.raises(VidpipeError, match="401"):
        EndpointModel(settings(server.url)).readiness()


def test_a_compressed_answer_is_limited_by_its_real_size(server: ModelServer) -> None:
    def bomb(handler: Handler) -> None:
        handler.send(200, gzip.compress(completion("x" * (5 << 20))), {"Content-Encoding": "gzip"})

    server.faults = [bomb]
    assert "longer than 4 MB" in error(one(server.url))
