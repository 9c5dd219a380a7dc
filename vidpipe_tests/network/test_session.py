"""Sessions connect as they are told to, and the environment has a say only where it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests
from urllib3.connection import HTTPConnection, HTTPSConnection

from vidpipe.errors import UnavailableError
from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.session import Pools, authorities, open_session, pools_of, session_over
from vidpipe_tests.fault_server import FaultServer


def pools(connected: list[str]) -> Pools:
    """They write down where to."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            connected.append(f"{self.host}:{self.port}")
            super().connect()

    return pools_of(Plain, HTTPSConnection)


def test_a_session_connects_through_the_given_pools_and_to_a_proxy_through_its_own() -> None:
    direct: list[str] = []
    to_proxy: list[str] = []
    with FaultServer() as server, FaultServer() as proxy, session_over(pools(direct), pools(to_proxy)) as session:
        url, far = server.add("/clip.mp4", b"one"), "http://videos.example/clip.mp4"
        proxy.add(far, b"two")
        assert session.get(url, timeout=5).content == b"one"
        assert (direct, to_proxy) == ([f"127.0.0.1:{server.port}"], [])
        assert session.get(far, timeout=5, proxies={"http": proxy.url("")}).content == b"two"
        assert (len(direct), to_proxy) == (1, [f"127.0.0.1:{proxy.port}"])


def test_the_environment_gives_a_session_neither_proxies_nor_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login anna password hunter2\n")
    monkeypatch.setenv("NETRC", os.fspath(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with FaultServer() as server, session_over(pools([]), pools([])) as session:
        assert session.get(server.add("/clip.mp4", b"one"), timeout=5).content == b"one"
        assert "authorization" not in server.requests[0].headers


def test_authorities_are_those_of_the_first_variable_that_names_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    first.touch()
    second.touch()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    assert authorities() == ""
    monkeypatch.setenv("CURL_CA_BUNDLE", str(second))
    assert authorities() == str(second)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(first))
    assert authorities() == str(first)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(UnavailableError, match=r"REQUESTS_CA_BUNDLE names /nowhere/ca\.pem"):
        authorities()


def test_a_guarded_session_connects_to_checked_addresses_only_and_keeps_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = AddressPolicy(("127.0.0.0/8",))
    with FaultServer() as server:
        addresses = ["127.0.0.3", "127.0.0.1"]  # nothing listens on the first one
        monkeypatch.setattr(policy, "resolve", lambda host, port: addresses if host == "videos.example" else [])
        session, live = open_session(policy, "test")
        url = f"http://videos.example:{server.port}/clip.mp4"
        server.add("/clip.mp4", b"one")
        with session:
            assert session.get(url, timeout=5).content == b"one"
            assert server.requests[0].headers["host"] == f"videos.example:{server.port}"
            live.shut_down()
            assert session.get(url, timeout=5).content == b"one", "a new connection takes the place of a closed one"
            addresses.pop()
            session.close()
            with pytest.raises(requests.ConnectionError):
                session.get(url, timeout=5)
