"""`filename_patterns` and `source_patterns`: globs, or `re:` and a regular expression.

File names and URLs are not trusted, so matching takes linear time: regular expressions run on RE2, which does not
backtrack, and globs become expressions whose `*` never backtracks.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import re2

Subject = Literal["filename", "source"]

_REGEX = "re:"
_GLOB_CHARACTERS = re.compile(r"[*?\[]")
_LONGEST_PATTERN = 500
_LONGEST_SUBJECT = 4096


@dataclass(frozen=True)
class Pattern:
    """A case-insensitive pattern.

    Attributes:
        text: As written.
        matches: Returns whether a file name or URL matches.
    """

    text: str
    matches: Callable[[str], bool]

    def first(self, subjects: Iterable[str]) -> str | None:
        """Return the first of `subjects` that matches, or None."""
        return next((subject for subject in subjects if self.matches(subject[:_LONGEST_SUBJECT])), None)


def parse_pattern(text: str, subject: Subject) -> Pattern:
    """Compile a pattern.

    A glob must match the whole file name, or the whole URL with or without its `https://`. A source pattern without
    `*`, `?`, `[` and `/` is a host and includes its subdomains. A regular expression may match anywhere.

    Raises:
        ValueError: It is invalid; the message is for the user.
    """
    if not text.strip() or len(text) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has 1 to {_LONGEST_PATTERN} characters; found {len(text.strip())}")
    if text.startswith(_REGEX):
        return Pattern(text, _regex(text.removeprefix(_REGEX)))
    if subject == "source":
        host_only = not _GLOB_CHARACTERS.search(text) and "/" not in text
        return Pattern(text, _host(text) if host_only else _source_glob(text))
    return Pattern(text, _glob(text))


def _regex(expression: str) -> Callable[[str], bool]:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(
            f'"re:{expression}" is not a valid RE2 regular expression: {reason} '
            "(RE2 has no look-ahead, look-behind or back-references)"
        ) from None
    return lambda subject: compiled.search(subject) is not None


def _glob(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(fnmatch.translate(pattern.casefold()))
    return lambda subject: compiled.match(subject.casefold()) is not None


def _source_glob(pattern: str) -> Callable[[str], bool]:
    whole = _glob(pattern)
    return lambda subject: whole(subject) or whole(subject.partition("://")[2])


def _host(name: str) -> Callable[[str], bool]:
    wanted = name.strip().lower().lstrip(".")

    def matches(subject: str) -> bool:
        try:
            host = (urlsplit(subject).hostname or "").lower()
        except ValueError:  # a URL without a host
            return False
        return host == wanted or host.endswith("." + wanted)

    return matches
