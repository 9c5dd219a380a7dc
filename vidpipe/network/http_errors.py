"""Errors of HTTP requests as fetch errors. Apart from them, because requests and urllib3 are slow to import."""

import http.client
import ssl

import requests
import urllib3

from vidpipe.network.fetch_errors import TRANSIENT_STATUS, FetchError
from vidpipe.network.retry import parse_retry_after

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


def status_error(response: requests.Response) -> FetchError:
    """Return the error for a final response that is neither the file nor a redirect."""
    status = response.status_code
    reason = f"{status} {response.reason or ''}".strip()[:80]
    if status in (404, 410):
        return FetchError(f"no such file ({reason}).", "Check the URL for a typo.", gone=True)
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
