"""The guard proxy connects only where the address policy allows, and only for the program that has its password."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from vidpipe.network.guard_proxy import GuardProxy
from vidpipe.settings.operation import Download
from vidpipe_tests.fault_server import FaultServer


def guard_for(*allowed: str, **changes: object) -> GuardProxy:
    return GuardProxy(Download(allowed_private=allowed, connect_timeout=2, read_timeout=2, **changes))  # type: ignore[arg-type]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        running.add("/x", b"content")
        yield running


def greet(guard: GuardProxy, user: str = "guard", password: str | None = None) -> tuple[socket.socket, bytes]:
    """Return a connection after the login, and the proxy's answer to that."""
    sock = socket.create_connection(guard.server_address, 5)
    sock.sendall(b"\x05\x01\x02")
    assert sock.recv(2) == b"\x05\x02"
    known = urlsplit(guard.url).password or ""
    given = (known if password is None else password).encode()
    sock.sendall(b"\x01" + bytes([len(user)]) + user.encode() + bytes([len(given)]) + given)
    return sock, sock.recv(2)


def connect(guard: GuardProxy, host: str, port: int, command: int = 1) -> tuple[socket.socket, int]:
    """Return a connection through the proxy, and its reply code; -1: none."""
    sock, answer = greet(guard)
    assert answer == b"\x01\x00"
    name = host.encode()
    try:
        address = b"\x01" + socket.inet_pton(socket.AF_INET, host)
    except OSError:
        address = b"\x03" + bytes([len(name)]) + name
        if ":" in host:
            address = b"\x04" + socket.inet_pton(socket.AF_INET6, host)
    sock.sendall(bytes([5, command, 0]) + address + struct.pack(">H", port))
    reply = sock.recv(10)
    return sock, reply[1] if reply else -1


def get(sock: socket.socket, path: str = "/x") -> bytes:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while data := sock.recv(1 << 16):
        received += data
    return received


def test_an_allowed_address_is_reached(server: FaultServer) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        sock, reply = connect(guard, "127.0.0.1", server.port)
        assert reply == 0
        assert get(sock).endswith(b"content")
        assert guard.received_bytes > len(b"content")
        assert not guard.errors


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "127.1", "::1", "::ffff:127.0.0.1",
        "10.0.0.1", "192.168.0.1", "169.254.169.254", "fd00:ec2::254", "100.100.100.200",
    ],
)  # fmt: skip
def test_a_forbidden_address_is_not(server: FaultServer, host: str) -> None:
    with guard_for("127.0.0.1:1") as guard:
        sock, reply = connect(guard, host, server.port)
        assert reply == 2
        assert sock.recv(1) == b""
        (error,) = guard.errors
        assert error.kind == "refused"
        assert "AllowedPrivate" in error.hint
    assert server.requests == []


def test_a_port_that_is_not_allowed_is_refused(server: FaultServer) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        assert connect(guard, "127.0.0.1", 22)[1] == 2


@pytest.mark.parametrize("password", ["", "wrong", "é" * 20])
def test_other_users_of_the_machine_cannot_use_it(server: FaultServer, password: str) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        sock, answer = greet(guard, password=password)
        assert answer == b"\x01\x01"
        assert sock.recv(1) == b""
    assert server.requests == []


@pytest.mark.parametrize("command", [0, 2, 3, 255])
def test_it_neither_listens_nor_relays_datagrams(server: FaultServer, command: int) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        assert connect(guard, "127.0.0.1", server.port, command)[1] == -1


@pytest.mark.parametrize(
    "garbage", [b"", b"\x05", b"GET http://169.254.169.254/ HTTP/1.1\r\n\r\n", bytes(300), b"\xff" * 300]
)
def test_garbage_ends_only_its_own_connection(
    server: FaultServer, garbage: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        with socket.create_connection(guard.server_address, 5) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(100):
                pass
        assert connect(guard, "127.0.0.1", server.port)[1] == 0
    assert capfd.readouterr().err == ""


def test_a_host_that_is_not_there_is_named() -> None:
    with guard_for("127.0.0.1") as guard, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert connect(guard, "127.0.0.1", unused.getsockname()[1])[1] == 2
        assert guard.errors[0].transient
        assert "127.0.0.1" in guard.errors[0].message


def test_a_name_server_that_changes_its_mind_gains_nothing(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the connection goes to the address that was checked, without a second look-up of the name."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, port: int, *rest: int) -> object:
        if host != "rebind.example":
            return real(host, port, *rest)
        looked_up.append(host)
        return real("127.0.0.1" if len(looked_up) == 1 else "127.0.0.2", port, *rest)

    with guard_for(f"127.0.0.1:{server.port}") as guard:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        sock, reply = connect(guard, "rebind.example", server.port)
        assert reply == 0
        assert get(sock).endswith(b"content")
        assert looked_up == ["rebind.example"]
        assert connect(guard, "rebind.example", server.port)[1] == 2
    assert len(server.requests) == 1


def test_a_server_cannot_send_without_end(server: FaultServer) -> None:
    server.add("/large", bytes(3 << 20))
    with guard_for(f"127.0.0.1:{server.port}", max_size_mb=1) as guard:
        sock, _ = connect(guard, "127.0.0.1", server.port)
        assert len(get(sock, "/large")) <= guard.max_bytes
        assert guard.received_bytes > guard.max_bytes


def test_nothing_listens_after_its_end(server: FaultServer) -> None:
    with guard_for(f"127.0.0.1:{server.port}") as guard:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(guard.server_address, 5)
