"""Errors that a user can act on: what was found, and what to do about it."""

import re
from typing import Self

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
_BEARER = re.compile(r"(?P<name>\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


_SURROGATE = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """`text` with each byte that is not UTF-8, as Python keeps those of file names, written out: `caf\\xe9.mp4`.

    Other halves of surrogate pairs become \\ud83d. What is left can be encoded, stored and shown.
    """
    return text if text.isascii() else _SURROGATE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def redact(text: str) -> str:
    """`text` with passwords in URLs, bearer keys and secret query parameters replaced by `***`."""
    text = _URL_PASSWORD.sub(r"\g<scheme>\g<user>:***@", text)
    text = _SECRET_PARAMETER.sub(r"\g<name>***", text)
    return _BEARER.sub(r"\g<name>***", text)


class VidpipeError(Exception):
    """An error with a sentence for the user.

    message: what was found, naming the video, file or key it was found in.
    hint:    what to do about it; may be empty.
    Both are redacted and made `readable` on the way in, so that no secret and no text that cannot be encoded reaches
    a log, MongoDB or Dagster.
    depends_on: names of settings and the like that it depends on (see `vidpipe.ingest.dependencies`).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, depends_on: tuple[str, ...] = ()) -> None:
        self.message = readable(redact(message))
        self.hint = readable(redact(hint))
        self.depends_on = depends_on
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def reworded(self, message: str) -> Self:
        """This error, with another message from now on."""
        self.message = readable(redact(message))
        return self

    def about(self, subject: str) -> Self:
        """This error, with a message that names `subject`."""
        named = readable(redact(subject)) in self.message
        return self if named else self.reworded(f"{subject}: {self.message}")


class SettingsError(VidpipeError):
    """config.ini, the environment or a rules file holds something that is not allowed."""

    exit_code = 2


class UnavailableError(VidpipeError):
    """Something vidpipe needs (ffmpeg, MongoDB, a model, disk space) is not there."""

    exit_code = 3


class DamagedError(UnavailableError):
    """Files of MongoDB or of Dagster's history are damaged: neither waiting nor another try helps."""

    REMEDY = "`vidpipe doctor --repair` repairs what can be repaired; damaged files are moved aside, not deleted."

    def __init__(self, message: str, hint: str = REMEDY) -> None:
        super().__init__(message, hint)


class MediaError(VidpipeError):
    """A file cannot be read as a video."""
