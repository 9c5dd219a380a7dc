"""Masks secrets in whatever is shown, logged or stored, in every encoding, and keeps them from child processes."""

import base64
import html
import os
import re
from functools import lru_cache
from urllib.parse import unquote

MASK = "***"
#: Prefix of variables for secrets in the URLs of source lists.
SOURCE_SECRETS = "VIDPIPE_SOURCE_"

#: Matches names of URL parameters whose values are secrets.
SECRET_NAME = re.compile(
    r"token|signature|^sig$|secret|passw|^pwd$|api[-_]?key|access[-_]?key|^key$|key-pair-id|credential|auth|session|^jwt$"
    r"|^sid$|^policy$|^hdn",
    re.IGNORECASE,
)
# The length of the scheme is bounded to keep the time linear. The password extends to the last @, since an unescaped
# one may be part of it.
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

#: Of this program; see `vidpipe.library.api_keys`.
_API_KEY = re.compile(r"\bvidpipe_[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])")

# Shorter values are not masked: that would garble every text.
_MIN_SECRET = 3
# Shorter values are masked only as whole words.
_MIN_SECRET_IN_WORD = 6

_WORD = re.compile("[A-Za-z0-9]+")
# A URL, or its query.
_ADDRESS = re.compile(
    r"(?:(?<![a-z0-9+.-])(?!file:)[a-z][a-z0-9+.-]{0,30}://|(?<=[?&])[\w.%-]{1,60}=)[^\s\"'<>]+", re.IGNORECASE
)

_CHILD_VARIABLES = re.compile(
    # paths of programs and libraries, locale, temporary files and caches
    r"PATH|PYTHONPATH|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|HOME|XDG_(CACHE_HOME|RUNTIME_DIR)"
    # memory and threads
    r"|GLIBC_TUNABLES|MALLOC_\w+|OMP_NUM_THREADS"
    # graphics hardware and its drivers
    r"|(CUDA|NVIDIA|LIBVA|VDPAU|HIP|ROCR|ONEVPL|OCL|OPENCL|MESA|VK|DRI|GPU)_\w+"
)
_SECRET_VARIABLE = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|SESSION")

_known: frozenset[str] = frozenset()


def hide(secrets: frozenset[str]) -> None:
    """Set the secrets that `redact` masks from now on, in addition to the values of VIDPIPE_SOURCE_… variables."""
    global _known  # noqa: PLW0603 - secrets are per process
    _known = secrets


def redact(text: str) -> str:
    """Return `text` with the secrets of this process (see `hide`) and what looks like a secret replaced by `***`."""
    return redact_by_form(mask(text, _known | source_secrets()))


def redact_by_form(text: str) -> str:
    """Return `text` without what looks like a secret: passwords in URLs, bearer tokens, secret query parameters."""
    text = _URL_PASSWORD.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
    text = _SECRET_PARAMETER.sub(rf"\g<name>{MASK}", text)
    text = _URL_PARAMETER.sub(_without_value, text)
    return _API_KEY.sub(MASK, _BEARER.sub(rf"\g<name>{MASK}", text))


def _without_value(found: re.Match[str]) -> str:
    return f"{found['name']}={MASK}" if SECRET_NAME.search(found["name"]) else found.group()


def source_secrets() -> frozenset[str]:
    """Return the values of the VIDPIPE_SOURCE_… variables."""
    prefix = SOURCE_SECRETS.encode()
    # as bytes: `redact` is called often, and decoding the names would take most of the time
    return frozenset(os.fsdecode(os.environb[name]) for name in os.environb if name.startswith(prefix))


def mask(text: str, secrets: frozenset[str]) -> str:
    """Return `text` without `secrets`, plain or encoded.

    Encodings: percent-encoding (repeated, too), forms, HTML, JSON and Python literals, UTF-8 read as Latin-1, Base64.
    Short words and numbers are masked in URLs only: elsewhere they are ordinary text.
    """
    if not (secrets and text):
        return text
    decoded = text
    for _ in range(3 if "%" in text else 0):
        decoded = unquote(decoded)
    decoded = decoded.lower()
    # longest first, so that a secret that contains another is masked whole
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < _MIN_SECRET:
            break
        # only percent-encoding changes letters and digits; compiling a pattern takes milliseconds
        if max(_WORD.findall(secret), key=len, default="").lower() in decoded:
            text = _masked(secret, text)
        if len(secret) >= _MIN_SECRET_IN_WORD:
            for encoded in _within_base64(secret):
                text = text.replace(encoded, MASK)
    return text


def _masked(secret: str, text: str) -> str:
    pattern = _pattern(secret)
    if len(secret) < _MIN_SECRET_IN_WORD and (secret.isalpha() or secret.isdigit()):
        return _ADDRESS.sub(lambda address: pattern.sub(MASK, address[0]), text)
    return pattern.sub(MASK, text)


@lru_cache(maxsize=256)
def _pattern(secret: str) -> re.Pattern[str]:
    plain = "".join(map(_spellings, secret))
    if len(secret) < _MIN_SECRET_IN_WORD:
        return re.compile(rf"(?<![^\W_]){plain}(?![^\W_])")
    return re.compile(plain, re.IGNORECASE)  # in a host name it comes back in lower case


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
    """The Base64 characters that encode `secret` alone, for each offset at which it may begin in an encoded text."""
    data = secret.encode("utf-8", "surrogateescape")
    return tuple(
        base64.b64encode(bytes(shift) + data, alphabet).decode()[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        for shift in range(3)
        for alphabet in (b"+/", b"-_")
    )


def child_environment() -> dict[str, str]:
    """Return the environment for external programs (ffmpeg, ffprobe, mongod), without variables that may be secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if _CHILD_VARIABLES.fullmatch(name) and not _SECRET_VARIABLE.search(name)
    }
