"""Connections that check, in the act of connecting, whom they connect to.

The address that was checked is the one the socket connects to: no second look-up lies between, so a name server that
answers differently the second time (DNS rebinding) gains nothing. TLS and the Host header keep the name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.timeout import Timeout

from vidpipe.errors import UnavailableError
from vidpipe.ingest.addresses import AddressPolicy, Endpoint, look_up

Resolve = Callable[[str, int], list[Endpoint]]

# at DEBUG it writes every path with its query, and so the tokens in it, into the log
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


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
                with contextlib.suppress(OSError):
                    # not SSLSocket.shutdown, which would drop the TLS state under the reader
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


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


def _pool_classes(resolve: Resolve, live: LiveSockets) -> dict[str, type[HTTPConnectionPool]]:
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

    class GuardedHTTPPool(HTTPConnectionPool):
        ConnectionCls = GuardedHTTPConnection

    class GuardedHTTPSPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHTTPSConnection

    return {"http": GuardedHTTPPool, "https": GuardedHTTPSPool}


class GuardedAdapter(requests.adapters.HTTPAdapter):
    """Connects only where `policy` allows. Through a proxy, the proxy itself is the machine that is connected to."""

    def __init__(self, policy: AddressPolicy, live: LiveSockets) -> None:
        self._classes = _pool_classes(policy.resolve, live)
        self._proxy_classes = _pool_classes(look_up, live)
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager: urllib3.PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = dict(self._classes)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # those bring connections of their own
            manager.pool_classes_by_scheme = dict(self._proxy_classes)
        return manager


def authorities() -> str:
    """The file or folder of certificate authorities that the environment names; empty: the usual ones."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(variable, "")
        if path and not os.path.exists(path):
            raise UnavailableError(f"{variable} names {path}, which is not there.", "Correct the variable or unset it.")
        if path:
            return path
    return ""


def open_session(policy: AddressPolicy, user_agent: str) -> tuple[requests.Session, LiveSockets]:
    """A session for one download, and the handle that ends its transfers.

    The environment is not trusted as a whole: no ~/.netrc password goes to a server that merely has the right name,
    and no proxy is used unless the settings ask for it. A private authority's certificates are taken from
    REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE; verification itself cannot be switched off.
    Errors: UnavailableError where such a variable names nothing.
    """
    live = LiveSockets()
    session = requests.Session()
    session.trust_env = False
    session.verify = authorities() or True
    # bytes as they are: a transport encoding would make Range and Content-Length speak of other bytes
    session.headers.update({"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    adapter = GuardedAdapter(policy, live)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session, live
