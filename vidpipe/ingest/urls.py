"""URLs: one canonical spelling, an id, and a form without secrets that may be stored and shown."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

import idna

from vidpipe.errors import VidpipeError

_SECRET_NAME = re.compile(
    r"token|signature|^sig$|secret|passw|^pwd$|api[-_]?key|access[-_]?key|^key$|key-pair-id|credential|auth|session|^jwt$"
    r"|^sid$|^policy$|^hdn",
    re.IGNORECASE,
)
_SAFE = "!#$%&'()*+,/:;=?@[]~"
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Fragments that say which piece of a video is meant (W3C Media Fragments).
_MEDIA_FRAGMENT = re.compile(r"(?:t|xywh|track|id)=", re.IGNORECASE)
MASK = "***"


def canonical_url(url: str) -> str:
    """The one spelling of an http(s) URL that its id is made of: lower-case ASCII host, no default port, no fragment.

    Errors: VidpipeError where there is no usable host, port or scheme.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = parts.hostname or ""
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError as error:
        raise VidpipeError(f"{url.strip()!r} is not a URL that can be read: {error}.") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise VidpipeError(f"{redacted_url(url)}: only http and https URLs are fetched, not {scheme or 'a bare name'}.")
    if not host or _CONTROL.search(host):
        raise VidpipeError(f"{redacted_url(url)}: the URL names no host.", "Write it as https://host/path/file.mp4.")
    userinfo = parts.netloc.rpartition("@")[0]
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc += f":{port}"
    if userinfo:
        netloc = f"{quote(userinfo, safe=_SAFE)}@{netloc}"
    path = quote(parts.path, safe=_SAFE) or "/"
    return urlunsplit((scheme, netloc, path, quote(parts.query, safe=_SAFE), ""))


def loses_fragment(url: str) -> bool:
    """Whether an http(s) URL has a fragment, which no server is sent, that may be meant as a part of the name."""
    fragment = url.partition("#")[2].strip()
    return bool(fragment) and not _MEDIA_FRAGMENT.match(fragment)


def source_id(address: str) -> str:
    """Id of a source: a hash of its full address, secrets included, from which they cannot be read back."""
    return hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def without_userinfo(url: str) -> tuple[str, tuple[bytes, bytes] | None]:
    """(`url` without user and password, (user, password) in UTF-8 as Basic authentication sends them, or None)."""
    parts = urlsplit(url)
    userinfo, at, netloc = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    return urlunsplit(parts._replace(netloc=netloc)), (unquote_to_bytes(user), unquote_to_bytes(password))


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def secrets_of(url: str) -> tuple[str, ...]:
    """Every secret in `url`, as it is written there and decoded: user and password, values of secret parameters."""
    parts = _split(url)
    if parts is None:
        return (url,)
    found: list[str] = []
    userinfo, at, _ = parts.netloc.rpartition("@")
    if at:
        found += [part for part in (userinfo, *userinfo.split(":", 1)) if part]
    for piece in re.split("[&;]", f"{parts.query}&{parts.fragment}"):
        name, _, value = piece.partition("=")
        if value and _SECRET_NAME.search(unquote(name)):
            found.append(value)
    return tuple(dict.fromkeys([*found, *(unquote(secret) for secret in found)]))


def redacted_url(url: str) -> str:
    """`url` with user, password and the values of secret parameters, of its query and fragment, replaced by `***`."""
    parts = _split(url)
    if parts is None:
        return MASK
    _, at, host = parts.netloc.rpartition("@")
    query, fragment = _masked(parts.query), _masked(parts.fragment)
    if not at and (query, fragment) == (parts.query, parts.fragment):
        return url  # unsplit, a key of S3 may lose a question mark
    return urlunsplit(parts._replace(netloc=f"{MASK}@{host}" if at else parts.netloc, query=query, fragment=fragment))


def _masked(parameters: str) -> str:
    """`name=value&…` with the values of secret names replaced."""
    pieces = re.split("([&;])", parameters)
    for position, piece in enumerate(pieces):
        name, equals, value = piece.partition("=")
        if value and _SECRET_NAME.search(unquote(name)):
            pieces[position] = f"{name}{equals}{MASK}"
    return "".join(pieces)


def scrub(text: str, url: str) -> str:
    """`text` without the secrets of `url`: for words that come from a library or a server."""
    text = text.replace(url, redacted_url(url))
    for secret in sorted(secrets_of(url), key=len, reverse=True):
        if len(secret) >= 3:
            text = text.replace(secret, MASK)
    return text


def safe_file_name(name: str) -> str:
    """`name` as a plain file name: no folders, no control characters, at most 200 characters; may be empty."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(character for character in name if character.isprintable()).strip(" .")
    if len(name) > 200:
        suffix = PurePosixPath(name).suffix[:20]
        name = name[: 200 - len(suffix)] + suffix
    return name


def url_file_name(url: str) -> str:
    """The file name that a URL's path ends in; the name of its one file-like query value where the path has none."""
    parts = urlsplit(url)
    name = safe_file_name(unquote(parts.path))
    if "." in name:
        return name
    for key, value in parse_qsl(parts.query):
        candidate = safe_file_name(value)
        if not _SECRET_NAME.search(key) and re.fullmatch(r"[^/?&]+\.[A-Za-z0-9]{2,4}", candidate):
            return candidate
    return name or parts.hostname or ""
