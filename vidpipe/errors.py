"""Errors that a user can act on: what was found, and what to do about it."""

import re
from typing import Self

from vidpipe.redaction import redact

_SURROGATE = re.compile("[\ud800-\udfff]")
#: What must not reach a terminal: control characters; marks that change the direction of text or are invisible, tag
#: characters included, except joiners within words and emoji; halves of surrogate pairs; variation selectors with
#: nothing to vary.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]|(?<![^\x00-\x7f])[\u200c\u200d]|(?<=[\ufe00-\ufe0f])[\ufe00-\ufe0f]"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)


def readable(text: str) -> str:
    """`text` with each byte that is not UTF-8, as Python keeps those of file names, written out: `caf\\xe9.mp4`.

    Other halves of surrogate pairs become \\ud83d. What is left can be encoded, stored and shown.
    """
    return text if text.isascii() else _SURROGATE.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def visible(text: str) -> str:
    """`text` with `UNSAFE` characters escaped: \\x1b for an escape."""
    return UNSAFE.sub(lambda found: _as_escape(found.group()), readable(text))


def _as_escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class VidpipeError(Exception):
    """An error with a sentence for the user.

    message: what was found, naming the video, file or key it was found in.
    hint:    what to do about it; may be empty.
    Both are redacted and made `readable` on the way in, so that no secret and no text that cannot be encoded reaches
    a log, MongoDB or Dagster.
    depends_on: names of settings and the like that it depends on (see `vidpipe.sources.failures`).
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
    """Files of MongoDB or of Dagster's history are damaged; neither waiting nor retrying helps."""

    def __init__(self, message: str, hint: str = "Run `vidpipe doctor --repair`; it deletes nothing.") -> None:
        super().__init__(message, hint)


class MediaError(VidpipeError):
    """A file cannot be read as a video."""
