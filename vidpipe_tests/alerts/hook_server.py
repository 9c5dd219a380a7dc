"""A chat's webhook as a real HTTP server: it keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

#: What stands in the address, as with Slack and Teams: whoever knows it can write.
SECRET = "T0SECRETxB0HOOKx9f8e7d6c"  # noqa: S105


@dataclass(frozen=True)
class Answer:
    """hang: says nothing until the server ends; drip: sends a header line now and then, without end"""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    hang: bool = False
    drip: bool = False


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with owner.lock:
            owner.posts.append(json.loads(body))
            answer = owner.answers.pop(0) if owner.answers else owner.always
        if answer.hang:
            owner.stopping.wait(60)
            return
        if answer.drip:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not owner.stopping.wait(0.2):
                self.wfile.write(b"X-More: y\r\n")
                self.wfile.flush()
            return
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: HookServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is what these tests are about."""


class HookServer:
    """posts: the JSON that came, in order; answers: the next ones; always: when they are used up"""

    def __init__(self, *answers: Answer, always: Answer | None = None) -> None:
        self.posts: list[dict[str, Any]] = []
        self.answers = list(answers)
        self.always = always or Answer()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/{SECRET}"

    def __enter__(self) -> HookServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
