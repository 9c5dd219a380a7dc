"""The webhook against a real server with faults."""

from __future__ import annotations

import time

import pytest
from pydantic import SecretStr

from vidpipe.operations.alerts.channels import DeliveryError, WebhookChannel, send_through
from vidpipe.operations.alerts.message import AlertMessage
from vidpipe.settings.operation import Alerts
from vidpipe_tests.operations.alerts.hook_server import SECRET, Answer, HookServer

MESSAGE = AlertMessage(
    title="vidpipe on box: 1 run failed", text="vidpipe on box: 1 run failed\n…", fields={"failed_runs": 1}
)


def hook(url: str) -> WebhookChannel:
    return WebhookChannel(Alerts(webhook_url=SecretStr(url)))


def test_what_is_posted_is_text_for_people_and_fields_for_programs() -> None:
    with HookServer() as server:
        hook(server.url).send(MESSAGE)
    (post,) = server.posts
    assert post["text"] == MESSAGE.text
    assert post["content"] == MESSAGE.text
    assert post["vidpipe"] == {"failed_runs": 1}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_answer_is_tried_again_at_once(status: int) -> None:
    with HookServer(Answer(status, {"Retry-After": "0"}), Answer(status)) as server:
        hook(server.url).send(MESSAGE)
    assert len(server.posts) == 3


def test_who_asks_to_be_left_alone_for_long_is_and_says_for_how_long() -> None:
    with HookServer(Answer(429, {"Retry-After": "120"})) as server, pytest.raises(DeliveryError) as failed:
        hook(server.url).send(MESSAGE)
    assert failed.value.retry_after_s == 120
    assert not failed.value.permanent
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(404, body=b"no_service"), "responded with 404 (no_service)."),
        (Answer(403, body=f"bad key {SECRET}".encode()), "responded with 403."),
        (Answer(302, {"Location": "http://127.0.0.1:1/elsewhere"}), "responded with 302."),
    ],
)
def test_a_refusal_is_told_at_once_without_the_secret(answer: Answer, said: str) -> None:
    with HookServer(answer) as server, pytest.raises(DeliveryError, match=r"webhook at 127\.0\.0\.1") as failed:
        hook(server.url).send(MESSAGE)
    assert said in failed.value.message
    assert failed.value.permanent
    assert SECRET not in str(failed.value)
    assert failed.value.__cause__ is None
    assert len(server.posts) == 1


def test_an_unreachable_and_an_impossible_address_are_told_without_the_secret() -> None:
    for url in (f"http://127.0.0.1:1/{SECRET}", f"http://[bad/{SECRET}", f"nonsense://{SECRET}", f"http:///{SECRET}"):
        with pytest.raises(DeliveryError) as failed:
            hook(url).send(MESSAGE)
        assert SECRET not in str(failed.value)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with HookServer(always=Answer(hang=True)) as server, pytest.raises(DeliveryError, match="did not respond within"):
        WebhookChannel(Alerts(webhook_url=SecretStr(server.url)), read_timeout_s=0.2).send(MESSAGE)


def test_one_that_drips_holds_nobody_up() -> None:
    with HookServer(always=Answer(drip=True)) as slow, HookServer() as quick:

        class Named(WebhookChannel):
            def __init__(self, name: str, url: str) -> None:
                super().__init__(Alerts(webhook_url=SecretStr(url)))
                self.name = name

        began = time.monotonic()
        results = send_through([(Named("slow", slow.url), MESSAGE), (Named("quick", quick.url), MESSAGE)], limit_s=1)
        assert time.monotonic() - began < 30
    assert results["quick"] is None
    assert "within 1 s" in str(results["slow"])
    assert len(quick.posts) == 1
