"""Keeps what identifies a video out of Dagster, whose history cannot be edited when a video is forgotten.

Messages are phrased without names where they are made; this is the last guard before they reach Dagster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from vidpipe.settings import Settings
from vidpipe.stages.contract import StageError

#: The fields of a video's document that `identifying_texts` reads, as a MongoDB projection.
IDENTIFYING_FIELDS = {
    "ingest.names": 1, "ingest.urls": 1, "ingest.titles": 1, "ingest.path": 1, "raw_video.path": 1,
}  # fmt: skip
#: What the runner puts before a stage's message; an event has both already.
_PREFIX = re.compile(r"^[^\n]{0,1000}? \((?P<id>[0-9a-f]{12})\), stage \w+: ")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\"'<>]+", re.IGNORECASE)
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_URL_SAFE = "/:?&=#%+@,;~"
_MIN_CHARS = 2


def identifying_texts(document: Mapping[str, Any]) -> Iterator[str]:
    """Yields names, titles, URLs and paths of a video, given (part of) its document."""
    ingest = document.get("ingest") or {}
    yield from ingest.get("titles") or ()
    for url in ingest.get("urls") or ():
        yield url
        if (host := _host(url)) and host not in _LOCAL_HOSTS:
            yield host
    for name in ingest.get("names") or ():
        yield from (name, PurePath(name).stem)
    for path in (ingest.get("path"), (document.get("raw_video") or {}).get("path")):
        if path:
            yield from (path, PurePath(path).name)
            if PurePath(path).is_absolute():  # referenced where the user keeps it
                yield str(PurePath(path).parent)


def without_identity(text: str, sha256: str, texts: Iterable[str], settings: Settings) -> str:
    """Replaces what identifies a video in a message.

    Args:
        text: The message.
        sha256: The video's id, whose first 12 digits replace its names.
        texts: Names, titles, URLs and paths (see `identifying_texts`).
        settings: Paths below the home become relative, because the home's own path may name its user.

    Returns:
        The message with the texts replaced by the id, and URLs of other machines by "[URL]".
    """
    prefix = _PREFIX.match(text)
    if prefix is not None and sha256.startswith(prefix["id"]):
        text = text[prefix.end() :]
    text = text.replace(f"{settings.home}/", "")
    replacement = f"video {sha256[:12]}"
    text = text.replace(replacement, sha256)  # so that a name that is part of the id or "video" leaves it whole
    forms = {form for known in texts for form in (known, unquote(known), quote(known), quote(known, safe=_URL_SAFE))}
    urls = {form for form in forms if "://" in form}
    text = without_urls(_replace(text, urls, sha256))
    return _replace(text, forms - urls, sha256).replace(sha256, replacement)


def without_urls(text: str) -> str:
    """Replaces each URL by "[URL]", except those of this machine, such as a local model's."""
    return _URL.sub(lambda match: match[0] if _host(match[0]) in _LOCAL_HOSTS else "[URL]", text)


def anonymous(error: StageError, document: Mapping[str, Any], settings: Settings) -> StageError:
    """Returns the error without what identifies its video (see `without_identity`).

    Args:
        error: As the stage raised it, or as it is stored.
        document: The video's document with `_id` and IDENTIFYING_FIELDS.
        settings: Those of the home.
    """
    texts = tuple(identifying_texts(document))
    message, hint = (without_identity(text, document["_id"], texts, settings) for text in (error.message, error.hint))
    return StageError(message, hint, transient=error.transient)


def _replace(text: str, known: Iterable[str], replacement: str) -> str:
    for form in sorted((form for form in known if len(form) >= _MIN_CHARS), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", replacement, text, flags=re.IGNORECASE)
    return text


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
