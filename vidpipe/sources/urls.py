"""URLs: the canonical spelling, the source id, and the form without secrets that may be stored and displayed.

A real URL, secrets included, is a `SourceUrl`; `display_url` and names ending in it are the redacted form.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

import idna

from vidpipe.errors import VidpipeError
from vidpipe.redaction import MASK, SECRET_NAME, mask, redact, source_secrets
from vidpipe.sources.containers import VIDEO_SUFFIXES

_SAFE = "!#$%&'()*+,/:;=?@[]~"
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
#: Of the schemes whose paths are percent-encoded.
DEFAULT_PORTS = {
    "http": 80, "https": 443, "ftp": 21, "ftps": 21, "sftp": 22, "webdav": 80, "webdavs": 443, "gs": 0, "az": 0,
    "dropbox": 0,
}  # fmt: skip
_DROPBOX = "dropbox://"
#: Fragments that select a part of a video (W3C Media Fragments).
_MEDIA_FRAGMENT = re.compile(r"(?:t|xywh|track|id)=", re.IGNORECASE)
_FILE = "file://"
#: Symbolic links may have changed since a path was stored.
_RESOLVED = (os.path.realpath, os.path.abspath)
_ESCAPED_BYTE = re.compile(rb"\\x([0-9a-fA-F]{2})")
#: Quotes and brackets around a URL.
_PAIRS = {"<": ">", '"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "‹": "›"}
_CLOSING = frozenset("”’»›>\"'")
#: Parts of words in Persian and in Indian scripts, and of emoji.
JOINERS = "\u200c\u200d"
_BYTE = re.compile("[\udc80-\udcff]")


def canonical_url(url: str, schemes: Collection[str] = ("http", "https")) -> str:
    """Return the spelling of a URL that its id is made of: lower-case ASCII host, no default port or fragment.

    Args:
        url: The URL.
        schemes: Those that are allowed.

    Raises:
        VidpipeError: It has no usable host, port or scheme. The message reveals nothing of the URL.
    """
    if "dropbox" in schemes and url.strip().lower().startswith(_DROPBOX):  # it has no host: all of it is the path
        return _DROPBOX + quote(url.strip()[len(_DROPBOX) :].lstrip("/"), safe="!$%&'()*+,/:;=~")
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError:
        raise VidpipeError("malformed URL: its host is not valid.") from None
    try:
        port = parts.port
    except ValueError:
        raise VidpipeError("malformed URL: its port is not a number from 0 to 65535.") from None
    scheme = parts.scheme.lower()
    if scheme not in schemes:
        raise VidpipeError(f"only {' and '.join(schemes)} URLs are supported.")
    if not host or _CONTROL.search(host):
        raise VidpipeError("the URL has no host.", "Write it as https://host/path/file.mp4.")
    userinfo = parts.netloc.rpartition("@")[0]
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != DEFAULT_PORTS.get(scheme):
        netloc += f":{port}"
    if userinfo:
        netloc = f"{quote(userinfo, safe=_SAFE)}@{netloc}"
    path = quote(parts.path, safe=_SAFE) or "/"
    return urlunsplit((scheme, netloc, path, quote(parts.query, safe=_SAFE), ""))


def path_in_url(path: str) -> str:
    """Return a path, percent-encoded like that of a canonical URL."""
    return quote(path, safe=_SAFE.translate({ord(c): None for c in "%#?[]@"}))


def loses_fragment(url: str) -> bool:
    """Return whether a URL has a fragment, which is never sent to a server, that may be part of the name."""
    fragment = url.partition("#")[2].strip()
    return bool(fragment) and not _MEDIA_FRAGMENT.match(fragment)


@dataclass(frozen=True, repr=False)
class SourceUrl:
    """The real URL of a source, canonical, secrets included. `str()` and `repr()` do not reveal the secrets."""

    _value: str

    def reveal(self) -> str:
        """Return the real URL; never to be stored or displayed."""
        return self._value

    @cached_property
    def display_url(self) -> str:
        """The URL without its secrets."""
        return redacted_url(self._value)

    def __str__(self) -> str:
        return self.display_url

    def __repr__(self) -> str:
        return f"SourceUrl({self.display_url!r})"

    @property
    def id(self) -> str:
        """Id of the source: a hash of the real URL, from which its secrets cannot be recovered."""
        return hashlib.sha256(self._value.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def without_userinfo(url: str) -> tuple[str, tuple[bytes, bytes] | None]:
    """Split the user information off a URL.

    Returns:
        The URL without it, and (user, password) in UTF-8 for Basic authentication; None if there is none.
    """
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


def secrets_of(url: str) -> frozenset[str]:
    """Return every secret in `url`, as written and decoded: user, password, values of secret parameters."""
    parts = _split(url)
    if parts is None:
        return frozenset({url})
    found: list[str] = []
    userinfo, at, _ = parts.netloc.rpartition("@")
    if at:
        found += [part for part in (userinfo, *userinfo.split(":", 1)) if part]
    for piece in re.split("[&;]", f"{parts.query}&{parts.fragment}"):
        name, _, value = piece.partition("=")
        if value and SECRET_NAME.search(unquote(name)):
            found.append(value)
    return frozenset([*found, *map(unquote, found)])


def redacted_url(url: str) -> str:
    """Return `url` with its secrets replaced by `***`.

    Secrets are the user and password, the values of secret parameters (query and fragment), and the values of
    VIDPIPE_SOURCE_… variables (anywhere). File URLs keep their path, which is needed to find the file.
    """
    if not _is_file_url(url):
        url = mask(url, source_secrets())
    parts = _split(url)
    if parts is None:
        return MASK
    _, at, host = parts.netloc.rpartition("@")
    query, fragment = _masked(parts.query), _masked(parts.fragment)
    if not at and (query, fragment) == (parts.query, parts.fragment):
        return url  # splitting and joining may lose a question mark of an S3 key
    return urlunsplit(parts._replace(netloc=f"{MASK}@{host}" if at else parts.netloc, query=query, fragment=fragment))


def _masked(parameters: str) -> str:
    """Return `name=value&…` with the values of secret names replaced."""
    pieces = re.split("([&;])", parameters)
    for position, piece in enumerate(pieces):
        name, equals, value = piece.partition("=")
        if value and SECRET_NAME.search(unquote(name)):
            pieces[position] = f"{name}{equals}{MASK}"
    return "".join(pieces)


def scrub(text: str, *urls: str) -> str:
    """Return `text`, from a library or a server, without the secrets of `urls` and of this process."""
    for url in urls:
        text = mask(text.replace(url, redacted_url(url)), secrets_of(url))
    return redact(text)


def safe_file_name(name: str) -> str:
    """Return `name` as a plain file name: no folders or control characters, at most 200 characters; may be empty."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(character for character in name if character.isprintable()).strip(" .")
    if len(name) > 200:
        suffix = PurePosixPath(name).suffix[:20]
        name = name[: 200 - len(suffix)] + suffix
    return name


def url_file_name(url: str) -> str:
    """Return the file name at the end of a URL's path, or the first query value that looks like one."""
    parts = urlsplit(url)
    name = safe_file_name(unquote(parts.path))
    if "." in name:
        return name
    for key, value in parse_qsl(parts.query):
        candidate = safe_file_name(value)
        if not SECRET_NAME.search(key) and re.fullmatch(r"[^/?&]+\.[A-Za-z0-9]{2,4}", candidate):
            return candidate
    return name or parts.hostname or ""


def readable_url(url: str) -> str:
    r"""Return `url` as it is displayed: the decoded path of a file URL, any other URL as it is stored.

    Bytes that are not UTF-8 and characters that could control a terminal stay escaped: \xe9, \u202e.
    """
    if not _is_file_url(url):
        return url
    return "".join(_visible(character) for character in _decoded(url[len(_FILE) :]))


def url_spellings(url: str) -> tuple[str, ...]:
    """Return the spellings of a stored URL that patterns match: as displayed, decoded, and percent-encoded as stored.

    Keys of S3 are stored as they are, not encoded.
    """
    parts = _split(url)
    if parts is None or parts.scheme not in ("file", *DEFAULT_PORTS):
        return (url,)
    path = _decoded(parts.path)
    decoded = urlunsplit(parts._replace(path=path, query=_decoded(parts.query)))
    return tuple(dict.fromkeys((readable_url(url), *([path] if parts.scheme == "file" else []), decoded, url)))


def stored_spellings(text: str) -> tuple[str, ...]:
    """Return the spellings under which a URL or path, percent-encoded or decoded, may be stored."""
    given = text.encode("utf-8", "surrogateescape")
    shown = given.decode("utf-8", "backslashreplace")
    scheme = text.partition("://")[0].lower()
    if scheme in DEFAULT_PORTS:
        try:
            return shown, redacted_url(canonical_url(shown, DEFAULT_PORTS))
        except VidpipeError:
            return (shown,)
    if "://" in text and scheme != "file":
        return (shown,)
    path = given[len(_FILE) :] if scheme == "file" else os.path.expanduser(given)
    paths = {path, _ESCAPED_BYTE.sub(lambda found: bytes.fromhex(found[1].decode()), path)}
    if scheme == "file":
        paths.add(unquote_to_bytes(path))
    whole = {resolve(path) for path in paths if path and b"\0" not in path for resolve in _RESOLVED}
    return shown, *sorted(Path(os.fsdecode(path)).as_uri() for path in whole)


def _is_file_url(url: str) -> bool:
    return url[: len(_FILE)].lower() == _FILE


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "backslashreplace")


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs" or character in JOINERS:
        return character
    return character.encode("unicode_escape").decode("ascii")


def bare(text: str) -> str:
    """Return `text` without surrounding whitespace and invisible characters.

    A URL also loses surrounding quotes and <>, and the comma or semicolon after it.
    """
    before = None
    while text != before:
        before = text
        text = text.strip("".join(filter(_invisible, set(text))))
        if "://" not in text[1:40] and text[:1] != '"':
            continue
        if len(text) > 2 and _PAIRS.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
            text = text[1:-1]
        elif text[-1:] in (",", ";") and text[:-1].lower().endswith((*VIDEO_SUFFIXES, *_CLOSING)):
            text = text[:-1]
    return text


def _invisible(character: str) -> bool:
    if character.isascii():
        return character.isspace()
    return character not in JOINERS and unicodedata.category(character) in ("Cf", "Zs", "Zl", "Zp", "Cc")


def invalid_character(url: str) -> str:
    """Return the name and position of the first character that is not allowed in a URL; empty if there is none."""
    for place, character in enumerate(url, start=1):
        if character == " " or (character.isascii() and character.isprintable()):
            continue
        if (
            _invisible(character)
            or unicodedata.category(character) in ("Cc", "Cs")
            or character == "\N{REPLACEMENT CHARACTER}"
        ):
            return f"{named(character)} at character {place}"
    last = url[-1:]
    if (
        not last.isascii()
        and last in _CLOSING
        and not any(opening in url for opening, end in _PAIRS.items() if end == last)
    ):
        return f"{named(last)} at the end"
    return ""


def misleading_character(path: str) -> str:
    """Return the name of the first character of a path that is invisible or looks like another; empty if none does."""
    return next((named(character) for character in path if _unusual(character)), "")


def _unusual(character: str) -> bool:
    if character.isascii():
        return character < " "
    return _invisible(character) or character in _CLOSING or character in _PAIRS or bool(_BYTE.match(character))


def named(character: str) -> str:
    """Return a character's code and name ("U+200B ZERO WIDTH SPACE"), or the value of a byte that is not UTF-8."""
    if _BYTE.match(character):
        return f"the byte 0x{ord(character) - 0xDC00:02X} ({windows_1252(character)} in Windows-1252; not UTF-8)"
    kinds = {"Cc": "CONTROL CHARACTER", "Cs": "LONE SURROGATE"}
    kind = kinds.get(unicodedata.category(character), "UNNAMED CHARACTER")
    return f"U+{ord(character):04X} {unicodedata.name(character, kind)}"


def windows_1252(text: str) -> str:
    """Return `text` with bytes that are not UTF-8 decoded as Windows-1252."""
    return _BYTE.sub(lambda found: bytes([ord(found.group()) - 0xDC00]).decode("cp1252", "replace"), text)


def has_bytes(text: str) -> bool:
    """Return whether `text` contains bytes that are not UTF-8 (as lone surrogates)."""
    return not text.isascii() and _BYTE.search(text) is not None
