"""Errors of fetching a source, each with a message and whether another attempt may succeed."""

import http.client
import socket
import ssl
from typing import Literal

import requests
import urllib3

from vidpipe.errors import VidpipeError
from vidpipe.network.retry import parse_retry_after

FaultKind = Literal["transient", "permanent", "refused"]

#: The request may succeed later, unchanged (RFC 9110, 6585, 8470; 520-527 are Cloudflare's for an unreachable origin).
TRANSIENT_STATUS = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 508, 509, *range(520, 528), 529, 530})
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)}
_PROBLEMS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError), "connection timed out"),
    ((requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError), "read timed out"),
    # other names are resolved by the address policy
    ((urllib3.exceptions.NameResolutionError,), "the host name of the proxy could not be resolved"),
    ((ConnectionRefusedError,), "connection refused"),
    ((http.client.RemoteDisconnected,), "the server closed the connection without a response"),
    ((urllib3.exceptions.DecodeError,), "the compressed body is corrupt"),
)
_MALFORMED = (http.client.HTTPException, urllib3.exceptions.InvalidHeader, ValueError)


class FetchError(VidpipeError):
    """The bytes of one source could not be fetched.

    Attributes:
        kind: `transient`: the same request may succeed later. `permanent`: it will not until the source changes.
            `refused`: vidpipe rejects the source (address not allowed, a web page, too large).
        retry_after_s: Seconds that the server asked to wait.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        kind: FaultKind = "permanent",
        retry_after_s: float | None = None,
        depends_on: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint, depends_on=depends_on)
        self.kind = kind
        self.retry_after_s = retry_after_s

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind == "transient"


class FetchCancelled(Exception):
    """The run was stopped during a transfer; the partial file is kept for the next run."""


def lookup_error(host: str, error: OSError) -> FetchError:
    """Return the error for a host name that could not be resolved."""
    if error.errno in _NO_SUCH_HOST:
        return FetchError(
            f"There is no host named {host}.", "Check the URL for a typo.", depends_on=("download.use_proxy",)
        )
    return FetchError(f"The host {host} could not be resolved: {error.strerror or error}.", kind="transient")


def status_error(response: requests.Response) -> FetchError:
    """Return the error for a final response that is neither the file nor a redirect."""
    status = response.status_code
    reason = f"{status} {response.reason or ''}".strip()[:80]
    if status in (404, 410):
        return FetchError(f"no such file ({reason}).", "Check the URL for a typo.")
    if status in (401, 403, 407, 451):
        return FetchError(
            f"the server denies access ({reason}).",
            "If the file requires a login, use a signed URL, or put user:password@ before the host.",
        )
    if status in TRANSIENT_STATUS:
        problem = "is rate limiting us" if status == 429 else "is temporarily unavailable"
        retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
        return FetchError(f"the server {problem} ({reason}).", kind="transient", retry_after_s=retry_after_s)
    if 300 <= status < 400:
        return FetchError(f"the server sent a redirect without a target ({reason}).")
    if 200 <= status < 300:
        return FetchError(f"the server responded with {reason} but sent no file.")
    return FetchError(f"the server rejected the request ({reason}).")


def innermost(error: BaseException) -> BaseException:
    """Return the root cause of an error that requests and urllib3 have wrapped."""
    for _ in range(12):
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            break
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def transport_error(error: Exception) -> FetchError:
    """Return the error for a connection that failed, broke or timed out."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return FetchError("not a valid URL.")
    cause = innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(
            f"the server's certificate is not valid: {cause.verify_message}.",
            "To trust a private certificate authority, set the environment variable REQUESTS_CA_BUNDLE.",
        )
    problem = next((text for kinds, text in _PROBLEMS if isinstance(error, kinds) or isinstance(cause, kinds)), "")
    if isinstance(cause, ssl.SSLError):
        problem = problem or f"TLS handshake failed ({cause.reason or 'TLS error'})"
    elif isinstance(cause, _MALFORMED) and not isinstance(cause, http.client.IncompleteRead):
        problem = problem or f"the response is not valid HTTP ({type(cause).__name__})"
    elif isinstance(cause, OSError) and cause.strerror:
        problem = problem or f"the connection failed ({cause.strerror})"
    problem = problem or f"the connection was interrupted ({type(cause).__name__})"
    return FetchError(f"{problem}.", kind="transient")
