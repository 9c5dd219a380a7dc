"""Errors that say what was found and what to do about it."""

import re
from typing import Any, Self

from vidpipe.redaction import redact

_SURROGATE = re.compile("[\ud800-\udfff]")
#: Characters that must not reach a terminal: control characters; bidirectional and invisible marks, including tag
#: characters, except joiners within words and emoji; lone surrogates; variation selectors with nothing to vary.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]|(?<![^\x00-\x7f])[\u200c\u200d]|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)


def readable(text: str) -> str:
    r"""Return `text` with bytes of file names that are not UTF-8 written out: `caf\xe9.mp4`.

    Other lone surrogates become \ud83d. The result can be encoded, stored and shown.
    """
    return text if text.isascii() else _SURROGATE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def visible(text: str) -> str:
    r"""Return `text` with `UNSAFE` characters escaped: \x1b for an escape."""
    return UNSAFE.sub(lambda found: _as_escape(found.group()), readable(text))


def _as_escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class VidpipeError(Exception):
    """An error for the user.

    Message and hint are redacted and made `readable`, so that no secret and no text that cannot be encoded reaches a
    log, MongoDB or Dagster.

    Attributes:
        message: What was found, with the video, file or key it was found in.
        hint: What to do about it; may be empty.
        depends_on: Settings and the like that the error depends on (see `vidpipe.sources.failures`).
        exit_code: Exit code of a command that fails with it.
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
        """Replace the message, and return this error."""
        self.message = readable(redact(message))
        return self

    def about(self, subject: str) -> Self:
        """Put `subject` before the message unless it is named there, and return this error."""
        named = readable(redact(subject)) in self.message
        return self if named else self.reworded(f"{subject}: {self.message}")

    def as_json(self) -> dict[str, Any]:
        """Return the error as JSON values."""
        kind = type(self).__name__
        return {"kind": kind, "message": self.message, "hint": self.hint, "exit_code": self.exit_code}


class SettingsError(VidpipeError):
    """Something in config.ini, the environment or a rules file is not allowed."""

    exit_code = 2


class UnavailableError(VidpipeError):
    """Something vidpipe needs (ffmpeg, MongoDB, a model, disk space) is missing."""

    exit_code = 3

    @classmethod
    def without_package(cls, needing: str, error: ImportError, extra: str = "cloud") -> Self:
        """Return the error for a package that an extra installs; `needing`: "s3:// URLs need"."""
        package, hint = (error.name or "").partition(".")[0], f"Install it: pip install 'vidpipe[{extra}]'."
        return cls(f"{needing} {package}, which is not installed.", hint, depends_on=(f"module:{package}",))


class DamagedError(UnavailableError):
    """Files of MongoDB or of Dagster's history are damaged; waiting or retrying does not help."""

    def __init__(self, message: str, hint: str = "Run `vidpipe doctor --repair`; it deletes nothing.") -> None:
        super().__init__(message, hint)


class MediaError(VidpipeError):
    """A file cannot be read as a video."""
