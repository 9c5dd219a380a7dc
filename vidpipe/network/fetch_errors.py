"""Errors of fetching a source, each with a message and whether another attempt may succeed."""

import socket
from typing import Literal

from vidpipe.errors import VidpipeError

FaultKind = Literal["transient", "permanent", "refused"]

#: The request may succeed later, unchanged (RFC 9110, 6585, 8470; 520-527 are Cloudflare's for an unreachable origin).
TRANSIENT_STATUS = frozenset({408, 421, 425, 429, 500, 502, 503, 504, 507, 508, 509, *range(520, 528), 529, 530})
_NO_SUCH_HOST = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)}


class FetchError(VidpipeError):
    """The bytes of one source could not be fetched.

    Attributes:
        kind: `transient`: the same request may succeed later. `permanent`: it will not until the source changes.
            `refused`: vidpipe rejects the source (address not allowed, a web page, too large).
        retry_after_s: Seconds that the server asked to wait.
        gone: The server says that there is no such file or video (any more).
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        kind: FaultKind = "permanent",
        retry_after_s: float | None = None,
        depends_on: tuple[str, ...] = (),
        gone: bool = False,
    ) -> None:
        super().__init__(message, hint, depends_on=depends_on)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.gone = gone

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
