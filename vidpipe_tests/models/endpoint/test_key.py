"""The key goes to the server that is configured, and nowhere else: no other host, no log, no error."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vidpipe.errors import UnavailableError
from vidpipe.models.describing_model import ModelReply
from vidpipe.models.endpoint.address import server_addresses
from vidpipe.models.endpoint.backend import EndpointModel
from vidpipe.models.endpoint.client import is_public
from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer
from vidpipe_tests.models.endpoint.endpoint_requests import error, one, request, settings
from vidpipe_tests.models.endpoint.model_server import Fault, ModelServer, completion, echo_key, says, status, well

KEY = "sk-hunter2/AbCd+0123=="


@pytest.fixture
def elsewhere() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def test_the_key_is_sent_as_a_bearer(server: ModelServer) -> None:
    one(server.url, access_key=f" {KEY}\n")
    assert server.posts[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.posts[0].path == "/v1/chat/completions"


def test_without_a_key_nothing_takes_its_place(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    one(server.url)
    one(server.url, access_key=KEY)
    assert "authorization" not in server.posts[0].headers
    assert server.posts[1].headers["authorization"] == f"Bearer {KEY}"


def test_nothing_of_the_environment_or_the_machine_is_sent(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The `openai` client would take keys and headers from the environment, and describe the machine in others."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-provider")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-provider")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other: of-another-provider")
    assert one(server.url).error is None
    assert sorted(server.posts[0].headers) == [
        "accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent",
    ]  # fmt: skip
    assert server.posts[0].headers["user-agent"] == "vidpipe"


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_no_redirect_is_followed(server: ModelServer, elsewhere: ModelServer, code: int) -> None:
    server.always = status(code, {"Location": f"{elsewhere.url}/v1/chat/completions"})
    with pytest.raises(UnavailableError, match=rf"answered {code}.*no redirect is followed.*Correct PublicEndpoint"):
        one(server.url, access_key=KEY)
    assert not elsewhere.posts


@pytest.mark.parametrize(
    "fault",
    [echo_key, status(400, said=f"Bad request with {KEY}"), status(500, said=f"key={KEY}"),
     says(f"Authorization: Bearer {KEY} refused".encode(), 422), status(503, {"Retry-After": KEY}, said=KEY * 50),
     status(400, said=f"{KEY[:4]}\u200b{KEY[4:]}")],
    ids=["401", "400", "500", "422", "503", "hidden"],
)  # fmt: skip
def test_a_key_that_the_server_says_is_not_repeated(
    server: ModelServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.always = fault
    try:
        said = error(one(server.url, access_key=KEY))
    except UnavailableError as raised:
        said = f"{raised!r} {raised.message} {raised.hint} {raised.__cause__!r}"
    assert "answered" in said
    assert KEY not in said
    assert "\x1b" not in said
    assert KEY not in caplog.text


def test_a_key_in_an_answer_is_not_stored(server: ModelServer) -> None:
    server.always = says(completion(f"I was asked with {KEY}."))
    (answer,) = one(server.url, access_key=KEY).answers
    assert answer.text == "I was asked with ***."
    server.always = says(completion("An EMPTY street."))
    (answer,) = one(server.url, access_key="EMPTY").answers
    assert answer.text == "An EMPTY street.", "a word that serves as key is no secret"


@pytest.mark.parametrize("key", ["sk-hunter2\r\nX-Other: 1", "sk-hunter2 b", "sk-hünter2"])
def test_a_key_that_no_header_takes_is_refused_without_quoting_it(key: str) -> None:
    with pytest.raises(UnavailableError, match=r"AccessKey of .* cannot be sent") as raised:
        EndpointModel(settings("http://127.0.0.1:1", access_key=key))
    assert "nter2" not in str(raised.value)


def test_a_key_is_not_shown_by_what_holds_it() -> None:
    assert KEY not in repr(server_addresses(settings("http://127.0.0.1:1", access_key=KEY).qwen_vl))


def test_a_key_does_not_cross_the_internet_in_the_clear(server: ModelServer) -> None:
    """The loopback stands in for a public address, which tests cannot have."""

    def asked(key: str) -> list[ModelReply]:
        model = EndpointModel(settings(server.url, access_key=key), is_public=lambda address: True)
        return list(model.answer([request()], threading.Event()))

    with pytest.raises(UnavailableError, match=r"The key is not sent.*https://"):
        asked(KEY)
    assert not server.posts
    assert asked("")[0].error is None, "without a key there is nothing to lose but the frames"


@pytest.mark.parametrize(
    ("address", "public"),
    [("127.0.0.1", False), ("10.1.2.3", False), ("192.168.1.1", False), ("100.100.2.3", False), ("8.8.8.8", True),
     ("::1", False), ("fd00::1", False), ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False),
     ("::ffff:8.8.8.8", True), ("2606:4700::1111", True)],
)  # fmt: skip
def test_which_addresses_are_on_the_internet(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_plain_server_is_asked_directly_and_an_encrypted_one_through_the_proxy(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Proxy(LoopbackHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"{self.path} {self.headers}")
            self.send_error(403)

    with LoopbackServer(Proxy) as proxy:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        server.always = well
        assert one(server.url, access_key=KEY).error is None
        assert not asked
        with pytest.raises(UnavailableError, match="proxy of HTTPS_PROXY"):
            one("https://models.example/v1", access_key=KEY, request_retries=0)
    assert len(asked) == 1
    assert asked[0].startswith("models.example:443")
    assert KEY not in asked[0]
