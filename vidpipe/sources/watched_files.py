"""The files and folders of this machine that a watched list names, and what changed in them."""

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from vidpipe.redaction import redact
from vidpipe.sources.inputs import local_requests
from vidpipe.sources.list_diff import listed_source
from vidpipe.sources.lists import ListEntry
from vidpipe.sources.records import ListedSource

#: What a folder contains beyond is reported by the next checks.
_MOST_NEW = 20_000
MOST_PROBLEMS = 100
#: size in bytes, time of the last change in ns, options in the list
LocalFileState = tuple[int, int, str]


class WatchedFiles(BaseModel):
    """The files and folders of this machine that a list names. They change while the list does not.

    Attributes:
        entries: The list's lines that name them.
        files: Id of a source -> state of its file when it was recorded.
        problems: (where, message).
        wait_to: No check before this time, in seconds since the epoch.
    """

    entries: list[ListEntry] = []
    files: dict[str, LocalFileState] = {}
    problems: list[tuple[str, str]] = []
    wait_to: float = 0.0


@dataclass
class WatchedFilesDiff:
    """What changed in the watched files.

    Attributes:
        sources: Files that are new, or whose options in the list have changed.
        changed: Ids of files with other contents than when they were recorded.
        removed: Ids of files that no longer exist or are no longer named.
        problems: (where, message).
        files: As in `WatchedFiles`, now.
        unfinished: Something is left for the next check, for instance a file that is being written.
    """

    sources: list[ListedSource] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, LocalFileState] = field(default_factory=dict)
    unfinished: bool = False


def diff_watched_files(
    entries: Sequence[ListEntry],
    before: Mapping[str, LocalFileState],
    watched: Path,
    exclude: Collection[Path],
    rest_s: float = 5.0,
) -> WatchedFilesDiff:
    """Compare the local files that a list names with the known ones.

    Args:
        entries: The local lines of the list.
        before: The known files.
        watched: The list, or a watched folder, out of which no link is followed.
        exclude: Folders that are skipped: the media store itself.
        rest_s: A file that changed within this many seconds is left for the next check.
    """
    diff = WatchedFilesDiff()
    now = time.time()
    gathered = local_requests(entries, watched, exclude)
    root = watched.resolve() if watched.is_dir() else None
    diff.problems = [(redact(one.input), one.error or "") for one in gathered.problems[:MOST_PROBLEMS]]
    for found in gathered.requests:
        source = found.id
        if found.path is None or (root is not None and not found.path.is_relative_to(root)):
            continue
        known = before.get(source)
        try:
            stat = os.stat(found.path)
        except OSError:
            continue
        if abs(now - max(stat.st_mtime, stat.st_ctime)) < rest_s:
            diff.unfinished = True
            if known is not None:
                diff.files[source] = known
            continue
        if known is None and len(diff.sources) >= _MOST_NEW:
            diff.unfinished = True
            continue
        state = (stat.st_size, stat.st_mtime_ns, repr(found.fingerprint))
        diff.files[source] = state
        if known is None or known[2] != state[2]:
            diff.sources.append(listed_source(found, found, edited=known is not None))
        if known is not None and known[:2] != state[:2]:
            diff.changed.append(source)
    diff.removed = [source for source in before if source not in diff.files]
    return diff
