"""A real HTTP server on the loopback that speaks as much of the chat completions API as is asked of it, with faults.

    with ModelServer(status(429, {"Retry-After": "1"}), cut) as server:
        ...  # the first post gets 429, the second a cut answer, the others an answer

`server.posts` tells what was posted; `server.most_at_once` how many posts were answered at the same time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe_tests.loopback_server import LoopbackHandler, LoopbackServer

Fault = Callable[["Handler"], None]


@dataclass(frozen=True)
class Post:
    """One request as the server saw it."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.raw))

    @property
    def content(self) -> list[dict[str, Any]]:
        """The parts of the one message."""
        (message,) = self.body["messages"]
        assert message["role"] == "user"
        return list(message["content"])

    @property
    def prompt(self) -> str:
        return str(self.content[-1]["text"])


class Handler(LoopbackHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer
    post: Post

    def do_GET(self) -> None:
        """The list of models, which probes ask for."""
        with self.server.lock:
            self.server.probes.append(self.path)
        self.send(200, b'{"object": "list", "data": []}', {"Connection": "close"})

    def do_POST(self) -> None:
        server = self.server
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.post = Post(self.path, {name.lower(): value for name, value in self.headers.items()}, raw)
        with server.lock:
            server.posts.append(self.post)
            fault = server.faults.pop(0) if server.faults else server.always
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            fault(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client had enough
        finally:
            with server.lock:
                server.at_once -= 1


def completion(text: str | None, **choice: Any) -> bytes:
    """The JSON of an answer. choice: finish_reason, or keys of the message (refusal)."""
    finish = choice.pop("finish_reason", "stop")
    message = {"role": "assistant", "content": text, **choice}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return json.dumps({"choices": [{"index": 0, "finish_reason": finish, "message": message}], "usage": usage}).encode()


def well(handler: Handler) -> None:
    """An answer that names the prompt: "To: What is it?"."""
    handler.send(200, completion(f"To: {handler.post.prompt}"))


def says(body: bytes, status_code: int = 200) -> Fault:
    return lambda handler: handler.send(status_code, body)


def status(code: int, headers: Mapping[str, str] | None = None, said: str = "That went wrong.") -> Fault:
    """An error as vLLM words it."""
    body = json.dumps({"error": {"message": said, "type": "Error", "code": code}}).encode()
    return lambda handler: handler.send(code, body, headers)


def cut(handler: Handler) -> None:
    """Half of what was announced, and the connection ends."""
    body = completion("Half of this is lost.")
    handler.send(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
    handler.close_connection = True


def hang(handler: Handler) -> None:
    """Not a byte until the server ends."""
    handler.hang()


def drip(handler: Handler) -> None:
    """A header line now and then, without end."""
    handler.drip_headers(0.05)


def drip_body(handler: Handler) -> None:
    """A good beginning, then a byte now and then."""
    handler.send(200, b'{"choices": ', {"Content-Length": "1000000"})
    handler.drip(0.05, b" ")


def hang_up(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


def slowly(seconds: float) -> Fault:
    def answer(handler: Handler) -> None:
        handler.pause(seconds)
        well(handler)

    return answer


def echo_key(handler: Handler) -> None:
    """As some servers word it: with the key in the sentence."""
    key = handler.post.headers.get("authorization", "").removeprefix("Bearer ")
    status(401, said=f"Incorrect API key provided: {key}.\x1b[31m Log in.")(handler)


def without_schemas(handler: Handler) -> None:
    """A server that does not know response_format."""
    if "response_format" in handler.post.body:
        status(400, said="response_format is not supported")(handler)
    else:
        well(handler)


class ModelServer(LoopbackServer):
    """posts: what came, in order; probes: the paths of GET requests; faults: for the next posts; always: when they are
    used up

    certificate: with its key; https is spoken then
    """

    def __init__(self, *faults: Fault, always: Fault = well, certificate: Path | None = None, port: int = 0) -> None:
        super().__init__(Handler, port=port)
        self.posts: list[Post] = []
        self.probes: list[str] = []
        self.faults = list(faults)
        self.always = always
        self.at_once = self.most_at_once = 0
        self.url = f"{'https' if certificate else 'http'}://{self.host}:{self.port}"
        if certificate:
            self.encrypt(certificate)
