"""Slow clients of a page are cut off, keep nobody out, and do not hold up its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from vidpipe.errors import UnavailableError
from vidpipe.operations.http_guard import ConnectionLimits, listen
from vidpipe_tests.operations.serving_page import serving

POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
UPGRADE = (
    b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
given_up = threading.Event()
IMPATIENT = ConnectionLimits(request_s=0.2, response_s=0.2)


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


def page(request: Request) -> Response:
    return HTMLResponse("it", headers={"Content-Security-Policy": "base-uri 'none'", "X-Frame-Options": "SAMEORIGIN"})


async def endless(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
                await asyncio.sleep(0)  # so that it sees the client go
        finally:
            given_up.set()

    return StreamingResponse(chunks())


async def live(connection: WebSocket) -> None:
    await connection.accept()
    await connection.send_text(await connection.receive_text())


APP = Starlette(
    routes=[
        Route("/", page),
        Route("/endless", endless),
        Route("/echo", echo, methods=["POST"]),
        WebSocketRoute("/live", live),
    ]
)


@pytest.fixture
def limits() -> ConnectionLimits:
    return ConnectionLimits()


@pytest.fixture
def port(limits: ConnectionLimits) -> Iterator[int]:
    with serving(APP, limits) as port:
        yield port


def connect(port: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(data)
    return connection


def answered(port: int, data: bytes, status: int) -> socket.socket:
    """A connection on which `data` was answered. On a busy machine the limit may pass before the data is sent."""
    for _ in range(20):
        connection = connect(port, data)
        with contextlib.suppress(ConnectionError):
            if connection.recv(10_000).startswith(b"HTTP/1.1 %d" % status):
                return connection
        connection.close()
    raise AssertionError("never answered")


def drip(connection: socket.socket, byte: bytes) -> None:
    """Sends `byte` again and again until the server has had enough."""
    connection.settimeout(0.05)
    deadline = time.monotonic() + 30
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            connection.sendall(byte)
            with contextlib.suppress(TimeoutError):
                assert connection.recv(1000) == b""
                return
    assert time.monotonic() < deadline, "never cut off"


def get(port: int, path: str = "/", **headers: str) -> tuple[int, dict[str, list[str]]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    names = {name.lower() for name in answer.headers}
    return answer.status, {name: answer.headers.get_all(name) or [] for name in names}


@pytest.mark.parametrize("limits", [IMPATIENT])
@pytest.mark.parametrize(
    ("begun", "byte"),
    [(b"", b"G"), (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"y"), (POST, b"z"), (UPGRADE, b"X"),
     (POST.replace(b"Content-Length: 1000", b"Transfer-Encoding: chunked"), b"1\r\nz\r\n")],
    ids=["line", "header", "body", "upgrade", "chunks"],
)  # fmt: skip
def test_a_request_that_never_ends_is_cut_off_however_it_drips(port: int, begun: bytes, byte: bytes) -> None:
    with connect(port, begun) as connection:
        drip(connection, byte)


@pytest.mark.parametrize("limits", [ConnectionLimits(request_s=0.3, upload_bytes_per_s=1000)])
def test_a_body_may_take_long_as_long_as_it_arrives_steadily(port: int) -> None:
    begun = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n"
    with connect(port, begun) as steady, connect(port, begun) as stalls:
        stalls.sendall(b"x" * 5000)
        for _ in range(20):
            steady.sendall(b"x" * 500)
            time.sleep(0.06)
        assert steady.recv(10_000).startswith(b"HTTP/1.1 200")
        stalls.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert stalls.recv(1000) == b""


@pytest.mark.parametrize("limits", [ConnectionLimits(connections=3)])
def test_a_connection_that_waits_makes_room_before_one_at_work(port: int) -> None:
    with contextlib.ExitStack() as opened:
        at_work = opened.enter_context(connect(port, POST))
        for _ in range(6):
            opened.enter_context(answered(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200))
        at_work.sendall(b"x" * 1000)
        assert at_work.recv(10_000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("limits", [IMPATIENT])
def test_so_is_the_second_on_a_connection(port: int) -> None:
    with answered(port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200) as connection:
        drip(connection, b"G")


@pytest.mark.parametrize("limits", [ConnectionLimits(unfinished=5)])
def test_any_number_of_unfinished_requests_shuts_nobody_out(port: int) -> None:
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(connect(port, b"GET /")) for _ in range(20)]
        assert get(port)[0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert slow[0].recv(10) == b"", "the oldest made room"


@pytest.mark.parametrize("limits", [ConnectionLimits(connections=5)])
def test_any_number_of_idle_websockets_does_neither(port: int) -> None:
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(answered(port, UPGRADE + b"\r\n", 101)) for _ in range(20)]
        assert get(port)[0] == 200
        assert not all(standing(connection) for connection in idle[:16])


def standing(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(10) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("limits", [IMPATIENT])
def test_an_answer_that_is_not_taken_is_given_up(port: int) -> None:
    with connect(port, b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        assert given_up.wait(30)


@pytest.mark.parametrize("limits", [IMPATIENT])
def test_a_websocket_may_idle(port: int) -> None:
    with answered(port, UPGRADE + b"\r\n", 101) as connection:
        threading.Event().wait(0.4)
        connection.sendall(b"\x81\x82\x00\x00\x00\x00hi")
        assert connection.recv(1000) == b"\x81\x02hi"


def test_a_websocket_of_another_site_is_refused(port: int) -> None:
    with connect(port, UPGRADE + b"Origin: http://evil.test\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 403")


def test_slow_clients_do_not_hold_up_the_end() -> None:
    with contextlib.ExitStack() as opened, serving(APP, ConnectionLimits(stop_s=0.2)) as port:
        for begun in (b"", b"GET /", POST, UPGRADE + b"\r\n", b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            opened.enter_context(connect(port, begun))
        assert get(port)[0] == 200


def test_every_answer_forbids_frames_and_guessing(port: int) -> None:
    for path, host in (("/", "localhost"), ("/none", "localhost"), ("/", "evil.test")):
        _, headers = get(port, path, Host=host)
        assert headers["x-frame-options"] == ["DENY"]
        assert headers["x-content-type-options"] == ["nosniff"]
        assert headers["cross-origin-resource-policy"] == ["same-origin"]
        assert headers["referrer-policy"] == ["same-origin"]
        assert headers["content-security-policy"][-1] == "frame-ancestors 'none'"
        assert not any(name.startswith("access-control") for name in headers)
    assert get(port)[1]["content-security-policy"][0] == "base-uri 'none'"


def test_a_port_that_is_taken_is_named_with_its_setting(port: int) -> None:
    with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1, port {port}") as raised:
        listen("127.0.0.1", port, "WebPort")
    assert "WebPort" in raised.value.hint
