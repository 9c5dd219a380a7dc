"""Sessions of requests with custom connection classes, for guarded downloads.

A guarded connection connects to the very address that was checked: no second lookup lies between, so a name server that
answers differently the second time (DNS rebinding) gains nothing. TLS and the Host header keep the name.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Literal

import requests
import requests.adapters
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from vidpipe.errors import UnavailableError
from vidpipe.network.addresses import AddressPolicy
from vidpipe.settings.operation import Download

#: Scheme -> the pools that connect to it.
Pools = dict[str, type[HTTPConnectionPool]]

_POLL_INTERVAL_S = 0.1

# at DEBUG it writes every path with its query, and so the tokens in it, into the log
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)


def pools_of(plain: type[HTTPConnection], encrypted: type[HTTPSConnection]) -> Pools:
    """Return pools of connections of these classes."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, pools: Pools, proxy_pools: Pools) -> None:
        self._pools = pools
        self._proxy_pools = proxy_pools
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        manager: urllib3.PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = dict(self._pools)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):  # those bring their own connections
            manager.pool_classes_by_scheme = dict(self._proxy_pools)
        return manager


def session_over(pools: Pools, proxy_pools: Pools) -> requests.Session:
    """Return a session that takes nothing from the environment by itself.

    No password of ~/.netrc goes to a server that merely has the right name; proxies and certificate authorities apply
    only if the caller sets them.

    Args:
        pools: Make direct connections.
        proxy_pools: Make connections to proxies.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = _Adapter(pools, proxy_pools)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def authorities() -> str:
    """Return the file or folder of certificate authorities that the environment names; empty for the default ones.

    Raises:
        UnavailableError: The variable names neither a file nor a folder.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(variable, "")
        if path and not (os.path.isfile(path) or os.path.isdir(path)):
            raise UnavailableError(
                f"{variable} names {path}, which does not exist.",
                "Correct the variable or unset it.",
                depends_on=(f"variable:{variable}",),
            )
        if path:
            return path
    return ""


def shut_down(sock: socket.socket) -> None:
    """Shut down a socket: another thread that reads from it gets an end of data or an error at once."""
    with contextlib.suppress(OSError):
        # not SSLSocket.shutdown, which would drop the TLS state under the reader
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class LiveConnections:
    """The connections of one session, so that another thread can end a transfer that hangs."""

    def __init__(self) -> None:
        self._connecting: list[HTTPConnection] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def connecting(self, connection: HTTPConnection) -> Iterator[None]:
        """Register a connection while it connects, TLS handshake included, and its socket from then on."""
        with self._lock:
            self._connecting.append(connection)
        try:
            yield
            if isinstance(connection.sock, socket.socket):  # not TLS within the TLS of a proxy
                with self._lock:
                    self._sockets = [known for known in self._sockets if known.fileno() >= 0] + [connection.sock]
        finally:
            with self._lock:
                self._connecting.remove(connection)

    def connect(self, policy: AddressPolicy, host: str, port: int, limits: Download) -> socket.socket:
        """Return a socket that is connected to a checked address of `host`, with the timeouts of `limits`.

        Raises:
            FetchError: The policy refuses the host, or its name cannot be resolved.
            OSError: None of its addresses can be connected to.
        """
        return self.watched(policy.connect(host, port, limits.connect_timeout), limits)

    def watched(self, sock: socket.socket, limits: Download) -> socket.socket:
        """Register a socket, and whatever TLS socket replaces it, from its handshake on; set its read timeout."""
        sock.settimeout(limits.read_timeout)
        with self._lock:
            self._sockets.append(sock.dup())
        return sock

    def shut_down(self) -> None:
        """Shut down all sockets."""
        with self._lock:
            for sock in [*self._sockets, *(connection.sock for connection in self._connecting)]:
                if isinstance(sock, socket.socket):
                    shut_down(sock)


def open_session(policy: AddressPolicy, user_agent: str) -> tuple[requests.Session, LiveConnections]:
    """Return a session for one download, and the handle that ends its transfers.

    It connects only where `policy` allows. Through a proxy, the proxy itself is the host that is connected to; none is
    used unless the settings ask for it. Certificate authorities come from REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE;
    verification cannot be switched off.

    Raises:
        UnavailableError: Such a variable names nothing.
    """
    live = LiveConnections()
    session = session_over(_pools(live, policy), _pools(live))
    session.verify = authorities() or True
    # bytes as they are: with a content encoding, Range and Content-Length would count other bytes
    session.headers.update({"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"})
    return session, live


def _pools(live: LiveConnections, policy: AddressPolicy | None = None) -> Pools:
    """Return pools that register their connections as live ones and, given a policy, connect where it allows."""

    class LiveHTTPConnection(HTTPConnection):
        def connect(self) -> None:
            if policy is None:
                with live.connecting(self):
                    return super().connect()
            name = self.host
            addresses = policy.resolve(name, self.port)
            for address in addresses:
                try:
                    self.host = address  # connecting to a numeric address involves no lookup
                    with live.connecting(self):
                        return super().connect()
                except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError):
                    if address == addresses[-1]:
                        raise
                finally:
                    self.host = name

    class LiveHTTPSConnection(LiveHTTPConnection, HTTPSConnection):
        def connect(self) -> None:
            if policy is not None:
                self.server_hostname = self.server_hostname or self.host
            super().connect()

    return pools_of(LiveHTTPConnection, LiveHTTPSConnection)


class StallWatch:
    """Ends a transfer that stalls, is too slow or was cancelled; a context around it, from connecting to the last byte.

    A socket's own timeout restarts with every byte, so a server that sends one byte now and then would hold a
    download forever. Here the average over a time window counts, as with curl's --speed-limit and --speed-time.

    Attributes:
        verdict: Why the transfer was ended, if it was.
    """

    def __init__(self, live: LiveConnections, cancelled: threading.Event, *, min_speed: int, window_s: float) -> None:
        """Create a watch.

        Args:
            live: The connections to end.
            cancelled: Ends the transfer once it is set.
            min_speed: Bytes a second, averaged over each window; 0 for no limit.
            window_s: Length of a window in seconds.
        """
        self._live = live
        self._cancelled = cancelled
        self._min_bytes = min_speed * window_s
        self._window_s = window_s
        self._bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)
        self.verdict: Literal["stalled", "cancelled"] | None = None

    def count(self, received_bytes: int) -> None:
        """Add received bytes."""
        self._bytes += received_bytes

    def _watch(self) -> None:
        window_start, bytes_then = time.monotonic(), self._bytes
        while not self._over.wait(_POLL_INTERVAL_S):
            if self._cancelled.is_set():
                self.verdict = "cancelled"
            elif self._min_bytes and (now := time.monotonic()) - window_start >= self._window_s:
                if self._bytes - bytes_then < self._min_bytes:
                    self.verdict = "stalled"
                window_start, bytes_then = now, self._bytes
            if self.verdict:
                self._live.shut_down()  # repeatedly: a connection that is just being made has no socket yet

    def __enter__(self) -> "StallWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
