"""Who may do what: API keys with scopes, sessions of browsers, and requests from this machine that need neither."""

import hmac
import os
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request, Response

from vidpipe.library.api_keys import ApiKey, ApiKeys, Scope
from vidpipe.operations.http_guard import CLIENT_USER
from vidpipe.settings import audit
from vidpipe.settings.operation import LibraryPage
from vidpipe.web.home import Opened
from vidpipe.web.problems import RequestError
from vidpipe.web.rate_limits import client_address, count

SESSION_COOKIE = "vidpipe_session"
#: A browser's proof that a page of ours sent the request: the cookie's value again, in a header.
CSRF_COOKIE, CSRF_HEADER = "vidpipe_csrf", "x-csrf-token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
#: Headers of reverse proxies, besides X-Forwarded-…: the request may come from anywhere.
_FORWARDED = {"forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "via"}
_THIS_MACHINE = "this machine"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: Of the key; "this machine" without one.
        key: The key; None: no key is needed, and everything is allowed.
    """

    name: str
    key: ApiKey | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the caller has `scope`."""
        return self.key is None or self.key.allows(scope)


def keys_required(request: Request, settings: LibraryPage) -> bool:
    """Return whether a request needs a key: unless this user sent it, on this machine, to this machine.

    The requests that a reverse proxy on this machine passes on come from the loopback, too. Most proxies name
    themselves in a header, and run as another user; nginx speaks HTTP/1.0 unless it is told otherwise.
    """
    if settings.require_keys == "always" or settings.public_url or request.scope.get("http_version") == "1.0":
        return True
    if any(name in _FORWARDED or name.startswith("x-forwarded-") for name in request.headers):
        return True
    client = request.scope.get("client")
    if not (client and is_loopback(client[0]) and is_loopback(request.url.hostname or "")):
        return True
    # Looked up when the connection began: whoever closes it at once must not get away without a name.
    return getattr(request.state, CLIENT_USER, None) not in (None, 0, os.getuid())


def is_loopback(host: str) -> bool:
    """Return whether a name or address is this machine's own, which no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def identify(request: Request, opened: Opened) -> Caller | None:
    """Return who sent a request; None: it has no valid key, and needs one.

    Raises:
        RequestError: Too many requests.
    """
    keys = ApiKeys(opened.library.collections)
    key, secret, session = None, _bearer(request), request.cookies.get(SESSION_COOKIE)
    if secret is not None:
        key = keys.of_secret(secret)
    elif session:
        key = keys.of_session(session)
    if key is not None:
        count(request, key.id)
        return Caller(key.name, key)
    required = secret is not None or keys_required(request, opened.settings.library_page)
    count(request, client_address(request), trusted=not required)
    return None if required else Caller(_THIS_MACHINE)


def _bearer(request: Request) -> str | None:
    """Return the key that a request names. Other schemes are the business of a proxy."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _needs(scope: Scope) -> object:
    # async: it never waits, and a thread for it would cost more than what it does.
    async def check(request: Request, caller: Annotated[Caller | None, Depends(identify)]) -> Caller:
        if caller is None:
            raise RequestError(
                401,
                "This page needs a key." if _bearer(request) is None else "The key is not valid.",
                "Send `Authorization: Bearer KEY`, or sign in at /login. `vidpipe keys create NAME` makes one.",
                {"WWW-Authenticate": "Bearer"},
            )
        if not caller.may(scope):
            raise RequestError(403, f"The key {caller.name} lacks the scope {scope}.", "Use a key with that scope.")
        request.state.caller = caller
        if request.method not in SAFE_METHODS:
            audit("web", caller=caller.name, action=f"{request.method} {request.url.path}")
        return caller

    return Depends(check)


#: Parameters of endpoints: the caller, who has this scope. What writers and administrators change is audited.
Reader = Annotated[Caller, _needs("read")]
Writer = Annotated[Caller, _needs("write")]
Admin = Annotated[Caller, _needs("admin")]


def set_cookie(request: Request, response: Response, name: str, value: str, max_age_s: int | None = None) -> None:
    """Set a cookie for this site alone. Scripts can read only that of the CSRF token."""
    # A proxy that terminates TLS names the scheme; browsers state it in the origin of what they send.
    https = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    https = https or request.headers.get("origin", "").startswith("https:")
    response.set_cookie(name, value, max_age_s, secure=https, httponly=name != CSRF_COOKIE, samesite="strict")


def new_csrf_token() -> str:
    """Return the value of the cookie `CSRF_COOKIE`."""
    return secrets.token_urlsafe(24)


def is_forged(request: Request) -> bool:
    """Return whether a request that changes something may come from a page of another site.

    Programs send neither cookies nor Origin and cannot be made to send a request by a page. No page of another site
    can send a key: for that header, browsers ask this server first.
    """
    headers = request.headers
    if _bearer(request) is not None or not ({"origin", "cookie", "sec-fetch-site"} & set(headers.keys())):
        return False
    cookie, token = request.cookies.get(CSRF_COOKIE, ""), headers.get(CSRF_HEADER, "")
    return not (cookie and hmac.compare_digest(cookie.encode(), token.encode()))
