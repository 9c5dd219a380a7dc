"""What goes wrong between here and the model's server: sentences, and what is done about it."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Literal

import requests
import urllib3

from vidpipe.errors import UNSAFE, VidpipeError
from vidpipe.redaction import mask
from vidpipe.vlm.endpoint.address import Server

Kind = Literal["transient", "overloaded", "unreachable", "setup", "request"]

_SAID_LENGTH = 300
#: Of the settings or the account, so alike for every request.
_SETUP_STATUS = frozenset({*range(300, 400), 401, 402, 403, 404, 405, 407, 410})
_TRANSIENT_STATUS = frozenset({408, 409, 421, 425})
_OVERLOADED_STATUS = frozenset({429, 502, 503, 504, 529})
#: OpenAI's word for an account without money, which it says with 429.
_NO_MONEY = "insufficient_quota"


class Fault(VidpipeError):
    """One attempt failed.

    kind:   transient    the same request may succeed later (500, a time limit, a cut answer)
            overloaded   the server has too much to do, or its gateway finds none (429, 502 to 504)
            unreachable  no connection; after the last attempt the server counts as out of reach
            setup        an address, a key or a certificate is wrong: no request can succeed
            request      this request is not taken; others may be
    status: of the HTTP answer; 0 where there was none
    retry_after_s: what the server asks to wait
    """

    def __init__(
        self, message: str, hint: str = "", *, kind: Kind, status: int = 0, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def retried(self) -> bool:
        return self.kind in ("transient", "overloaded", "unreachable")

    def after(self, tries: int) -> Fault:
        """The same after `tries` attempts."""
        if tries < 2:
            return self
        message = f"{self.message.rstrip('.')}, {tries} times in a row."
        return Fault(message, self.hint, kind=self.kind, status=self.status, retry_after_s=self.retry_after_s)


def cleaned(text: str, server: Server | None = None) -> str:
    """`text` of a server without control characters and, where `server` is given, without its key."""
    text = text.encode("utf-8", "replace").decode()  # a lone surrogate, which JSON can spell, cannot be stored
    text = UNSAFE.sub(lambda found: found.group() if found.group() in "\t\n" else "", text)
    return mask(text, frozenset({server.key.get_secret_value()})) if server else text


def quoted(body: bytes, server: Server) -> str:
    """What an error answer says, as the end of a sentence: ' It says: "…"'; "" where it says nothing to a reader."""
    text = body.decode("utf-8", "replace")
    try:
        found = _message(json.loads(text))
    except (ValueError, RecursionError):
        found = "" if "<" in text[:200] else text  # a proxy's page
    found = " ".join(cleaned(found, server).split())
    if len(found) > _SAID_LENGTH:
        found = f"{found[:_SAID_LENGTH].rstrip()}…"
    return f' It says: "{found}"' if found else ""


def _message(answer: Any) -> str:
    """The sentence in the usual shapes: {"error": {"message"}}, {"error"}, {"message"}, {"detail": [{"msg"}]}."""
    for _ in range(4):
        if isinstance(answer, list):
            answer = answer[0] if answer else ""
        elif isinstance(answer, dict):
            answer = next((answer[key] for key in ("error", "message", "msg", "detail") if answer.get(key)), "")
        else:
            break
    return answer if isinstance(answer, str) else ""


def status_fault(server: Server, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """The fault of an answer other than 200."""
    said = f"The model's server {server.shown} answered {status}.{quoted(body, server)}"
    retry_after_s = parse_retry_after(headers.get("Retry-After"))
    if status == 429 and _NO_MONEY in body.decode("utf-8", "replace"):
        return Fault(said, "The account has no credit left with this provider.", kind="setup", status=status)
    if status in _SETUP_STATUS:
        return Fault(said, _setup_hint(status, server), kind="setup", status=status)
    if status in _OVERLOADED_STATUS:
        hint = "It has too much to do: RequestsInFlight in [QwenVL] sets how many requests it gets at once."
        return Fault(said, hint, kind="overloaded", status=status, retry_after_s=retry_after_s)
    if status in _TRANSIENT_STATUS or status >= 500:
        return Fault(said, "Its own log tells more.", kind="transient", status=status, retry_after_s=retry_after_s)
    hint = ""
    if status == 413:
        hint = "MaxFrames in [QwenVL], or FramesPerVideo and FrameMaxPixels in [SceneDetection], make requests smaller."
    elif status in (400, 422):
        hint = (
            "It does not take this request: see its limits on length and pictures (vLLM: --max-model-len and "
            "--limit-mm-per-prompt), and VideoFormat, Model and MaxFrames in [QwenVL]."
        )
    return Fault(said, hint, kind="request", status=status)


def _setup_hint(status: int, server: Server) -> str:
    if status in (401, 403) and not server.key.get_secret_value():
        return "It wants a key: set VIDPIPE_QWENVL_ACCESSKEY, or AccessKey in config.local.ini."
    if 300 <= status < 400:
        return f"It is elsewhere now, and no redirect is followed, for the key's sake. Correct {server.setting}."
    hints = {
        401: "Check the key in VIDPIPE_QWENVL_ACCESSKEY or config.local.ini (AccessKey).",
        402: "The account has no credit left with this provider.",
        403: "Check the key in VIDPIPE_QWENVL_ACCESSKEY or config.local.ini (AccessKey), and what it may do.",
        404: f"Check {server.setting}, Model and ApiStyle in [QwenVL]; Model is the name that the server gives it.",
        407: "A proxy (HTTPS_PROXY) stands in between and wants a password; NO_PROXY names hosts that need none.",
    }
    return hints.get(status, f"Check {server.setting} and ApiStyle in [QwenVL].")


def transport_fault(server: Server, error: Exception, *, timeout_s: float) -> Fault:
    """The fault of a connection that could not be made, broke or fell silent."""
    cause = _innermost(error)
    layers = (error, cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        hint = "A private authority's certificate can be named in the environment variable REQUESTS_CA_BUNDLE."
        said = f"The model's server {server.shown} has an invalid certificate: {cause.verify_message}."
        return Fault(said, hint, kind="setup")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema | UnicodeError):
        return Fault(f"{server.shown} is no address that can be asked.", f"Correct {server.setting}.", kind="setup")
    no_connection = _no_connection(error, cause)
    if no_connection:
        hint = f"Is it running? {server.setting} in [QwenVL] is its address."
        return Fault(f"The model's server {server.shown} {no_connection}.", hint, kind="unreachable")
    if any(
        isinstance(layer, requests.Timeout | urllib3.exceptions.ReadTimeoutError | TimeoutError) for layer in layers
    ):
        return overdue(server, timeout_s)
    if any(isinstance(layer, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead) for layer in layers):
        return Fault(f"The model's server {server.shown} broke off in the middle of an answer.", kind="transient")
    return Fault(
        f"The connection with {server.shown} broke{_reason(cause)}.", "Its own log tells more.", kind="transient"
    )


def _no_connection(error: Exception, cause: BaseException) -> str:
    """Why none was made, as the end of a sentence; "" where one was."""
    timeouts = requests.ConnectTimeout | urllib3.exceptions.ConnectTimeoutError
    refused = isinstance(getattr(_first(error), "reason", None), urllib3.exceptions.NewConnectionError)
    reasons = {
        "is not reached through the proxy of HTTPS_PROXY": isinstance(error, requests.exceptions.ProxyError),
        "is not found: its name cannot be looked up": isinstance(cause, urllib3.exceptions.NameResolutionError),
        "does not answer: no connection in time": isinstance(error, timeouts) or isinstance(cause, timeouts),
        "does not speak https as it should: the encrypted connection failed": isinstance(cause, ssl.SSLError),
        "does not answer (connection refused)": isinstance(cause, ConnectionRefusedError),
        f"does not answer{_reason(cause)}": refused,
    }
    return next((said for said, holds in reasons.items() if holds), "")


def overdue(server: Server, timeout_s: float) -> Fault:
    """The fault of an answer that is not whole in time."""
    return Fault(
        f"The model's server {server.shown} did not answer within {timeout_s:g} s.",
        "RequestTimeout in [QwenVL] is how long one answer may take; fewer RequestsInFlight make each quicker.",
        kind="transient",
    )


def parse_retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date. None where it says neither."""
    if not value:
        return None
    try:
        return max(0.0, float(urllib3.Retry().parse_retry_after(value[:100])))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None


def _first(error: BaseException) -> object:
    """What requests wrapped: urllib3's MaxRetryError, whose reason tells more."""
    return error.args[0] if error.args else None


def _reason(cause: BaseException) -> str:
    reason = cause.strerror if isinstance(cause, OSError) else None
    return f" ({reason})" if reason else ""


def _innermost(error: BaseException) -> BaseException:
    """What really happened, below what requests and urllib3 made of it."""
    for _ in range(12):
        reason = getattr(error, "reason", None)
        if isinstance(error, urllib3.exceptions.NameResolutionError):
            return error
        inner = reason if isinstance(reason, BaseException) else error.__cause__ or error.__context__
        if inner is None:
            inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
        if inner is None:
            return error
        error = inner
    return error
