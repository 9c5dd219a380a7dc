"""The addresses of the model servers, and the key sent to them."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from vidpipe.errors import UnavailableError
from vidpipe.settings.operation import split_list
from vidpipe.settings.schema import QwenVL

#: What the `openai` client appends to its base URL.
CHAT_PATH = "/chat/completions"
#: As at most providers (/v1), and at some (/api/v3).
_API_VERSION = re.compile(r"/v\d+\Z")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x20\x7f]")
#: RFC 6750 allows fewer, servers more; a space or a line end would end the header.
_KEY = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True)
class ServerAddress:
    """Where requests are sent.

    Attributes:
        url: Full URL of the requests.
        key: API key; "" if none is set.
        setting: Key of [QwenVL] that holds the address.
    """

    url: str
    key: SecretStr
    setting: str

    @property
    def shown(self) -> str:
        """The URL without its query, for messages."""
        return self.url.partition("?")[0]

    @property
    def encrypted(self) -> bool:
        """Whether it uses https."""
        return self.url.startswith("https://")

    @property
    def has_key(self) -> bool:
        """Whether a key is sent."""
        return bool(self.key.get_secret_value())


def server_addresses(settings: QwenVL) -> tuple[ServerAddress, ...]:
    """Return the servers of PublicEndpoint, or of VpcEndpoint with UseVpc; each one once.

    With API style openai, a configured address may end before or after /v1 or include the whole path; with pai, it is
    used as is.

    Raises:
        UnavailableError: An address is missing or invalid, or the key cannot be sent.
    """
    setting = "VpcEndpoint" if settings.use_vpc else "PublicEndpoint"
    given = split_list(settings.vpc_endpoint if settings.use_vpc else settings.public_endpoint)
    if not given:
        other = settings.public_endpoint if settings.use_vpc else settings.vpc_endpoint
        hint = f"Set {setting} in section [QwenVL] of config.ini, or VIDPIPE_QWENVL_{setting.upper()}."
        if other:
            hint += f" UseVpc = {'no' if settings.use_vpc else 'yes'} selects the other endpoint, which is set."
        raise UnavailableError(f"Backend endpoint has no address: {setting} of [QwenVL] is empty.", hint)
    key = _checked_key(settings.access_key)
    urls = dict.fromkeys(_url(address, setting, settings.api_style) for address in given)
    return tuple(ServerAddress(url, key, setting) for url in urls)


def _url(given: str, setting: str, api_style: str) -> str:
    fault = ""
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - raises ValueError if it is invalid
    except ValueError:
        fault = "is not a valid URL"
    else:
        if _SPACE_OR_CONTROL.search(given):
            fault = "contains whitespace"
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            fault = "is not an http(s) URL"
        elif "@" in parts.netloc:
            fault = "contains a user name; the key belongs into AccessKey"
    if fault:
        raise UnavailableError(
            f"{setting} of [QwenVL] {fault}.", "Example: https://models.example.com or http://127.0.0.1:8000/v1."
        )
    path = parts.path.rstrip("/")
    if api_style == "openai" and not path.endswith(CHAT_PATH):
        path += CHAT_PATH if _API_VERSION.search(path) else f"/v1{CHAT_PATH}"
    return urlunsplit(parts._replace(fragment="", path=path if api_style == "openai" else parts.path))


def _checked_key(key: SecretStr) -> SecretStr:
    """Return the key without surrounding whitespace.

    Its characters are checked here, because a library that cannot send one quotes the whole key.
    """
    text = key.get_secret_value().strip()
    if not _KEY.fullmatch(text):
        raise UnavailableError(
            "AccessKey of [QwenVL] contains a character that cannot be sent (whitespace, a line break or a non-ASCII "
            "letter).",
            "Copy the key again into VIDPIPE_QWENVL_ACCESSKEY or config.local.ini.",
        )
    return SecretStr(text)
