"""What can go wrong between here and the model server, in sentences, and what follows from it."""

import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Literal

import httpx2

from vidpipe.errors import UNSAFE, VidpipeError
from vidpipe.models.endpoint.address import ServerAddress
from vidpipe.network.retry import parse_retry_after
from vidpipe.redaction import mask

EndpointErrorKind = Literal["transient", "unreachable", "setup", "request"]

_MAX_QUOTED = 300
#: Caused by the settings or the account, and so the same for every request.
_SETUP_STATUS = frozenset({*range(300, 400), 401, 402, 403, 404, 405, 407, 410})
_TRANSIENT_STATUS = frozenset({408, 409, 421, 425})
_OVERLOADED_STATUS = frozenset({429, 502, 503, 504, 529})
#: OpenAI's error code for an account without credit, sent with status 429.
_NO_CREDIT = "insufficient_quota"


class EndpointError(VidpipeError):
    """One attempt failed.

    Attributes:
        kind: What it means for this and other requests:
            transient: the same request may succeed later (429, 5xx, a timeout, an interrupted answer);
            unreachable: no connection, as for every request at present;
            setup: an address, key or certificate is wrong, so that no request can succeed;
            request: this request is rejected; others may not be.
        status: HTTP status of the response; 0 if there was none.
        retry_after_s: How long the server asks to wait, in seconds.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        kind: EndpointErrorKind,
        status: int = 0,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        """Whether another attempt may succeed."""
        return self.kind in ("transient", "unreachable")

    def repeated(self, attempts: int) -> "EndpointError":
        """Return this error as the outcome of `attempts` attempts."""
        if attempts < 2:
            return self
        message = f"{self.message.rstrip('.')}, {attempts} times in a row."
        return EndpointError(message, self.hint, kind=self.kind, status=self.status, retry_after_s=self.retry_after_s)


def clean(text: str, server: ServerAddress | None = None) -> str:
    """Return text of a server without control characters and without the key of `server`."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate, which JSON can spell, cannot be stored
    text = UNSAFE.sub(lambda found: found.group() if found.group() in "\t\n" else "", text)
    return mask(text, frozenset({server.key.get_secret_value()})) if server else text


def _quoted(body: bytes, server: ServerAddress) -> str:
    """Return what an error response says as the end of a message; "" if it says nothing readable."""
    text = body.decode("utf-8", "replace")
    try:
        found = _error_message(json.loads(text))
    except (ValueError, RecursionError):
        found = "" if "<" in text[:200] else text  # HTML of a proxy
    found = " ".join(clean(found, server).split())
    if len(found) > _MAX_QUOTED:
        found = f"{found[:_MAX_QUOTED].rstrip()}…"
    return f' The server says: "{found}"' if found else ""


def _error_message(answer: Any) -> str:
    """Return the message in the usual shapes: {"error": {"message"}}, {"error"}, {"message"}, {"detail": [{"msg"}]}."""
    for _ in range(4):
        if isinstance(answer, list):
            answer = answer[0] if answer else ""
        elif isinstance(answer, dict):
            answer = next((answer[key] for key in ("error", "message", "msg", "detail") if answer.get(key)), "")
        else:
            break
    return answer if isinstance(answer, str) else ""


def status_error(server: ServerAddress, status: int, headers: Mapping[str, str], body: bytes) -> EndpointError:
    """Return the error of a response that is not a success."""
    message = f"The model server {server.shown} answered {status}.{_quoted(body, server)}"
    kind: EndpointErrorKind = "request"
    hint = ""
    if status == 429 and _NO_CREDIT in body.decode("utf-8", "replace"):
        kind, hint = "setup", "The account has no credit left with this provider."
    elif status in _SETUP_STATUS:
        kind, hint = "setup", _setup_hint(status, server)
    elif status in _OVERLOADED_STATUS:
        kind = "transient"
        hint = "The server is overloaded: lower RequestsInFlight in [QwenVL] to send it fewer requests at once."
    elif status in _TRANSIENT_STATUS or status >= 500:
        kind, hint = "transient", "See the server's log."
    elif status == 413:
        hint = "Make requests smaller: MaxFrames in [QwenVL], FramesPerVideo and FrameMaxPixels in [SceneDetection]."
    elif status in (400, 422):
        hint = (
            "The server rejects this request: check its limits on length and images (vLLM: --max-model-len and "
            "--limit-mm-per-prompt), and VideoFormat, Model and MaxFrames in [QwenVL]."
        )
    retry_after_s = parse_retry_after(headers.get("Retry-After"))
    return EndpointError(message, hint, kind=kind, status=status, retry_after_s=retry_after_s)


def _setup_hint(status: int, server: ServerAddress) -> str:
    if status in (401, 403) and not server.has_key:
        return "The server requires a key: set VIDPIPE_QWENVL_ACCESSKEY, or AccessKey in config.local.ini."
    if 300 <= status < 400:
        return f"It has moved, and no redirect is followed, to protect the key. Correct {server.setting}."
    hints = {
        401: "Check the key in VIDPIPE_QWENVL_ACCESSKEY or config.local.ini (AccessKey).",
        402: "The account has no credit left with this provider.",
        403: "Check the key in VIDPIPE_QWENVL_ACCESSKEY or config.local.ini (AccessKey), and its permissions.",
        404: f"Check {server.setting}, Model and ApiStyle in [QwenVL]; Model is the name that the server uses for it.",
        407: "A proxy (HTTPS_PROXY) requires a password; NO_PROXY lists hosts that are reached without it.",
    }
    return hints.get(status, f"Check {server.setting} and ApiStyle in [QwenVL].")


def connection_error(server: ServerAddress, error: Exception) -> EndpointError:
    """Return the error of a request that got no response."""
    cause = _root_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = f"The model server {server.shown} has an invalid certificate: {cause.verify_message}."
        hint = "The environment variable REQUESTS_CA_BUNDLE can name the certificate of a private authority."
        return EndpointError(message, hint, kind="setup")
    if isinstance(error, UnicodeError | httpx2.UnsupportedProtocol):
        return EndpointError(f"{server.shown} is not a valid URL.", f"Correct {server.setting}.", kind="setup")
    reasons = {
        "cannot be reached through the proxy of HTTPS_PROXY": isinstance(error, httpx2.ProxyError),
        "was not found: its name cannot be resolved": isinstance(cause, socket.gaierror),
        "does not answer: connecting timed out": isinstance(error, httpx2.ConnectTimeout),
        "does not speak https correctly: the TLS handshake failed": isinstance(cause, ssl.SSLError),
        "does not answer (connection refused)": isinstance(cause, ConnectionRefusedError),
        f"does not answer{_os_reason(cause)}": isinstance(error, httpx2.ConnectError),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    if reason:
        hint = f"Is it running? {server.setting} in [QwenVL] is its address."
        return EndpointError(f"The model server {server.shown} {reason}.", hint, kind="unreachable")
    return EndpointError(
        f"The connection to {server.shown} was lost{_os_reason(cause)}.", "See the server's log.", kind="transient"
    )


def interrupted_error(server: ServerAddress, error: Exception) -> EndpointError:
    """Return the error of a response that ended early or could not be decoded."""
    message = f"The model server {server.shown} closed the connection in the middle of an answer"
    return EndpointError(f"{message}{_os_reason(_root_cause(error))}.", kind="transient")


def overdue_error(server: ServerAddress, timeout_s: float) -> EndpointError:
    """Return the error of an answer that is not complete in time."""
    return EndpointError(
        f"The model server {server.shown} did not answer within {timeout_s:g} s.",
        "RequestTimeout in [QwenVL] is the time limit of one answer; fewer RequestsInFlight make each one faster.",
        kind="transient",
    )


def _os_reason(cause: BaseException) -> str:
    reason = cause.strerror if isinstance(cause, OSError) else None
    return f" ({reason})" if reason else ""


def _root_cause(error: BaseException) -> BaseException:
    """Return the exception of the operating system below those of the HTTP client."""
    for _ in range(12):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    return error
