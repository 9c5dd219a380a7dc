"""A chat's webhook as a real HTTP server: it keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer

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


class _Handler(LoopbackHandler):
    server: HookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.posts.append(json.loads(body))
            answer = self.server.answers.pop(0) if self.server.answers else self.server.always
        if answer.hang:
            self.hang()
        elif answer.drip:
            self.drip_headers(0.2)
        else:
            self.send(answer.status, answer.body, answer.headers)


class HookServer(LoopbackServer):
    """posts: the JSON that came, in order; answers: the next ones; always: when they are used up"""

    def __init__(self, *answers: Answer, always: Answer | None = None) -> None:
        super().__init__(_Handler)
        self.posts: list[dict[str, Any]] = []
        self.answers = list(answers)
        self.always = always or Answer()
        self.url = f"http://{self.host}:{self.port}/services/{SECRET}"
