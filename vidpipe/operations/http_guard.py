"""Serves the pages of a home, with a guard against pages of other sites and limits on slow clients.

The pages ask for no password, so a browser that can reach them must not lend that reach to every site it shows. Three
checks, on HTTP requests and WebSockets alike:

- Host must be a name of ours: a site that points its own name at this machine (DNS rebinding) is refused.
- Origin must be the same host and port as Host. The scheme may differ: behind a proxy that terminates TLS it does.
- Sec-Fetch-Site must not name another site, except where the user follows a link to a page that only shows something,
  or Dagster's page shows the thumbnail of a video.

Programs (curl, Prometheus, scripts) send neither Origin nor Sec-Fetch-Site and need nothing but the right Host.

uvicorn alone waits for the rest of a request as long as the connection is open, and stops only when all clients have
read their responses. Hence the limits.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, NamedTuple

import h11
import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vidpipe.errors import UnavailableError
from vidpipe.network.socket_owner import user_of

#: Key of a scope's `state`: the id of the user at the other end of the connection (see `user_of`).
CLIENT_USER = "client_user"
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_GRAPHQL = "/graphql"
#: Endpoints for programs and downloads, of Dagster and the library page: no link from another site leads there.
_NOT_LINKED = re.compile(
    rf"({_GRAPHQL}|/api/v\d+|/server_info|/dagit_info|/logs|/notebook|/dagit/notebook|/download_debug|/report_asset_\w+)(/|$)"
)
#: Pictures of the library page that Dagster's page, at another port of this site, shows.
_SHOWN_ELSEWHERE = re.compile(r"/api/v1/videos/[0-9a-f]{64}/thumbnail")
#: A Starlette route such as /graphql also matches a path that ends in a line feed.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class RequestRefusal(NamedTuple):
    """Why a request is not passed on.

    Attributes:
        status: HTTP status code.
        reason: The body of the response.
    """

    status: int
    reason: str


class Guard:
    """ASGI middleware that passes only requests of this site's own pages and of programs.

    Args:
        app: What serves the page.
        hosts: Names and addresses of the page, besides the loopback and the address at which a connection arrived.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        names = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        if names.intersection(_ANY_ADDRESS):
            names.add(socket.gethostname().lower())
        self._names = names.difference(_ANY_ADDRESS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or respond with the reason why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if _SHOWN_ELSEWHERE.fullmatch(scope["path"]):
                    # To Chromium, two ports of an IP address are the same site in Sec-Fetch-Site, but not here.
                    is_same_site = Headers(scope=scope).get("sec-fetch-site") == "same-site"
                    headers["Cross-Origin-Resource-Policy"] = "cross-origin" if is_same_site else "same-site"
                    headers.add_vary_header("Sec-Fetch-Site")
                headers.append("Content-Security-Policy", "frame-ancestors 'none'")  # in addition to the page's own
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            await _response(scope, refusal)(scope, receive, send_guarded)

    def refusal(self, scope: Scope) -> RequestRefusal | None:
        """Return why this request is refused, or None if it is not."""
        if _CONTROL.search(scope["path"]):
            return RequestRefusal(400, "The path contains control characters.")
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        host = _authority(given[0]) if len(given) == 1 else None
        if host is None or not scope["path"].startswith("/") or not self._is_ours(host[0], scope):
            return RequestRefusal(
                421,
                f"This page is not served under the name {', '.join(given)[:100]!a}. If it should be, add the name "
                "to [Services] AllowedHosts in config.ini and run `vidpipe up`.",
            )
        if not _is_link(scope, headers):
            origins = headers.getlist("origin")
            sites = headers.getlist("sec-fetch-site")
            # Browsers disagree on what Sec-Fetch-Site a WebSocket of the same site gets, but all of them send Origin.
            origin_decides = bool(origins) and scope["type"] == "websocket"
            shown = headers.get("sec-fetch-dest") == "image" and _SHOWN_ELSEWHERE.fullmatch(scope["path"])
            allowed = ("same-origin", "none", "same-site" if shown else "none")
            if not all(_same(origin, host) for origin in origins) or not (
                origin_decides or all(site in allowed for site in sites)
            ):
                return RequestRefusal(
                    403,
                    "A page of another site sent this request. If this server is behind a proxy, let it pass the Host "
                    "header unchanged, with its port.",
                )
        return _graphql_refusal(scope, headers)

    def _is_ours(self, name: str, scope: Scope) -> bool:
        if name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # Anyone can point a name at this machine, but an address is ours if the connection arrived there.
        return address.is_loopback or (bool(scope.get("server")) and str(address) == scope["server"][0])


def _response(scope: Scope, refusal: RequestRefusal) -> Response:
    """Return a refusal as text, or as problem+json where programs ask."""
    headers = {"Cache-Control": "no-store"}
    if not scope["path"].startswith("/api/"):
        return PlainTextResponse(f"{refusal.reason}\n", refusal.status, headers)
    problem = {"title": HTTPStatus(refusal.status).phrase, "detail": refusal.reason, "hint": ""}
    return JSONResponse({**problem, "status": refusal.status}, refusal.status, headers, "application/problem+json")


def _authority(text: str) -> tuple[str, int | None] | None:
    """Return (host, port) of a Host header or an origin, IPv6 addresses without brackets, or None if malformed."""
    match = _AUTHORITY.fullmatch(text.lower())
    return (match[1].strip("[]"), int(match[2]) if match[2] else None) if match else None


def _same(origin: str, host: tuple[str, int | None]) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    default, own = _DEFAULT_PORTS.get(scheme), _authority(rest)
    return default is not None and own is not None and (own[0], own[1] or default) == (host[0], host[1] or default)


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Return whether the user follows a link, in its own tab, to a page that only shows something."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and not _NOT_LINKED.match(scope["path"])
    )


def _graphql_refusal(scope: Scope, headers: Headers) -> RequestRefusal | None:
    """Refuse GraphQL other than JSON in a POST, which a form, an image or a link of another site cannot send.

    Dagster would also accept queries in the URL, and any content type that contains "application/json".
    """
    if scope["type"] != "http" or scope["path"].rstrip("/") != _GRAPHQL:
        return None
    if scope["method"] != "POST":
        return RequestRefusal(405, "Send GraphQL queries by POST.") if scope["query_string"] else None
    types = [content_type.partition(";")[0].strip().lower() for content_type in headers.getlist("content-type")]
    if types != ["application/json"]:
        return RequestRefusal(415, "Send GraphQL queries as application/json.")
    return None


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits on the clients of a page.

    Attributes:
        request_s: Time to send a request, head and body; slower clients are disconnected. A body may take longer if it
            arrives at `upload_bytes_per_s`.
        upload_bytes_per_s: Slowest speed of a body, over `request_s` each.
        response_s: Time to read a full buffer (64 kB) of the response; slower clients are disconnected.
        unfinished: Unfinished requests at once. A further one cuts off the oldest, so that no number of slow clients
            shuts out others.
        connections: Connections at once, idle WebSockets and unread responses among them; each takes one of the files
            that a process may have open, on macOS 256. A further one cuts off another, first one that waits for a
            request.
        head_bytes: Longest head of a request.
        stop_s: Time for requests in progress when the server is stopped.
    """

    request_s: float = 20.0
    upload_bytes_per_s: float = 5_000.0
    response_s: float = 60.0
    unfinished: int = 100
    connections: int = 200
    head_bytes: int = 65_536
    stop_s: float = 1.0


class _LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits. WebSockets have another protocol after their handshake and may idle.

    Args:
        limits: For each connection of the server.
        unfinished: The connections of the server that have not sent a whole request, oldest first.
        **given: uvicorn's own arguments.
    """

    def __init__(
        self, limits: ConnectionLimits, unfinished: "dict[_LimitedProtocol, asyncio.TimerHandle]", **given: Any
    ) -> None:
        super().__init__(**given)
        self._limits = limits
        self._unfinished = unfinished
        self._unread: asyncio.TimerHandle | None = None
        self._received_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self._limits.connections:
            standing = [one for one in self.connections if not one.transport.is_closing()]
            idle = (one for one in standing if getattr(one, "is_idle", False))
            next((one.transport for one in (*idle, *standing)), transport).abort()
        super().connection_made(transport)
        user = user_of(self.client, self.server) if self.client and self.server else None  # type: ignore[arg-type]  # TCP
        self.app_state = {**self.app_state, CLIENT_USER: user}
        self._expect_request()

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a further request."""
        return self.cycle is not None and self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
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
        self._unread = self.loop.call_later(self._limits.response_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _expect_request(self) -> None:
        if self not in self._unfinished:
            self._received_bytes = 0
            self._unfinished[self] = self.loop.call_later(self._limits.request_s, self._time_is_up)
            if len(self._unfinished) > self._limits.unfinished:
                oldest = next(iter(self._unfinished))
                oldest._end_expecting()
                oldest.transport.abort()

    def _time_is_up(self) -> None:
        """Allow as much time again for a body that arrives steadily, or that the application takes slowly."""
        del self._unfinished[self]
        steady = self._received_bytes >= self._limits.request_s * self._limits.upload_bytes_per_s
        if self.conn.their_state is h11.SEND_BODY and (steady or self.flow.read_paused):
            self._expect_request()
        else:
            self.transport.abort()

    def _end_expecting(self) -> None:
        if timer := self._unfinished.pop(self, None):
            timer.cancel()


def listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """Open sockets for `port` on every address of `host`.

    Args:
        host: A name or address of this machine.
        port: TCP port; 0: any free one.
        setting: The key of [Services] that names the port.

    Raises:
        UnavailableError: A port is taken, or an address is not one of this machine.
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
                f"Choose another [Services] {setting}, or stop the program that uses this one.",
            ) from error
        opened.pop_all()
    return sockets


def page_server(app: ASGIApp, hosts: Iterable[str], limits: ConnectionLimits = ConnectionLimits()) -> uvicorn.Server:
    """Return the server of `app`; its `run(sockets)` serves until SIGTERM, which then ends the process.

    Args:
        app: What serves the page.
        hosts: See `Guard`.
        limits: On its clients.
    """
    protocol: Any = partial(_LimitedProtocol, limits, {})
    return uvicorn.Server(
        uvicorn.Config(
            Guard(app, hosts), http=protocol, h11_max_incomplete_event_size=limits.head_bytes, lifespan="off",
            log_config=None, log_level="error", access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=limits.stop_s,  # type: ignore[arg-type]  # uvicorn passes it to asyncio.wait_for
        )
    )  # fmt: skip


def serve(
    app: ASGIApp, host: str, port: int, hosts: Iterable[str], setting: str, *, ready: Callable[[], None] = lambda: None
) -> None:
    """Serve `app` until SIGTERM or SIGINT. Calls `ready` once clients can connect.

    Raises:
        UnavailableError: See `listen`.
    """
    with contextlib.suppress(KeyboardInterrupt):
        sockets = listen(host, port, setting)
        ready()
        page_server(app, (host, *hosts)).run(sockets)
