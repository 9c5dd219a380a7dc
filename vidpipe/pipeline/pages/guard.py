"""Keeps pages of other sites from reading our pages or acting through them.

The pages ask for no password, so a browser that can reach them must not lend that reach to every site it shows. Three
checks, on HTTP requests and WebSockets alike:

- Host must be a name of ours: a site that points its own name at this machine (DNS rebinding) is refused.
- Origin must be the same host and port as Host. The scheme may differ: behind a proxy that terminates TLS it does.
- Sec-Fetch-Site must not name another site, except where the user follows a link to a page that only shows something.

Programs (curl, Prometheus, scripts) send neither Origin nor Sec-Fetch-Site and need nothing but the right Host.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+?)\.?(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
_GRAPHQL = "/graphql"
#: Dagster's endpoints for programs and downloads: no link from another site leads there.
_NOT_LINKED = re.compile(
    rf"({_GRAPHQL}|/server_info|/dagit_info|/logs|/notebook|/dagit/notebook|/download_debug|/report_asset_\w+)(/|$)"
)
#: A route of Starlette's, /graphql say, takes a path with a line end behind it, too.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Refusal(NamedTuple):
    """Why a request is not passed on. status: of HTTP"""

    status: int
    reason: str


class Guard:
    """`app` (ASGI), for requests of this site's own pages and of programs.

    hosts: names and addresses that the page is reached by, besides the loopback and the address a connection arrived at
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        names = {"localhost", *(host.lower().rstrip(".") for host in hosts)}
        if names.intersection(_ANY_ADDRESS):
            names.add(socket.gethostname().lower())
        self._names = names.difference(_ANY_ADDRESS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.append("Content-Security-Policy", "frame-ancestors 'none'")  # in addition to the page's own
            await send(message)

        refusal = self.refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason})
        else:
            response = PlainTextResponse(f"{refusal.reason}\n", refusal.status, {"Cache-Control": "no-store"})
            await response(scope, receive, send_guarded)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why this request is refused; None: it is not."""
        if _CONTROL.search(scope["path"]):
            return Refusal(400, "The path holds control characters.")
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        host = _authority(given[0]) if len(given) == 1 else None
        if host is None or not scope["path"].startswith("/") or not self._is_ours(host[0], scope):
            return Refusal(
                421,
                f"This page is not served under the name {', '.join(given)[:100]!a}. If it is meant to be, add "
                "the name to [Services] AllowedHosts in config.ini and run `vidpipe up`.",
            )
        if not _is_link(scope, headers):
            origins = headers.getlist("origin")
            sites = headers.getlist("sec-fetch-site")
            # Browsers disagree on what Sec-Fetch-Site a WebSocket of the same site gets, but all of them send Origin.
            told = bool(origins) and scope["type"] == "websocket"
            if not all(_same(origin, host) for origin in origins) or not (
                told or all(site in ("same-origin", "none") for site in sites)
            ):
                return Refusal(
                    403,
                    "A page of another site sent this request. Behind a proxy, pass the Host header on unchanged, "
                    "with its port.",
                )
        return _graphql_refusal(scope, headers)

    def _is_ours(self, name: str, scope: Scope) -> bool:
        if name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # Names can be pointed at this machine by anyone. That an address is ours, the connection itself shows.
        return address.is_loopback or (bool(scope.get("server")) and str(address) == scope["server"][0])


def _authority(text: str) -> tuple[str, int | None] | None:
    """(host, port) of a Host header or an origin, IPv6 addresses without brackets; None: it is malformed."""
    match = _AUTHORITY.fullmatch(text.lower())
    return (match[1].strip("[]"), int(match[2]) if match[2] else None) if match else None


def _same(origin: str, host: tuple[str, int | None]) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    default, own = _DEFAULT_PORTS.get(scheme), _authority(rest)
    return default is not None and own is not None and (own[0], own[1] or default) == (host[0], host[1] or default)


def _is_link(scope: Scope, headers: Headers) -> bool:
    """Whether the user follows a link, in a tab of its own, to a page that only shows something."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and not _NOT_LINKED.match(scope["path"])
    )


def _graphql_refusal(scope: Scope, headers: Headers) -> Refusal | None:
    """GraphQL comes as JSON in a POST: what a form, an image or a link of another site can send is none of it, with any
    browser. Dagster takes queries from the address, too, and JSON under types that merely contain its name."""
    if scope["type"] != "http" or scope["path"].rstrip("/") != _GRAPHQL:
        return None
    if scope["method"] != "POST":
        return Refusal(405, "Send GraphQL queries by POST.") if scope["query_string"] else None
    types = [content_type.partition(";")[0].strip().lower() for content_type in headers.getlist("content-type")]
    if types != ["application/json"]:
        return Refusal(415, "Send GraphQL queries as application/json.")
    return None
