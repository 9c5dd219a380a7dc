"""One URL or file to add, from its text."""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe.errors import VidpipeError, readable
from vidpipe.safe_files import check_regular, file_url_path
from vidpipe.sources.fetchers.registry import kind_of, schemes
from vidpipe.sources.fetchers.s3 import S3Address
from vidpipe.sources.local_files import LocalMode
from vidpipe.sources.records import SourceKind
from vidpipe.sources.source_data import StatedByUser
from vidpipe.sources.urls import (
    SourceUrl,
    canonical_url,
    invalid_character,
    loses_fragment,
    misleading_character,
    redacted_url,
    windows_1252,
)

_LONGEST_SCHEME = 12
#: Servers accept less, and lines of text lists are not longer.
_LONGEST_URL = 8192
_LONGEST_SHOWN = 300


@dataclass(frozen=True)
class SourceRequest(StatedByUser):
    """One URL or file to add.

    Attributes:
        url: The canonical URL.
        kind: Where the bytes come from.
        path: Of a local file.
        mode: How a local file is added.
        given: As the user gave it, without secrets.
        fragment_dropped: It was given with a fragment, which is not part of the URL.
        version: Of a file in a folder: see `ListedFile`.
    """

    url: SourceUrl
    kind: SourceKind = "http"
    path: Path | None = None
    mode: LocalMode = "copy"
    given: str = ""
    fragment_dropped: bool = False
    version: str = ""

    @property
    def id(self) -> str:
        """Id of the source."""
        return self.url.id

    @property
    def has_secret(self) -> bool:
        """Whether the URL contains a secret."""
        return self.url.display_url != self.url.reveal()

    @property
    def identity(self) -> dict[str, Any]:
        """What a record of the source contains from the start."""
        names = ("id", "has_secret", "fragment_dropped", "kind")
        return {"url": self.url.display_url, **{name: getattr(self, name) for name in names}}

    @property
    def user_fields(self) -> dict[str, object]:
        """What the request sets besides the URL."""
        return {name: value for name, value in self.stated.items() if value not in (None, ())}


def request_for(text: str, *, mode: LocalMode = "copy", base: Path | None = None, quoted: bool = True) -> SourceRequest:
    """Return the request for one URL, object of S3 or local file.

    Args:
        text: As the user gave it.
        mode: How a local file is added.
        base: Folder of relative paths.
        quoted: Begin errors with the text, its secrets masked. Otherwise, errors reveal nothing of it, since it may be
            a line of a private file.

    Raises:
        VidpipeError: It is none of these.
    """
    try:
        return _request(text, mode, Path(base or ""))
    except VidpipeError as error:
        if not quoted:
            raise
        raise VidpipeError(f"{displayed(text)}: {error.message}", error.hint) from None


def displayed(text: str) -> str:
    """Return what is shown of an input: without secrets, and cut."""
    text = redacted_url(text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _request(text: str, mode: LocalMode, base: Path) -> SourceRequest:
    scheme = url_scheme(text)
    if scheme:
        text = text.strip()
    if scheme and len(text) > _LONGEST_URL:
        raise VidpipeError(f"the URL has {len(text)} characters; at most {_LONGEST_URL} are allowed.")
    if scheme in schemes() and (character := invalid_character(text)):
        raise VidpipeError(
            f"the URL contains {character}, which is not allowed in a URL.", "Remove or percent-encode it."
        )
    if scheme in ("http", "https") and re.search(r" [a-z0-9+]+://", text, re.IGNORECASE):
        raise VidpipeError("this contains two URLs.", "Give them one by one.")
    if scheme in schemes():
        url = SourceUrl(str(S3Address.parse(text)) if scheme == "s3" else canonical_url(text, schemes()))
        kind = kind_of(url.reveal())
        if kind is not None:
            lost = scheme not in ("s3", "dropbox") and loses_fragment(text)
            return SourceRequest(url, kind, given=url.display_url, fragment_dropped=lost)
    if scheme not in ("", "file"):
        raise VidpipeError(
            f"{scheme[:_LONGEST_SCHEME]}:// is not supported.",
            f"Give the path of a local file or a URL of one of these kinds: {', '.join(schemes())}.",
        )
    if not text.strip():
        raise VidpipeError("the path is empty.")
    path = _local(text, base)
    return SourceRequest(SourceUrl(path.as_uri()), "file", path, mode, given=readable(redacted_url(text)))


def _local(text: str, base: Path) -> Path:
    """Return the existing file or folder of a path or file URL, links followed.

    A name is tried as it is, then without surrounding whitespace, then with bytes that are not UTF-8 decoded as
    Windows-1252.
    """
    hint = "Check the path; a URL begins with https://." if "." in text and "/" in text else "Check the path."
    try:
        for name in dict.fromkeys((text, text.strip(), windows_1252(text))):
            is_url = bool(url_scheme(name))
            path = file_url_path(name) if is_url else Path(base, Path(name).expanduser())
            if path.exists() and (path.is_absolute() or not is_url):
                if not path.is_dir() and not stat.S_ISREG(check_regular(path).st_mode):
                    raise VidpipeError("this is a pipe.", "Pass a list from a pipe through stdin: `vidpipe add -`.")
                return path.resolve()
        character = misleading_character(text)
        contains = f" (the name contains {character})" if character else ""
        raise VidpipeError(f"no such file or folder{contains}.", hint)
    except OSError as error:  # a name that is too long, a folder without permission
        raise VidpipeError(f"{error.strerror or type(error).__name__}.", hint) from None
    except (ValueError, RuntimeError):  # not a URL, or the home of a user that does not exist
        raise VidpipeError("this is not a valid path.", hint) from None


def url_scheme(text: str) -> str:
    """Return the scheme of a URL in lower case; empty for a path (a drive letter is not a scheme)."""
    scheme, separator, _ = text.lstrip().partition("://")
    return scheme.lower() if separator and scheme.replace("+", "").isalnum() else ""


def local_path(text: str) -> bool:
    """Return whether a line of a list names something on this machine."""
    return url_scheme(text) in ("", "file")
