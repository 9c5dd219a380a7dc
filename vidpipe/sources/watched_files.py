"""Files that others write: a list is read only when it is complete, and so are the local files that it names."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from vidpipe.redaction import redact
from vidpipe.safe_files import check_regular, open_regular
from vidpipe.sources.inputs import local_requests
from vidpipe.sources.list_diff import listed_source
from vidpipe.sources.lists import ListEntry
from vidpipe.sources.records import IngestNote, IngestOutcome, ListedSource

_MOST_PROBLEMS = 100
#: What a folder contains beyond is reported by the next checks.
_MOST_NEW = 20_000

#: inode, size in bytes, time of the last change in ns
Signature = tuple[int, int, int]
#: size in bytes, time of the last change in ns, options in the list
LocalFileState = tuple[int, int, str]


@dataclass(frozen=True)
class WatchTiming:
    """How long files must be unchanged, and how long a check may take, in seconds.

    Attributes:
        list_rest_s: A list is complete if it is unchanged for this long.
        open_line_rest_s: Likewise if the last line has no end: somebody may be writing it.
        video_rest_s: A video is complete if it is unchanged for this long.
        budget_s: Time for the new lines of all lists in one check; Dagster ends a tick after 60 s.
    """

    list_rest_s: float = 1.0
    open_line_rest_s: float = 4.0
    video_rest_s: float = 5.0
    budget_s: float = 12.0


DEFAULT_TIMING = WatchTiming()


class FileState(BaseModel):
    """What a file looks like.

    Attributes:
        signature: Changes with the file.
        since: When it changed last, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    signature: Signature
    since: float


def file_state(path: Path, before: FileState | None) -> FileState:
    """Return the state of `path`.

    The time of its last change is that of the disk or, if that clock is ahead, the time when the change was noticed.
    The last change of the inode counts as well: programs that copy files set back the other time.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    stat = check_regular(path)
    signature = _signature(stat)
    now = time.time()
    changed_at = max(stat.st_mtime, stat.st_ctime)
    if changed_at > now:
        changed_at = before.since if before is not None and before.signature == signature else now
    return FileState(signature=signature, since=changed_at)


def read_complete(path: Path, state: FileState, timing: WatchTiming) -> bytes | None:
    """Return the contents that `state` belongs to; None if somebody is writing or has just replaced the file.

    Raises:
        OSError: It cannot be read.
    """
    rested_s = time.time() - state.since
    if rested_s < timing.list_rest_s:
        return None
    with open_regular(path) as file:
        if _signature(os.fstat(file.fileno())) != state.signature:
            return None
        data = file.read()
        if len(data) != state.signature[1] or _signature(os.fstat(file.fileno())) != state.signature:
            return None
    if _signature(path.stat()) != state.signature:
        return None
    in_line = bool(data) and not data.endswith((b"\n", b"\r", b"\n\0", b"\0\n"))
    return None if in_line and rested_s < timing.open_line_rest_s else data


def _signature(stat: os.stat_result) -> Signature:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


@dataclass
class WatchedFiles:
    """The files and folders of this machine that a list names. They change while the list does not.

    Attributes:
        entries: The list's lines that name them.
        files: Id of a source -> state of its file when it was recorded.
        problems: (where, message).
        wait_to: No check before this time, in seconds since the epoch.
    """

    entries: list[ListEntry] = field(default_factory=list)
    files: dict[str, LocalFileState] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    wait_to: float = 0.0

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> WatchedFiles:
        """Restore what `as_json` returned."""
        return cls(
            [ListEntry(**{**entry, "labels": tuple(entry["labels"])}) for entry in state.get("entries", ())],
            {source: (size, modified, options) for source, (size, modified, options) in state.get("files", {}).items()},
            [(where, message) for where, message in state.get("problems", ())],
            state.get("wait_to", 0.0),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass
class WatchedFilesDiff:
    """What changed in the watched files.

    Attributes:
        sources: Files that are new, or whose options in the list have changed.
        changed: Ids of files with other contents than when they were recorded.
        removed: Ids of files that no longer exist or are no longer named.
        problems: (where, message).
        files: As in `WatchedFiles`, now.
    """

    sources: list[ListedSource] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, LocalFileState] = field(default_factory=dict)


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
        watched: The list.
        exclude: Folders that are skipped: the media store itself.
        rest_s: A file that changed within this many seconds is left for the next check.
    """
    diff = WatchedFilesDiff()
    now = time.time()
    for found in local_requests(entries, watched, exclude):
        if isinstance(found, IngestNote):
            continue  # what a folder skips is reported when it is added by hand
        if isinstance(found, IngestOutcome):
            if len(diff.problems) < _MOST_PROBLEMS:
                diff.problems.append((redact(found.input), found.error or ""))
            continue
        source = found.id
        if source in diff.files or found.path is None:
            continue
        known = before.get(source)
        try:
            stat = os.stat(found.path)
        except OSError:
            continue
        if abs(now - max(stat.st_mtime, stat.st_ctime)) < rest_s:
            if known is not None:
                diff.files[source] = known
            continue
        if known is None and len(diff.sources) >= _MOST_NEW:
            continue
        entry = ListEntry(0, found.url.display_url, found.title, found.labels, found.priority)
        state = (stat.st_size, stat.st_mtime_ns, repr((entry.title, entry.labels, entry.priority)))
        diff.files[source] = state
        if known is None or known[2] != state[2]:
            diff.sources.append(listed_source(found, entry, edited=known is not None))
        if known is not None and known[:2] != state[:2]:
            diff.changed.append(source)
    diff.removed = [source for source in before if source not in diff.files]
    return diff
