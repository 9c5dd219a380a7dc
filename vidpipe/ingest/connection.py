"""Connections that check, in the act of connecting, whom they connect to.

The address that was checked is the one the socket connects to: no second look-up lies between, so a name server that
answers differently the second time (DNS rebinding) gains nothing. TLS and the Host header keep the name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.timeout import Timeout

from vidpipe.ingest.addresses import AddressPolicy, Endpoint, look_up
from vidpipe.network.session import Pools, authorities, pools_of, session_over, shut_down

Resolve = Callable[[str, int], list[Endpoint]]


class LiveSockets:
    """The sockets of one session, so that another thread can end a transfer that hangs."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def add(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets = [known for known in self._sockets if known.fileno() >= 0] + [sock]

    def shut_down(self) -> None:
        """Whoever reads from one of the sockets gets an end of data or an error at once."""
        with self._lock:
            for sock in self._sockets:
                shut_down(sock)


def _connect(connection: HTTPConnection, resolve: Resolve, live: LiveSockets) -> socket.socket:
    last: OSError | None = None
    timeout = Timeout.resolve_default_timeout(connection.timeout)
    for family, sockaddr in resolve(connection._dns_host, connection.port):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(timeout)
            sock.connect(sockaddr)
        except OSError as error:
            sock.close()
            last = error
            continue
        live.add(sock)
        return sock
    raise NewConnectionError(connection, f"no connection: {last}") from last


def _pools(resolve: Resolve, live: LiveSockets) -> Pools:
    class GuardedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, resolve, live)

    class GuardedHTTPSConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connect(self, resolve, live)

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, socket.socket):
                live.add(self.sock)  # the TLS socket took the first one's place

    return pools_of(GuardedHTTPConnection, GuardedHTTPSConnection)


def open_session(policy: AddressPolicy, user_agent: str) -> tuple[requests.Session, LiveSockets]:
    """A session for one download, and the handle that ends its transfers.

    It connects only where `policy` allows. Through a proxy, the proxy itself is the machine that is connected to; none
    is used unless the settings ask for it. A private authority's certificates are taken from REQUESTS_CA_BUNDLE or
    CURL_CA_BUNDLE; verification itself cannot be switched off.
    Errors: UnavailableError where such a variable names nothing.
    """
    live = LiveSockets()
    session = session_over(_pools(policy.resolve, live), _pools(look_up, live))
    session.verify = authorities() or True
    # bytes as they are: a transport encoding would make Range and Content-Length speak of other bytes
    session.headers.update({"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    return session, live
