"""Who may do what: API keys with scopes, sessions of browsers, and requests from this machine that need neither."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request

from vidpipe.library.api_keys import ApiKey, ApiKeys, Scope
from vidpipe.web.home import Opened
from vidpipe.web.problems import RequestError

SESSION_COOKIE = "vidpipe_session"
#: A browser's proof that a page of ours sent the request: the cookie's value again, in a header.
CSRF_COOKIE, CSRF_HEADER = "vidpipe_csrf", "x-csrf-token"
#: Headers of reverse proxies: the request may come from anywhere.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


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


def keys_required(request: Request, *, always: bool) -> bool:
    """Return whether a request needs a key: if not both of its ends are on this machine, as far as can be seen."""
    if always or any(name in request.headers for name in _FORWARDED):
        return True
    client = request.client.host if request.client else ""
    return not (is_loopback(client) and is_loopback(request.url.hostname or ""))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def identify(request: Request, opened: Opened) -> Caller | None:
    """Return who sent a request; None: it has no valid key, and needs one."""
    keys = ApiKeys(opened.library.collections)
    with opened.library.connection.errors_explained():
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        key = keys.of_secret(secret.strip()) if scheme.lower() == "bearer" else None
        if scheme and key is None:
            raise RequestError(401, "The key is not valid.", "`vidpipe keys` lists the keys.", _CHALLENGE)
        session = request.cookies.get(SESSION_COOKIE)
        if key is None and session:
            key = keys.of_session(session)
    if key is not None:
        return Caller(key.name, key)
    if keys_required(request, always=opened.settings.library_page.require_keys == "always"):
        return None
    return Caller("this machine")


_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def _needs(scope: Scope) -> object:
    def check(request: Request, caller: Annotated[Caller | None, Depends(identify)]) -> Caller:
        if caller is None:
            raise RequestError(
                401,
                "This page needs a key.",
                "Send `Authorization: Bearer KEY`, or sign in at /login. `vidpipe keys create NAME` makes one.",
                _CHALLENGE,
            )
        if not caller.may(scope):
            raise RequestError(403, f"The key {caller.name} lacks the scope {scope}.", "Use a key with that scope.")
        request.state.caller = caller
        return caller

    return Depends(check)


#: Parameters of endpoints: the caller, who has this scope.
Reader = Annotated[Caller, _needs("read")]
Writer = Annotated[Caller, _needs("write")]
Admin = Annotated[Caller, _needs("admin")]


def new_csrf_token() -> str:
    """Return the value of the cookie `CSRF_COOKIE`."""
    return secrets.token_urlsafe(24)


def is_forged(request: Request) -> bool:
    """Return whether a request that changes something may come from a page of another site.

    Programs send neither cookies nor Origin and cannot be made to send a request by a page.
    """
    headers = request.headers
    if "authorization" in headers or not ({"origin", "cookie", "sec-fetch-site"} & set(headers.keys())):
        return False
    cookie, token = request.cookies.get(CSRF_COOKIE, ""), headers.get(CSRF_HEADER, "")
    return not (cookie and hmac.compare_digest(cookie.encode(), token.encode()))
