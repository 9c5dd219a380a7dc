"""E-mail against a real mail server: secured in each way, with and without a login, refused, gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr

from vidpipe.operations.alerts.channels import DeliveryError, MailChannel
from vidpipe.operations.alerts.message import AlertMessage
from vidpipe.settings.operation import Alerts
from vidpipe_tests.operations.alerts.mail_server import PASSWORD, USER, Post, mail_server, make_certificate

MESSAGE = AlertMessage(title="vidpipe on box: 1 run failed", text="Ein Fehler: Größe …\n  a.mp4: bad.")
TO = ("first@example.org", "second@example.org")
Start = Callable[..., Controller]


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def start(post: Post) -> Iterator[Start]:
    started: list[Controller] = []

    def begin(**how: Any) -> Controller:
        server = mail_server(post, **how)
        server.start()
        started.append(server)
        return server

    yield begin
    for server in started:
        server.stop()


def mail(server: Controller, **changed: Any) -> MailChannel:
    values: dict[str, Any] = {"mail_to": TO, "smtp_host": "127.0.0.1", "smtp_port": server.port,
                              "smtp_security": "none"}  # fmt: skip
    return MailChannel(Alerts(**(values | changed)))


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_one_mail_reaches_all(
    start: Start, post: Post, certificate: Path, security: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = start(security=security, certificate=certificate)
    mail(server, smtp_security=security).send(MESSAGE)
    (got,) = post.mails
    assert got["Subject"] == MESSAGE.title
    assert got.get_content().splitlines() == MESSAGE.text.splitlines()
    assert post.to == [list(TO)]
    assert post.secure == [security != "none"]


def test_a_login_is_given_over_a_safe_connection(
    start: Start, post: Post, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = start(security="starttls", certificate=certificate, login=True)
    login = {"smtp_security": "starttls", "smtp_user": USER}
    mail(server, **login, smtp_password=SecretStr(PASSWORD)).send(MESSAGE)
    assert len(post.mails) == 1
    with pytest.raises(DeliveryError, match=f"rejected the login of {USER}") as failed:
        mail(server, **login, smtp_password=SecretStr("hunter2hunter2")).send(MESSAGE)
    assert "hunter2" not in str(failed.value)
    assert failed.value.permanent


def test_a_certificate_of_nobody_knows_whom_is_not_trusted(start: Start, post: Post, certificate: Path) -> None:
    server = start(security="starttls", certificate=certificate)
    with pytest.raises(DeliveryError, match="no secure connection"):
        mail(server, smtp_security="starttls").send(MESSAGE)
    assert post.mails == []


def test_a_server_without_starttls_gets_nothing_in_the_clear(start: Start, post: Post) -> None:
    with pytest.raises(DeliveryError, match="does not support STARTTLS"):
        mail(start(), smtp_security="starttls", smtp_user=USER, smtp_password=SecretStr(PASSWORD)).send(MESSAGE)
    assert post.mails == []


def test_an_address_that_is_refused_is_told_and_the_others_have_it(start: Start, post: Post) -> None:
    post.refuses = {TO[0]}
    server = start()
    with pytest.raises(DeliveryError, match=r"rejected 1 of the 2 addresses") as failed:
        mail(server).send(MESSAGE)
    assert failed.value.delivered
    assert post.to == [[TO[1]]]
    post.refuses = set(TO)
    with pytest.raises(DeliveryError, match=r"rejected 2 of the 2 addresses") as failed:
        mail(server).send(MESSAGE)
    assert not failed.value.delivered


@pytest.mark.parametrize(("answer", "permanent"), [("451 later", False), ("554 never", True)])
def test_a_refused_mail_says_whether_trying_again_helps(start: Start, post: Post, answer: str, permanent: bool) -> None:
    post.answer = answer
    with pytest.raises(DeliveryError, match=f"responded with {answer[:3]}") as failed:
        mail(start()).send(MESSAGE)
    assert failed.value.permanent is permanent


def test_a_server_that_is_not_there_is_named(post: Post) -> None:
    server = mail_server(post)
    server.start()
    port = server.port
    server.stop()
    gone = MailChannel(Alerts(mail_to=TO, smtp_host="127.0.0.1", smtp_port=port, smtp_security="none"))
    with pytest.raises(DeliveryError, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        gone.send(MESSAGE)
