"""What can go wrong on the way to the bytes: sentences, and whether another try may help."""

from __future__ import annotations

import contextlib
import email.utils
import errno
import http.client
import math
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vidpipe.errors import VidpipeError

if TYPE_CHECKING:
    import requests

FaultKind = Literal["transient", "permanent", "refused"]

#: The request may succeed later, unchanged (RFC 9110, 6585, 8470; 520-527 are Cloudflare's for an unreachable origin).
TRANSIENT_STATUS = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 508, 509, *range(520, 528), 529, 530})
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)}


class FetchError(VidpipeError):
    """The bytes of one source could not be fetched.

    kind:          transient  the same request may succeed later
                   permanent  it will not, until the source changes
                   refused    vidpipe will not take it (address not allowed, a web page, too large)
    retry_after_s: what the server asks to wait
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
        return self.kind == "transient"


class FetchCancelled(Exception):
    """The run was stopped in mid-transfer; the partial file stays for the next one."""


class DiskFullError(FetchError):
    """No room for the file; other sources may still fit.

    needed_bytes: how much was to be written beyond MinFreeMB; None: unknown
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, needed_bytes: int | None = None) -> None:
        super().__init__(
            message, hint, kind="transient", depends_on=("paths.download_directory", "download.min_free_mb")
        )
        self.needed_bytes = needed_bytes


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path`, in the media store, is written into a FetchError (DiskFullError)."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFullError(
                f"The disk of {path.parent} is full; what was written of the file is removed.",
                "Make room, or move DownloadDirectory (section [Paths] of config.ini) to a larger disk.",
            ) from error
        raise FetchError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Check DownloadDirectory in the section [Paths] of config.ini and who may write there.",
            kind="transient",
            depends_on=("paths.download_directory",),
        ) from error


def http_date(header: str | None) -> datetime | None:
    """The time that an HTTP date names (RFC 9110, 5.6.7); None for anything else."""
    try:
        at = email.utils.parsedate_to_datetime(header or "")
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, LookupError, OverflowError):
        return None


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: it holds seconds or an HTTP date. None where it says neither."""
    if not value:
        return None
    value = value.strip()
    try:
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    at = http_date(value)
    return None if at is None else max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def status_error(shown_url: str, response: requests.Response) -> FetchError:
    """The error for a final answer that is neither the bytes nor a redirect."""
    status = response.status_code
    said = f"{status} {response.reason or ''}".strip()[:80]
    wait = parse_retry_after(response.headers.get("Retry-After"))
    if status in (404, 410):
        return FetchError(
            f"{shown_url}: the server says there is no such file ({said}).", "Check the URL for a typing error."
        )
    if status in (401, 403, 407, 451):
        return FetchError(
            f"{shown_url}: the server refuses access ({said}).",
            "If the file needs a login, give a signed link, or user and password in the URL before the host and an @.",
        )
    if status in TRANSIENT_STATUS:
        busy = "is asked too often" if status == 429 else "cannot answer at the moment"
        return FetchError(f"{shown_url}: the server {busy} ({said}).", kind="transient", retry_after_s=wait)
    if 300 <= status < 400:
        return FetchError(f"{shown_url}: the server redirects without naming a target ({said}).")
    if 200 <= status < 300:
        return FetchError(f"{shown_url}: the server answered {said} and sent no file.")
    return FetchError(f"{shown_url}: the server refuses the request ({said}).")


def _innermost(error: BaseException) -> BaseException:
    """The cause at the bottom of the layers that requests and urllib3 put around it."""
    for _ in range(10):
        reason = getattr(error, "reason", None)
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if inner is None:
            break
        error = inner
    return error


def lookup_error(host: str, error: OSError) -> FetchError:
    """The error for a name that could not be looked up."""
    if error.errno in _NO_SUCH_HOST:
        return FetchError(
            f"There is no host named {host}.", "Check the URL for a typing error.", depends_on=("download.use_proxy",)
        )
    return FetchError(f"The name {host} could not be looked up: {error.strerror or error}.", kind="transient")


def transport_error(shown_url: str, error: Exception) -> FetchError:
    """The error for a connection that failed, broke or fell silent."""
    # here, as every command knows these errors, and few of them fetch anything
    import requests
    import urllib3

    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return FetchError(f"{shown_url}: this is not a URL that can be asked.")
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(
            f"{shown_url}: the server's certificate is not valid: {cause.verify_message}.",
            "A private authority's certificate can be named in the environment variable REQUESTS_CA_BUNDLE.",
        )
    layers = (error, cause)
    if any(isinstance(layer, requests.ConnectTimeout | urllib3.exceptions.ConnectTimeoutError) for layer in layers):
        said = "the server could not be reached in time"
    elif any(isinstance(x, requests.Timeout | urllib3.exceptions.ReadTimeoutError | TimeoutError) for x in layers):
        said = "the server fell silent"
    elif isinstance(cause, ConnectionRefusedError):
        said = "nothing answers at this address (connection refused)"
    elif isinstance(cause, ssl.SSLError):
        said = f"the encrypted connection failed ({cause.reason or 'TLS error'})"
    elif isinstance(cause, http.client.RemoteDisconnected):
        said = "the server hung up without an answer"
    elif isinstance(error, urllib3.exceptions.DecodeError):
        said = "the compressed body is damaged"
    elif isinstance(
        cause, http.client.HTTPException | urllib3.exceptions.InvalidHeader | ValueError
    ) and not isinstance(cause, http.client.IncompleteRead):
        said = f"the server's answer is not proper HTTP ({type(cause).__name__})"
    elif isinstance(cause, OSError) and cause.strerror:
        said = f"the connection failed ({cause.strerror})"
    else:
        said = f"the connection broke off ({type(cause).__name__})"
    return FetchError(f"{shown_url}: {said}.", kind="transient")
