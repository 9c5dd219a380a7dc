"""How many requests a key, or an address without a key, may send in a minute."""

import math
import re
import time
from ipaddress import ip_address, ip_network

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from vidpipe.web.problems import RequestError

SIGN_INS_PER_MINUTE = 10
#: A page loads dozens of these at once: pictures, parts of videos, and its own files.
_FILES = re.compile(
    r"/static/.*|/api/v1/videos/[^/]+/(thumbnail|frame|media|proxy|subtitles\.vtt|storyboard\.(jpg|vtt))", re.DOTALL
)
_FILES_FACTOR = 20


class RateLimits:
    """Counts requests by key or address, in windows that slide over a minute.

    Args:
        per_minute: Most requests of a key; 0: any number. Of files, and from this machine without a key, 20 times as
            many are allowed.
    """

    def __init__(self, per_minute: int) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        most = {"requests": per_minute, "files": per_minute * _FILES_FACTOR, "local": per_minute * _FILES_FACTOR}
        most["sign-ins"] = SIGN_INS_PER_MINUTE
        self._limits = {name: RateLimitItemPerMinute(number, namespace=name) for name, number in most.items() if number}

    def count(self, policy: str, subject: str) -> tuple[dict[str, str], bool]:
        """Count a request. Returns the headers that state the limit, and whether the request is within it."""
        limit = self._limits.get(policy)
        if limit is None:
            return {}, True
        allowed = self._limiter.hit(limit, subject)
        reset_at, left = self._limiter.get_window_stats(limit, subject)
        wait_s = max(1, math.ceil(reset_at - time.time()))
        headers = {  # https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
            "RateLimit-Policy": f'"{policy}";q={limit.amount};w={limit.get_expiry()}',
            "RateLimit": f'"{policy}";r={left};t={wait_s}',
        }
        return headers if allowed else {**headers, "Retry-After": str(wait_s)}, allowed


def is_file(path: str) -> bool:
    """Return whether a path is one of those that a page loads dozens of."""
    return bool(_FILES.fullmatch(path))


def count(request: Request, subject: str, policy: str = "", *, trusted: bool = False) -> None:
    """Count a request; the response states the limit (see `RequestGuard`).

    Args:
        request: The request.
        subject: Who sent it: the id of a key, or an address.
        policy: Which limit applies; empty: that of its path.
        trusted: It comes from this machine and needs no key.

    Raises:
        RequestError: It is one too many.
    """
    limits: RateLimits = request.app.state.rate_limits
    policy = policy or ("files" if is_file(request.url.path) else "local" if trusted else "requests")
    request.state.rate_limit, allowed = limits.count(policy, subject)
    if not allowed:
        raise RequestError(429, "Too many requests in a minute.", "[LibraryPage] RequestsPerMinute sets the limit.")


def client_address(request: Request) -> str:
    """Return the address that a request comes from; of IPv6, the network, in which one client has many addresses."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host)
        if address.is_loopback:  # the proxy on this machine names the client last
            named = request.headers.getlist("x-forwarded-for") or [host]
            address = ip_address(named[-1].rpartition(",")[2].strip())
    except ValueError:
        return host
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
