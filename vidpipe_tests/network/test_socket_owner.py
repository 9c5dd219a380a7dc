"""The user at the other end of a connection on this machine."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from vidpipe.network.socket_owner import NO_USER, user_of


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_user_of_a_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        here = server.getsockname()[:2]
        with socket.create_connection(here) as client:
            there = client.getsockname()[:2]
            assert user_of(there, here) == os.getuid()
        with server.accept()[0]:
            assert user_of(there, here) == NO_USER, "closed by its process, while the other end is open"
        assert user_of(("127.0.0.1", 1), here) is (NO_USER if family == socket.AF_INET else None)


def test_what_is_no_connection_has_no_user() -> None:
    assert user_of(("testclient", 5000), ("127.0.0.1", 8000)) is None
    assert user_of(("127.0.0.1", 70_000), ("127.0.0.1", 8000)) is None
