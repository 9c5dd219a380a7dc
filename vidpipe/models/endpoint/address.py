"""Where the model's server is, and the key that is shown to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import SecretStr

from vidpipe.errors import UnavailableError
from vidpipe.settings.schema import QwenVL

_CHAT = "/chat/completions"
#: As at most providers (/v1), and at some (/api/v3).
_API_VERSION = re.compile(r"/v\d+\Z")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x20\x7f]")
#: RFC 6750 allows fewer, servers more; a space or a line end would end the header.
_KEY = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True)
class Server:
    """url: what is posted to; key: "" where none is set

    setting: the key of [QwenVL] that the address came from
    """

    url: str
    key: SecretStr
    setting: str

    @property
    def shown(self) -> str:
        """The address without its query."""
        return self.url.partition("?")[0]

    @property
    def encrypted(self) -> bool:
        return self.url.startswith("https://")


def server_of(settings: QwenVL) -> Server:
    """The server of PublicEndpoint, or of VpcEndpoint with UseVpc.

    openai: the address may end before /v1, after it, or be the whole path; pai: it is asked as it is given.
    Raises UnavailableError where it is empty or no address, or where the key cannot be sent.
    """
    setting = "VpcEndpoint" if settings.use_vpc else "PublicEndpoint"
    given = (settings.vpc_endpoint if settings.use_vpc else settings.public_endpoint).strip()
    if not given:
        other = settings.public_endpoint if settings.use_vpc else settings.vpc_endpoint
        hint = f"Set {setting} in the section [QwenVL] of config.ini, or VIDPIPE_QWENVL_{setting.upper()}."
        if other:
            hint += f" UseVpc = {'no' if settings.use_vpc else 'yes'} asks the other endpoint, which is set."
        raise UnavailableError(f"Backend endpoint has no address: {setting} of [QwenVL] is empty.", hint)
    parts = _split(given, setting)
    if settings.api_style == "openai":
        parts = parts._replace(path=_chat_path(parts.path))
    return Server(urlunsplit(parts), _checked_key(settings.access_key), setting)


def _split(given: str, setting: str) -> SplitResult:
    fault = ""
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        fault = "is no address"
    else:
        if _SPACE_OR_CONTROL.search(given):
            fault = "has a space in it"
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            fault = "is no http(s) address"
        elif "@" in parts.netloc:
            fault = "holds a user name; AccessKey is the place of the key"
    if fault:
        raise UnavailableError(
            f"{setting} of [QwenVL] {fault}.", "It looks like https://models.example.com or http://127.0.0.1:8000/v1."
        )
    return parts._replace(fragment="")


def _chat_path(path: str) -> str:
    path = path.rstrip("/")
    if path.endswith(_CHAT):
        return path
    return f"{path}{_CHAT}" if _API_VERSION.search(path) else f"{path}/v1{_CHAT}"


def _checked_key(key: SecretStr) -> SecretStr:
    """The key without white space around it. Its characters are looked at here, because a library that finds one it
    cannot send quotes the whole."""
    text = key.get_secret_value().strip()
    if not _KEY.fullmatch(text):
        raise UnavailableError(
            "AccessKey of [QwenVL] holds a character that cannot be sent (a space, a line end or a special letter).",
            "Copy the key again into VIDPIPE_QWENVL_ACCESSKEY or config.local.ini.",
        )
    return SecretStr(text)
