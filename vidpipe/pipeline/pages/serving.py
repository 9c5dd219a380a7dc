"""Serves an ASGI app as a page of this home, guarded, with limits on clients that are slow on purpose or by accident.

uvicorn by itself waits for the rest of a request as long as the connection stands, and ends only when all clients have
taken their answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from vidpipe.errors import UnavailableError
from vidpipe.pipeline.pages.guard import Guard

#: A client that takes longer to send its request, head and body together, is cut off.
_REQUEST_LIMIT_S = 20.0
#: One that leaves a full buffer (64 kB) of its answer unread for longer is, too.
_ANSWER_LIMIT_S = 60.0
#: Unfinished requests at once. A further one cuts off the oldest, so that no number of slow clients shuts out others.
_MOST_UNFINISHED = 100
#: Connections at once, idle WebSockets and unread answers among them; each takes one of the files that a process may
#: have open, on macOS 256. A further one cuts off any other.
_MOST_CONNECTIONS = 200
#: Longest head of a request, in bytes.
_LONGEST_HEAD = 65_536
#: What is being answered when the server is told to stop gets so long.
_STOP_LIMIT_S = 1


class _LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with these limits. A WebSocket has its own protocol from its handshake on, and may idle."""

    #: oldest first
    _unfinished: dict[_LimitedProtocol, asyncio.TimerHandle] = {}  # noqa: RUF012 - of all connections
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= _MOST_CONNECTIONS:
            standing = (one.transport for one in self.connections if not one.transport.is_closing())
            next(standing, transport).abort()
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is self and self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._expect_request()
        else:
            self._end_expecting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_expecting()
        super().connection_lost(exc)  # resumes writing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_ANSWER_LIMIT_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _expect_request(self) -> None:
        if self not in self._unfinished:
            self._unfinished[self] = self.loop.call_later(_REQUEST_LIMIT_S, self.transport.abort)
            if len(self._unfinished) > _MOST_UNFINISHED:
                oldest = next(iter(self._unfinished))
                oldest._end_expecting()
                oldest.transport.abort()

    def _end_expecting(self) -> None:
        if timer := self._unfinished.pop(self, None):
            timer.cancel()


def listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """Sockets for `port` on every address of `host`.

    setting: the key of [Services] that names the port
    Raises UnavailableError where one of them is taken or is no address of this machine.
    """
    with contextlib.ExitStack() as opened:
        try:
            addresses = {
                (family, address) for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            }
            sockets = [
                opened.enter_context(socket.create_server(address[:2], family=family)) for family, address in addresses
            ]
        except OSError as error:
            raise UnavailableError(
                f"The page cannot listen on {host}, port {port}: {error.strerror or error}.",
                f"Choose another [Services] {setting}, or end what has it.",
            ) from error
        opened.pop_all()
    return sockets


def page_server(app: ASGIApp, hosts: Iterable[str]) -> uvicorn.Server:
    """The server of `app`; its `run(sockets)` serves until SIGTERM, which then ends the process.

    hosts: see `Guard`
    """
    return uvicorn.Server(
        uvicorn.Config(
            Guard(app, hosts), http=_LimitedProtocol, h11_max_incomplete_event_size=_LONGEST_HEAD, lifespan="off",
            log_config=None, log_level="error", access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=_STOP_LIMIT_S,
        )
    )  # fmt: skip


def serve(app: ASGIApp, host: str, port: int, allowed_hosts: Iterable[str], setting: str) -> None:
    """Serves `app` until SIGTERM or SIGINT. Raises UnavailableError as `listen` does."""
    with contextlib.suppress(KeyboardInterrupt):
        page_server(app, (host, *allowed_hosts)).run(listen(host, port, setting))
