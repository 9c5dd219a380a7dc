"""Base of the HTTP servers of tests: real servers on localhost that misbehave on purpose."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


class LoopbackServer(ThreadingHTTPServer):
    """Serves on `port` of `host`, 0 for a free one, while it is used as a context.

    lock: for what handlers write down; stopping: set at the end, for handlers that wait
    """

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), handler)
        self.host, self.port = host, self.server_port
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def encrypt(self, certificate: Path, key: Path | None = None) -> None:
        """Use https from now on. `key`: if it is not in the certificate file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection, which these tests are about."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()


class LoopbackHandler(BaseHTTPRequestHandler):
    server: LoopbackServer

    def head(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.send_response(status_code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, status_code: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete response; `headers` may contain a wrong Content-Length."""
        self.head(status_code, {"Content-Length": str(len(body)), **(headers or {})})
        self.write(body)

    def write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def pause(self, seconds: float) -> bool:
        """Wait. Return True if the server is being stopped."""
        return self.server.stopping.wait(seconds)

    def hang(self) -> None:
        """Send no byte until the server stops."""
        self.close_connection = True
        self.pause(60)

    def drip(self, every_s: float, line: bytes = b"X-More: y\r\n") -> None:
        """Send `line` at intervals, endlessly."""
        self.close_connection = True
        while not self.pause(every_s):
            self.write(line)

    def drip_headers(self, every_s: float) -> None:
        """Send a valid beginning, then endless header lines."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.drip(every_s)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
