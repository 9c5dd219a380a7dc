"""Files and folders of this machine that a list names. They come and change while the list stays as it is, so they are
looked at each time: listed, not read."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidpipe.ingest.lists import ListEntry
from vidpipe.ingest.records import IngestNote, IngestOutcome, ListedSource
from vidpipe.ingest.sources import local_requests
from vidpipe.ingest.urls import redacted_url
from vidpipe.ingest.watch.reading import listed
from vidpipe.redaction import redact

#: A video is taken when nobody has touched it for so long: until then somebody may be copying it there.
_REST_S = 5.0
#: The next look waits so many times as long as the last one took: slow disks are not kept busy by it.
_PAUSES = 20
_MOST_PROBLEMS = 100
#: What a folder holds beyond is told at the next looks.
_MOST_NEW = 20_000

#: size in bytes, time of the last change in ns, what the list says of the file
State = tuple[int, int, str]


@dataclass
class Local:
    """
    entries:  the list's lines that name files and folders
    files:    id of a source -> how its file was when it was written down
    problems: (where, sentence)
    wait_to:  no look before then (seconds since the epoch)
    """

    entries: list[ListEntry] = field(default_factory=list)
    files: dict[str, State] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    wait_to: float = 0.0

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Local:
        return cls(
            [ListEntry(**{**entry, "labels": tuple(entry["labels"])}) for entry in plain.get("entries", ())],
            {source: (size, modified, said) for source, (size, modified, said) in plain.get("files", {}).items()},
            [(where, sentence) for where, sentence in plain.get("problems", ())],
            plain.get("wait_to", 0.0),
        )

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class LocalNews:
    """
    sources:  files that are new, or of which the list says something else
    changed:  ids of files that hold something else than when they were written down
    removed:  ids of files that are not there any more, or not named
    problems: (where, sentence)
    files:    as of `Local`, today
    """

    sources: list[ListedSource] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, State] = field(default_factory=dict)


def look_at_local(
    entries: Sequence[ListEntry], before: Mapping[str, State], watched: Path, exclude: Collection[Path]
) -> LocalNews:
    """What the local lines of the list at `watched` come to now, against what was known.

    exclude: folders that are left alone: the media store itself
    """
    news = LocalNews()
    now = time.time()
    for found in local_requests(entries, watched, exclude):
        if isinstance(found, IngestNote):
            continue  # what a folder skips is said when it is added by hand
        if isinstance(found, IngestOutcome):
            if len(news.problems) < _MOST_PROBLEMS:
                news.problems.append((redact(found.input), found.error or ""))
            continue
        source = found.id
        if source in news.files or found.path is None:
            continue
        known = before.get(source)
        try:
            seen = os.stat(found.path)
        except OSError:
            continue
        if abs(now - max(seen.st_mtime, seen.st_ctime)) < _REST_S:
            if known is not None:
                news.files[source] = known
            continue
        if known is None and len(news.sources) >= _MOST_NEW:
            continue
        said = ListEntry(0, redacted_url(found.address), found.title, found.labels, found.priority)
        state = (seen.st_size, seen.st_mtime_ns, repr((said.title, said.labels, said.priority)))
        news.files[source] = state
        if known is None or known[2] != state[2]:
            news.sources.append(listed(found, said, edited=known is not None))
        if known is not None and known[:2] != state[:2]:
            news.changed.append(source)
    news.removed = [source for source in before if source not in news.files]
    return news


def pause_after(seconds: float) -> float:
    """How long the next look waits after one that took `seconds`."""
    return _PAUSES * seconds
