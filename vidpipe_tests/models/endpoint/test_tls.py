"""The encrypted way: whose certificates count, and that time limits and cancelling hold on it too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe_tests.library.certificates import Authority
from vidpipe_tests.models.endpoint.endpoint_requests import error, one, replies, request, settings
from vidpipe_tests.models.endpoint.model_server import ModelServer, cut, drip_body, hang


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "models")


@pytest.fixture
def secure(authority: Authority) -> Iterator[ModelServer]:
    with ModelServer(certificate=authority.certificate("server")) as running:
        yield running


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))


def test_a_certificate_of_nobody_known_is_refused(secure: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    with pytest.raises(UnavailableError, match=r"invalid certificate.*REQUESTS_CA_BUNDLE"):
        one(secure.url, access_key="sk-hunter2")
    assert not secure.posts


@pytest.mark.usefixtures("trusted")
def test_a_private_authority_can_be_named(secure: ModelServer) -> None:
    assert one(secure.url, access_key="sk-hunter2").error is None
    assert secure.posts[0].headers["authorization"] == "Bearer sk-hunter2"
    assert len(replies(secure.url, *[request(video=letter) for letter in "abcdef"])) == 6


def test_an_authority_that_is_not_there_is_named(secure: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(UnavailableError, match=r"REQUESTS_CA_BUNDLE names /nowhere/ca.pem"):
        one(secure.url)


@pytest.mark.usefixtures("trusted")
def test_time_limits_and_cut_answers_are_seen_through_the_encryption(secure: ModelServer) -> None:
    secure.always = drip_body
    assert "did not answer within 0.5 s" in error(one(secure.url, request_timeout=0.5, request_retries=0))
    secure.always = cut
    assert "in the middle of an answer" in error(one(secure.url, request_retries=0))


@pytest.mark.usefixtures("trusted")
def test_cancelling_ends_an_encrypted_request(secure: ModelServer) -> None:
    secure.always = hang
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    started = time.monotonic()
    assert not list(EndpointModel(settings(secure.url, request_timeout=60)).answer([request()], cancelled))
    assert time.monotonic() - started < 30
