"""The user at the other end of a connection on this machine."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from vidpipe.network.socket_owner import user_of


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_user_of_a_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        here = server.getsockname()[:2]
        with socket.create_connection(here) as client:
            assert user_of(client.getsockname()[:2], here) == os.getuid()
        assert user_of(("127.0.0.1", 1), here) is None


def test_what_is_no_connection_has_no_user() -> None:
    assert user_of(("testclient", 5000), ("127.0.0.1", 8000)) is None
    assert user_of(("127.0.0.1", 70_000), ("127.0.0.1", 8000)) is None
