"""One connection to the model's server, on which one request at a time has a limit on its whole time.

A socket's own time limit starts anew with every byte, so a server that sends one now and then would hold a request for
ever. Here a watch looks at all connections and shuts down those whose time is over, or all once the run is stopped.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests
import urllib3
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection

from vidpipe.network.session import Pools, authorities, pools_of, session_over, shut_down
from vidpipe.vlm.endpoint.address import Server
from vidpipe.vlm.endpoint.faults import Fault, overdue, transport_fault

CONNECT_S = 10.0
_CHUNK_BYTES = 64 * 1024
#: Far more than the longest answer to a prompt takes; and of an error only its sentence is wanted.
_MOST_ANSWER_BYTES, _MOST_ERROR_BYTES = 4 << 20, 64 << 10
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity",
            "User-Agent": "vidpipe"}  # fmt: skip


class Stopped(Exception):
    """The run was cancelled, or another request found that the server is out of reach."""


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Line:
    """A connection that is kept between requests. One thread uses it; another may hang it up."""

    def __init__(self, server: Server, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # so that one request's end is not taken for the next one's
        self._ends_at: float | None = None
        self._ended = ""
        self._session = _session(self, server)

    def post(self, body: bytes) -> Response:
        """The whole answer, whatever its status. Raises Fault; Stopped after `hang_up("stopped")`."""
        server = self._server
        with self._lock:
            self._ended, self._ends_at = "", time.monotonic() + self._timeout_s
        try:
            with self._session.post(
                server.url,
                data=body,
                headers=_HEADERS,
                auth=self._authorize,
                timeout=(min(CONNECT_S, self._timeout_s), self._timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = Response(response.status_code, response.headers, self._read(response))
        except Fault:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._raise_ended()
            raise transport_fault(server, error, timeout_s=self._timeout_s) from error
        finally:
            with self._lock:
                self._ends_at = None
        self._raise_ended()  # an answer without a length ends where it is cut
        return answer

    def look(self, *, stopped: bool) -> None:
        """Hangs up where the request in flight has had its time, or where all are to end."""
        with self._lock:
            if self._ends_at is None or (not stopped and time.monotonic() < self._ends_at):
                return
            self._ended = "stopped" if stopped else "overdue"
            if self._socket is not None:
                shut_down(self._socket)

    def use(self, sock: socket.socket) -> None:
        """Called in the act of connecting, before anything is sent.

        Raises Fault where a key would cross the internet unencrypted: the peer itself is looked at, so a name that is
        looked up differently the next time changes nothing.
        """
        self._socket = sock
        sock.settimeout(self._timeout_s)  # of connecting, until now: too short for sending many frames
        if self._server.encrypted or not self._server.key.get_secret_value():
            return
        if _is_on_the_internet(sock):
            raise Fault(
                f"The key is not sent to {self._server.shown}: the address is on the internet and not encrypted.",
                f"Give {self._server.setting} in [QwenVL] as https://, or reach the server through a tunnel or VPN.",
                kind="setup",
            )

    def close(self) -> None:
        self._session.close()

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        key = self._server.key.get_secret_value()
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def _read(self, response: requests.Response) -> bytes:
        body = bytearray()
        while data := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            body += data
            if response.status_code != 200 and len(body) >= _MOST_ERROR_BYTES:
                return bytes(body[:_MOST_ERROR_BYTES])
            if len(body) > _MOST_ANSWER_BYTES:
                said = f"The answer of {self._server.shown} is longer than {_MOST_ANSWER_BYTES >> 20} MB."
                raise Fault(said, kind="request", status=response.status_code)
        return bytes(body)

    def _raise_ended(self) -> None:
        if self._ended == "stopped":
            raise Stopped
        if self._ended:
            raise overdue(self._server, self._timeout_s)


class Watch:
    """Looks at lines until it is closed; `stop` ends all requests on them, those to come included."""

    _LOOK_EVERY_S = 0.05

    def __init__(self, lines: list[Line], cancelled: threading.Event) -> None:
        self._lines = lines
        self._cancelled = cancelled
        self.stopped = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="endpoint-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._LOOK_EVERY_S):
            if self._cancelled.is_set():
                self.stopped.set()
            for line in self._lines:
                # again and again: a connection that was just being made had no socket yet
                line.look(stopped=self.stopped.is_set())


def _is_on_the_internet(sock: socket.socket) -> bool:
    peer = ipaddress.ip_address(str(sock.getpeername()[0]).partition("%")[0])
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return (mapped or peer).is_global


def _session(line: Line, server: Server) -> requests.Session:
    """A session in which no ~/.netrc password takes the key's place.

    Authorities (REQUESTS_CA_BUNDLE) are the environment's, and for https its proxy (HTTPS_PROXY, NO_PROXY), which sees
    neither key nor frames. A plain http server is asked directly. Raises UnavailableError where such a variable names
    nothing.
    """
    session = session_over(_pools(line), size=1)
    if server.encrypted:
        session.verify = authorities() or True
        session.proxies = dict(get_environ_proxies(server.url, no_proxy=None))
    return session


def _pools(line: Line) -> Pools:
    class WatchedHTTPConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            try:
                line.use(sock)
            except Fault:
                sock.close()
                raise
            return sock

    class WatchedHTTPSConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, socket.socket):
                line.use(self.sock)

    return pools_of(WatchedHTTPConnection, WatchedHTTPSConnection)
