"""A URL from a list does not reach into the user's own network, however it is written and wherever it leads."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest

from vidpipe.network.addresses import AddressPolicy, forbidden_reason
from vidpipe.network.fetch_errors import FetchError
from vidpipe.sources.download import download
from vidpipe.sources.media_store import MediaStore
from vidpipe.sources.urls import SourceUrl
from vidpipe_tests.fault_server import FaultServer, redirect
from vidpipe_tests.sources.conftest import IngestHome


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "169.254.0.7", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "fec0::1",
    ],
)  # fmt: skip
def test_special_addresses_are_forbidden(address: str) -> None:
    assert forbidden_reason(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_not(address: str) -> None:
    assert forbidden_reason(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/x.mp4", "http://0x7f000001/x.mp4", "http://0177.0.0.1/x.mp4", "http://127.1/x.mp4",
        "http://0x7f.1/x.mp4", "http://127.0.0.1./x.mp4", "http://[::1]/x.mp4", "http://[::ffff:7f00:1]/x.mp4",
        "http://user@127.0.0.1/x.mp4", "http://public.example@127.0.0.1/x.mp4", "http://127.0.0.1:0/x.mp4",
        "http://169.254.169.254/latest/meta-data/", "ftp://example.org/x.mp4", "http:///x.mp4", "gopher://x/y",
    ],
)  # fmt: skip
def test_disguised_addresses_are_refused_without_a_look_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("looked up"))
    with pytest.raises(FetchError) as caught:
        AddressPolicy().check_url(url)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("127.0.0.1", "http://127.0.0.1:81/x", True),
        ("127.0.0.1:81", "http://127.0.0.1:81/x", True),
        ("127.0.0.1:81", "http://127.0.0.1/x", False),
        ("10.0.0.0/8", "http://10.9.9.9/x", True),
        ("10.0.0.0/8", "http://192.168.0.1/x", False),
        ("[::1]:8080", "http://[::1]:8080/x", True),
        ("::1", "http://[::1]/x", True),
        ("nas.local", "http://10.0.0.1/x", False),
        ("100.64.0.0/10", "http://100.64.0.1/x", True),
        ("100.64.0.0/10", "http://100.100.100.200/latest/meta-data/", False),
        ("100.100.100.200", "http://100.100.100.200/latest/meta-data/", True),
    ],
)
def test_what_the_settings_allow(entry: str, url: str, allowed: bool) -> None:
    policy = AddressPolicy([entry])
    if allowed:
        policy.check_url(url)
    else:
        with pytest.raises(FetchError):
            policy.check_url(url)


def test_a_name_is_allowed_by_name_but_opens_no_metadata_service() -> None:
    policy = AddressPolicy(["NAS.local"])
    policy.check_address(ipaddress.ip_address("10.0.0.7"), "nas.local", 80)
    with pytest.raises(FetchError, match="metadata"):
        policy.check_address(ipaddress.ip_address("169.254.169.254"), "nas.local", 80)


def test_a_name_that_stands_for_loopback_is_refused(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/clip.mp4", clip)
    room.with_download(allowed_private=())
    outcome = room.add_one(f"http://localhost:{server.port}/clip.mp4")
    assert outcome.state == "refused"
    assert "localhost resolves to" in str(outcome.error)
    assert "AllowedPrivate" in str(outcome.error)
    assert server.requests == []


def test_a_name_that_is_allowed_is_asked(room: IngestHome, server: FaultServer, clip: bytes) -> None:
    server.add("/clip.mp4", clip)
    room.with_download(allowed_private=(f"localhost:{server.port}",))
    assert room.add_one(f"http://localhost:{server.port}/clip.mp4").state == "stored"
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(host: str, port: int, *_: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("93.184.215.14", "10.0.0.5")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with pytest.raises(FetchError, match=r"resolves to 10\.0\.0\.5"):
        AddressPolicy().resolve("rebind.example", 80)


def test_a_name_server_that_changes_its_mind_gains_nothing(
    room: IngestHome, server: FaultServer, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the first look-up gives an allowed address, every later one a forbidden one. The connection goes
    to the address that was checked, so that there is no second look-up to be deceived by."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *rest: int) -> object:
        if host != "rebind.example":
            return real(host, port, *rest)
        looked_up.append(host)
        return real("127.0.0.1" if len(looked_up) == 1 else "127.0.0.2", port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    server.add("/clip.mp4", clip)
    assert room.add_one(f"http://rebind.example:{server.port}/clip.mp4").state == "stored"
    assert looked_up == ["rebind.example"]
    second = room.add_one(f"http://rebind.example:{server.port}/clip.mp4?2")
    assert second.state == "refused"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/iam/",
        "http://10.0.0.1/x.mp4",
        "http://192.168.1.1/x.mp4",
        "http://[fd00:ec2::254]/x",
        "http://2852039166/x",
        "//127.0.0.2/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
    ],
)
def test_a_redirect_to_an_address_that_is_not_allowed_is_refused(
    room: IngestHome, server: FaultServer, target: str
) -> None:
    outcome = room.add_one(server.add("/clip.mp4", b"", always=redirect(target)))
    assert outcome.state == "refused"
    assert server.url("/clip.mp4") in str(outcome.error)
    assert len(server.requests) == 1


def test_a_redirect_to_another_port_of_an_allowed_host_is_refused(
    room: IngestHome, server: FaultServer, clip: bytes
) -> None:
    with FaultServer() as inner:
        inner.add("/secret.mp4", clip)
        outcome = room.add_one(server.add("/clip.mp4", b"", always=redirect(inner.url("/secret.mp4"))))
        assert outcome.state == "refused"
        assert inner.requests == []


def test_a_name_that_does_not_exist_is_a_lasting_error(room: IngestHome) -> None:
    outcome = room.add_one("http://no-such-host.invalid/clip.mp4")
    assert outcome.state == "failed"
    assert "no-such-host.invalid" in str(outcome.error)


@pytest.mark.parametrize("refused", [True, False])
def test_an_error_is_not_its_own_cause(room: IngestHome, server: FaultServer, refused: bool) -> None:
    if refused:
        room.with_download(allowed_private=())
    url = SourceUrl(server.url("/missing.mp4"))
    with pytest.raises(FetchError) as raised:
        download(url, settings=room.settings, store=MediaStore(room.settings), cancelled=threading.Event())
    error: BaseException | None = raised.value
    seen: list[BaseException] = []
    while error is not None:
        assert error not in seen
        seen.append(error)
        error = error.__cause__
