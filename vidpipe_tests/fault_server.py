"""A real HTTP server on localhost that serves files with faults.

    with FaultServer() as server:
        url = server.add("/clip.mp4", data, faults=[cut(0.3), status(503, retry_after="1")])

Each request for a file uses up one of its faults; when they are used up the file is served well. With `always` the
fault stays. `server.requests` tells what was asked and sent.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer

Headers = dict[str, str]


@dataclass
class Served:
    """One file of the server, and how it is served."""

    content: bytes
    content_type: str = "video/mp4"
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    headers: Headers = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    authorization: str | None = None

    def standard_headers(self) -> Headers:
        headers = {"Content-Type": self.content_type, **self.headers}
        if self.etag:
            headers["ETag"] = self.etag
        if self.last_modified:
            headers["Last-Modified"] = self.last_modified
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        return headers


@dataclass
class Seen:
    """One request as the server saw it. `sent`: bytes of the body that were written."""

    path: str
    headers: Headers
    status: int = 0
    sent: int = 0


class Handler(LoopbackHandler):
    protocol_version = "HTTP/1.1"
    server: FaultServer
    seen: Seen

    def do_GET(self) -> None:
        server = self.server
        self.seen = Seen(self.path, {name.lower(): value for name, value in self.headers.items()})
        with server.lock:
            server.requests.append(self.seen)
            served = server.files.get(self.path) or server.files.get(urlsplit(self.path).path)
            fault = None
            if served:
                fault = served.faults.pop(0) if served.faults else served.always
        try:
            if served is None:
                self.send(404, b"<html><body>not found</body></html>", {"Content-Type": "text/html"})
            elif served.authorization and self.headers.get("Authorization") != served.authorization:
                self.send(401, b"", {"WWW-Authenticate": "Basic"})
            elif fault:
                fault(self, served)
            else:
                serve(self, served)
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            self.close_connection = True  # the client closed the connection

    def head(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.seen.status = status_code
        super().head(status_code, headers)

    def write(self, data: bytes) -> None:
        super().write(data)
        self.seen.sent += len(data)

    def hang_up(self, reset: bool = False) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


Fault = Callable[[Handler, Served], None]


def _slice(handler: Handler, served: Served) -> tuple[int, int, Headers]:
    """(status, first byte, headers) for the request's Range, If-Range and conditions."""
    request, headers, size = handler.headers, served.standard_headers(), len(served.content)
    tag = served.etag
    if tag and request.get("If-None-Match") == tag:
        return 304, size, headers
    if served.last_modified and request.get("If-Modified-Since") == served.last_modified:
        return 304, size, headers
    found = re.fullmatch(r"bytes=(\d+)-", request.get("Range", ""))
    fits = request.get("If-Range") in (None, tag, served.last_modified)
    if not served.ranges or not found or not fits:
        return 200, 0, headers
    start = int(found[1])
    if start >= size:
        return 416, size, {**headers, "Content-Range": f"bytes */{size}"}
    return 206, start, {**headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"}


def serve(handler: Handler, served: Served) -> None:
    """The correct file, with support for ranges and conditions if enabled."""
    status_code, start, headers = _slice(handler, served)
    if status_code == 304:
        handler.head(304, headers)
    else:
        handler.send(status_code, served.content[start:], headers)


def cut(share: float = 0.3, *, reset: bool = False) -> Fault:
    """Announce everything, send `share` of the requested bytes, then close the connection."""

    def fault(handler: Handler, served: Served) -> None:
        status_code, start, headers = _slice(handler, served)
        body = served.content[start:]
        handler.head(status_code, {**headers, "Content-Length": str(len(body))})
        handler.write(body[: int(len(body) * share)])
        handler.hang_up(reset)

    return fault


def part(first: int, end: int | None = None, *, total: int | str | None = None, code: int = 206, **more: str) -> Fault:
    """The bytes from `first` to before `end` (None: the last), whatever was asked for.

    total: as Content-Range states it; None: the truth. more: further headers, with _ for -; an empty one is left out
    """

    def fault(handler: Handler, served: Served) -> None:
        body = served.content[first:end]
        headers = {
            **served.standard_headers(),
            "Content-Range": f"bytes {first}-{first + len(body) - 1}/{total or len(served.content)}",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        handler.send(code, body, {name: value for name, value in headers.items() if value})

    return fault


def status(code: int, *, retry_after: str | None = None, body: bytes = b"no") -> Fault:
    """An error response, optionally with Retry-After."""

    def fault(handler: Handler, served: Served) -> None:
        headers = {"Content-Type": "text/plain"} | ({"Retry-After": retry_after} if retry_after else {})
        handler.send(code, body, headers)

    return fault


def wrong_length(more: int) -> Fault:
    """A Content-Length that is wrong by `more` bytes."""

    def fault(handler: Handler, served: Served) -> None:
        status_code, start, headers = _slice(handler, served)
        body = served.content[start:]
        handler.head(status_code, {**headers, "Content-Length": str(len(body) + more)})
        handler.write(body)
        handler.hang_up()

    return fault


def page(handler: Handler, served: Served) -> None:
    """A web page with status 200 instead of the file."""
    html = (
        b"\n <!DOCTYPE html>\n<html><head><title>Watch</title></head><body>"
        + b"<p>player</p>" * 500
        + b"</body></html>"
    )
    handler.send(200, html, {"Content-Type": "text/html; charset=utf-8"})


def endless(block: bytes = b"\0" * 65536, *, chunked: bool = False) -> Fault:
    """The file, followed by endless bytes."""

    def fault(handler: Handler, served: Served) -> None:
        headers = served.standard_headers()
        handler.close_connection = True
        handler.head(200, {**headers, **({"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"})})
        data = served.content or block
        while not handler.server.stopping.is_set():
            handler.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
            data = block

    return fault


def chunked(handler: Handler, served: Served) -> None:
    """The file in chunks, without a length."""
    handler.head(200, {**served.standard_headers(), "Transfer-Encoding": "chunked"})
    for at in range(0, len(served.content), 5000):
        block = served.content[at : at + 5000]
        handler.write(b"%x\r\n%s\r\n" % (len(block), block))
    handler.write(b"0\r\n\r\n")


def slow(bytes_a_time: int, every_s: float) -> Fault:
    """The requested bytes in small pieces with pauses."""

    def fault(handler: Handler, served: Served) -> None:
        status_code, start, headers = _slice(handler, served)
        body = served.content[start:]
        handler.head(status_code, {**headers, "Content-Length": str(len(body))})
        for at in range(0, len(body), bytes_a_time):
            handler.write(body[at : at + bytes_a_time])
            if handler.pause(every_s):
                break

    return fault


def slow_headers(every_s: float) -> Fault:
    """Endless header lines, one by one."""

    def fault(handler: Handler, served: Served) -> None:
        handler.drip_headers(every_s)

    return fault


def hang(handler: Handler, served: Served) -> None:
    """Accept the request and never respond."""
    handler.hang()


def redirect(to: str, code: int = 302, *, body: bytes = b"", endless_body: bool = False) -> Fault:
    """Redirect the client to `to`; with `endless_body`, the redirect itself has an endless body."""

    def fault(handler: Handler, served: Served) -> None:
        if not endless_body:
            handler.send(code, body, {"Location": to})
            return
        handler.close_connection = True
        handler.head(code, {"Location": to, "Connection": "close"})
        while not handler.server.stopping.is_set():
            handler.write(b"\0" * 65536)

    return fault


def gzipped(handler: Handler, served: Served) -> None:
    """With Content-Encoding gzip, although it was not requested."""
    handler.send(200, gzip.compress(served.content, 1), {**served.standard_headers(), "Content-Encoding": "gzip"})


def changes_to(content: bytes, etag: str, then: Fault | None = None) -> Fault:
    """From this request on, the file has other bytes and another ETag."""

    def fault(handler: Handler, served: Served) -> None:
        served.content, served.etag = content, etag
        (then or serve)(handler, served)

    return fault


class FaultServer(LoopbackServer):
    """Serves on a free port of `host` while it is used as a context."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(Handler, host)
        self.files: dict[str, Served] = {}
        self.requests: list[Seen] = []

    def url(self, path: str) -> str:
        return f"http://{self.host}:{self.port}{path}"

    def add(
        self, path: str, content: bytes, *, faults: Sequence[Fault] = (), always: Fault | None = None, **how: Any
    ) -> str:
        """Serve `content` at `path` and return the URL. `how`: further fields of `Served`."""
        self.files[path] = Served(content, faults=list(faults), always=always, **how)
        return self.url(path)

    def seen(self, path: str) -> list[Seen]:
        """The requests for `path`, in order."""
        with self.lock:
            return [seen for seen in self.requests if urlsplit(seen.path).path == path]
