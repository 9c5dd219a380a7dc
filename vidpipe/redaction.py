"""Secrets are masked in whatever is shown, logged or stored, in every spelling that they may come back in."""

from __future__ import annotations

import base64
import html
import os
import re
from functools import lru_cache
from urllib.parse import unquote

MASK = "***"
#: Variables that the addresses in source lists name, for the secrets in them.
SOURCE_SECRETS = "VIDPIPE_SOURCE_"

#: Names of URL parameters whose values are secrets.
SECRET_NAME = re.compile(
    r"token|signature|^sig$|secret|passw|^pwd$|api[-_]?key|access[-_]?key|^key$|key-pair-id|credential|auth|session|^jwt$"
    r"|^sid$|^policy$|^hdn",
    re.IGNORECASE,
)
# The scheme's length is bounded: without it a long word costs time in the square of its length. The password goes on to
# the last @, since an unescaped one may be part of it.
_URL_PASSWORD = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)(?P<user>[^/\s:@]*):(?P<password>[^/\s]+)@", re.IGNORECASE
)
_SECRET_PARAMETER = re.compile(
    r"(?P<name>\b[\w-]{0,30}(?:access[-_]?key(?:[-_]?id)?|api[-_]?key|token|signature|\bsig|password|passwd|credential"
    r"|secret(?:[-_]?key)?)=)[^&#\s\"']*[^&#\s\"':]",
    re.IGNORECASE,
)
_URL_PARAMETER = re.compile(r"(?<=[?&])(?P<name>[\w.%-]{1,60})=[^&#\s\"'<>]*[^&#\s\"'<>.,;:!?)\]]")
_BEARER = re.compile(r"(?P<name>\bBearer\s+|\bAuthorization:\s*\w+\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)

#: A shorter value says nothing, and masking it would spoil every text.
_SHORTEST = 3
#: A shorter value is masked where it is a word of its own.
_SHORTEST_WITHIN_WORDS = 6

_WORD = re.compile("[A-Za-z0-9]+")
#: a URL, or the query of one
_ADDRESS = re.compile(
    r"(?:(?<![a-z0-9+.-])(?!file:)[a-z][a-z0-9+.-]{0,30}://|(?<=[?&])[\w.%-]{1,60}=)[^\s\"'<>]+", re.IGNORECASE
)

_known: frozenset[str] = frozenset()


def hide(secrets: frozenset[str]) -> None:
    """Makes `redact` mask exactly these `secrets` from now on, besides those of VIDPIPE_SOURCE_… in the environment."""
    global _known  # noqa: PLW0603 - the secrets of a process are known to all of it
    _known = secrets


def redact(text: str) -> str:
    """`text` with the secrets of this process (see `hide`), passwords in URLs, bearer keys and secret query parameters
    replaced by `***`."""
    return redact_by_form(mask(text, _known | source_secrets()))


def redact_by_form(text: str) -> str:
    """`redact` for what tells itself as a secret, whatever secrets this process knows."""
    text = _URL_PASSWORD.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
    text = _SECRET_PARAMETER.sub(rf"\g<name>{MASK}", text)
    text = _URL_PARAMETER.sub(_without_value, text)
    return _BEARER.sub(rf"\g<name>{MASK}", text)


def _without_value(found: re.Match[str]) -> str:
    return f"{found['name']}={MASK}" if SECRET_NAME.search(found["name"]) else found.group()


def source_secrets() -> frozenset[str]:
    """The values of the variables VIDPIPE_SOURCE_…."""
    prefix = SOURCE_SECRETS.encode()
    # as bytes: `redact` is called often, and most of the time goes into decoding names
    return frozenset(os.fsdecode(os.environb[name]) for name in os.environb if name.startswith(prefix))


def mask(text: str, secrets: frozenset[str]) -> str:
    """`text` without `secrets`, plain or encoded: percent-encoded (once or more), as in a form, in HTML, JSON and
    Python literals, UTF-8 read as Latin-1, within Base64. Short words and numbers are masked in URLs only: elsewhere
    they are ordinary text."""
    if not (secrets and text):
        return text
    decoded = text
    for _ in range(3 if "%" in text else 0):
        decoded = unquote(decoded)
    decoded = decoded.lower()
    # longest first, so that a secret that contains another is masked whole
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < _SHORTEST:
            break
        # no encoding but percent-encoding changes letters and digits; compiling a pattern takes milliseconds
        if max(_WORD.findall(secret), key=len, default="").lower() in decoded:
            text = _masked(secret, text)
        if len(secret) >= _SHORTEST_WITHIN_WORDS:
            for encoded in _within_base64(secret):
                text = text.replace(encoded, MASK)
    return text


def _masked(secret: str, text: str) -> str:
    pattern = _pattern(secret)
    if len(secret) < _SHORTEST_WITHIN_WORDS and (secret.isalpha() or secret.isdigit()):
        return _ADDRESS.sub(lambda address: pattern.sub(MASK, address[0]), text)
    return pattern.sub(MASK, text)


@lru_cache(maxsize=256)
def _pattern(secret: str) -> re.Pattern[str]:
    plain = "".join(map(_spellings, secret))
    if len(secret) < _SHORTEST_WITHIN_WORDS:
        return re.compile(rf"(?<![^\W_]){plain}(?![^\W_])")
    return re.compile(plain, re.IGNORECASE)  # as part of a host it comes back in lower case


@lru_cache(maxsize=1024)
def _spellings(character: str) -> str:
    data = character.encode("utf-8", "surrogateescape")
    literal = re.escape(character)
    forms = [literal, "".join(f"%(?:25)*(?i:{byte:02x})" for byte in data)]
    if character == " ":
        forms.append(r"\+")
    if not (character.isascii() and character.isalnum()):
        code = ord(character)
        named = re.escape(html.escape(character)) if html.escape(character) != character else "(?!)"
        forms += [rf"\\{{1,4}}{literal}", rf"\\{{1,4}}(?:u00|u|x){code:02x}", rf"&#(?:{code}|x0*{code:x});", named]
        forms.append("".join(rf"\\{{1,4}}x{byte:02x}" for byte in data))
        if len(data) > 1:
            forms.append(re.escape(data.decode("latin-1")))
    return f"(?:{'|'.join(forms)})"


@lru_cache(maxsize=256)
def _within_base64(secret: str) -> tuple[str, ...]:
    """The characters that stand for `secret` and nothing else wherever it begins in a text that is encoded."""
    data = secret.encode("utf-8", "surrogateescape")
    return tuple(
        base64.b64encode(bytes(shift) + data, alphabet).decode()[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        for shift in range(3)
        for alphabet in (b"+/", b"-_")
    )
