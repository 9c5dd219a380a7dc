"""Checks the watched lists and records their changes in the library, as much as fits into one tick.

A list is read only when it is complete, and so are the local files that it names.
Nothing depends on a tick: what was recorded in MongoDB is cached afterwards, so a tick that dies is repeated. A list
that is too long for one tick is continued by the next.
"""

import logging
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ValidationError

from vidpipe.errors import VidpipeError
from vidpipe.safe_files import check_regular, open_regular, read_limited
from vidpipe.settings import Settings
from vidpipe.sources.folder_changes import FolderChanges
from vidpipe.sources.list_diff import LOCAL, LineCache, ListCacheFiles, ListDiff, parse_list
from vidpipe.sources.lists import ListProblem
from vidpipe.sources.records import ListedSource, ListedSourceStore
from vidpipe.sources.watched_files import MOST_PROBLEMS, WatchedFiles, diff_watched_files

log = logging.getLogger(__name__)

_BATCH = 1000
#: Now and then, and in each new process, the cache is compared with MongoDB and a list is read again: the library may
#: be another one, restored or emptied, and a variable may have another value.
_VERIFY_EVERY_S = 3600.0

#: inode, size in bytes, time of the last change in ns
Signature = tuple[int, int, int]


@dataclass(frozen=True)
class WatchTiming:
    """How long files must be unchanged, and how long and how often they are checked; times in seconds.

    Attributes:
        list_rest_s: A list is complete if it is unchanged for this long.
        open_line_rest_s: Likewise if the last line has no newline: it may still be written.
        video_rest_s: A video is complete if it is unchanged for this long.
        pauses: The next check of local files waits this many times as long as the last one took, to spare slow disks.
        budget_s: Time for the new lines of all lists in one check; Dagster ends a tick after 60 s.
    """

    list_rest_s: float = 1.0
    open_line_rest_s: float = 4.0
    video_rest_s: float = 5.0
    pauses: float = 20.0
    budget_s: float = 12.0


DEFAULT_TIMING = WatchTiming()


class FileState(BaseModel, frozen=True):
    """What a file looks like.

    Attributes:
        signature: Changes with the file.
        since: When it changed last, in seconds since the epoch.
    """

    signature: Signature
    since: float


def file_state(path: Path, before: FileState | None) -> FileState:
    """Return the state of `path`.

    The time of its last change is that of the disk or, if that clock is ahead, the time when the change was noticed.
    The last change of the inode counts as well: programs that copy files set back the other time.

    Raises:
        OSError: It cannot be read, or is neither a folder nor a regular file.
    """
    if path.is_dir():
        return FileState(signature=(path.stat().st_ino, 0, 0), since=0.0)
    stat = check_regular(path)
    signature = _signature(stat)
    now = time.time()
    changed_at = max(stat.st_mtime, stat.st_ctime)
    if changed_at > now:
        changed_at = before.since if before is not None and before.signature == signature else now
    return FileState(signature=signature, since=changed_at)


def read_complete(path: Path, state: FileState, timing: WatchTiming) -> bytes | None:
    """Return the contents that `state` belongs to; None if the file is being written or was just replaced.

    Raises:
        OSError: It cannot be read, or is too large.
    """
    rested_s = time.time() - state.since
    if rested_s < timing.list_rest_s:
        return None
    with open_regular(path) as file:
        if _signature(os.fstat(file.fileno())) != state.signature:
            return None
        data = read_limited(file, path)
        if len(data) != state.signature[1] or _signature(os.fstat(file.fileno())) != state.signature:
            return None
    if _signature(path.stat()) != state.signature:
        return None
    in_line = bool(data) and not data.endswith((b"\n", b"\r", b"\n\0", b"\0\n"))
    return None if in_line and rested_s < timing.open_line_rest_s else data


def _signature(stat: os.stat_result) -> Signature:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class ListState(BaseModel):
    """What is kept of a list between two ticks. It may be lost.

    Attributes:
        seen: State of the file at the last tick.
        read: Its signature when it was last read to its end.
        local: It names files of this machine, or did when these were last checked.
        checked_at: When its cache was compared with MongoDB, in seconds since the epoch.
        problem: Why the file cannot be read.
    """

    seen: FileState | None = None
    read: Signature | None = None
    local: bool = False
    checked_at: float = 0.0
    problem: str = ""


class _Cursor(BaseModel):
    """The cursor of the sensor: the process of the last tick, and the state of each list."""

    process: str = ""
    lists: dict[str, ListState] = {}


@dataclass
class ListWatch:
    """One check of all lists of [Paths] SourceLists.

    Attributes:
        settings: Those in force.
        sources: Records which list names which source.
        process: Identifies this process; in each new one, the caches are verified.
        timing: How long files must be unchanged.
        folders: Notice changes in the watched folders; kept from check to check.
        messages: About what was found; empty if nothing is new.
    """

    settings: Settings
    sources: ListedSourceStore
    process: str
    timing: WatchTiming = DEFAULT_TIMING
    folders: dict[str, FolderChanges] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        mongodb = self.settings.mongodb
        folder = self.settings.data_directory / "run" / "lists"
        self._caches = ListCacheFiles(folder, f"{mongodb.database_name}.{mongodb.collection_name}")
        self._deadline = time.monotonic() + self.timing.budget_s

    def check(self, cursor: str | None) -> str:
        """Check the lists.

        Args:
            cursor: What the last check returned.

        Returns:
            The cursor of the next check.

        Raises:
            VidpipeError: MongoDB is not available.
            OSError: The disk of data/run cannot be written.
        """
        last = _read_cursor(cursor)
        names = self.settings.paths.source_lists
        for name in last.lists.keys() - set(names):
            self.sources.forget(name)
            self._caches.forget(name)
        for name in self.folders.keys() - set(names):
            self.folders.pop(name).stopped.set()
        states = {name: last.lists.get(name, ListState()) for name in names}
        for name, state in states.items():
            if last.process != self.process:
                state.checked_at = 0.0
            self._check(name, state)
        return _Cursor(process=self.process, lists=states).model_dump_json()

    def _check(self, name: str, state: ListState) -> None:
        path = self.settings.resolve(name)
        problem = ""
        try:
            before, state.seen = state.seen, None
            state.seen = file_state(path, before)
            is_new = state.seen.signature != state.read or time.time() - state.checked_at > _VERIFY_EVERY_S
            if is_new:
                if name in self.folders:
                    self.folders.pop(name).stopped.set()
                data = self._watch(name, path) if path.is_dir() else read_complete(path, state.seen, self.timing)
                if data is None:
                    self.messages.append(f"{name} is being written; waiting until it is complete.")
                elif not self._read(name, path, data, state.seen.signature, state):
                    self.messages.append(f"{name} is long; the next check continues it.")
            changes = self.folders.get(name)
            count = changes.count if changes else 0
            if state.local and (changes is None or changes.is_due) and self._check_local(name, path) and changes:
                changes.listed = count
        except FileNotFoundError:
            problem = f"{name}: no such file; its sources are kept."
        except OSError as error:
            problem = f"{name} cannot be read: {error.strerror or error}; its sources are kept."
        except VidpipeError as error:
            problem = f"{error} Its sources are kept."
        if problem:
            self.messages.append(problem)
        if problem != state.problem:
            self.sources.report(name, file_problems=[[name, problem]] if problem else [])
            state.problem = problem

    def _watch(self, name: str, folder: Path) -> bytes:
        """Watch a folder, which has no contents as a list."""
        own = (self.settings.media_directory, self.settings.derived_directory)
        if any(folder.resolve().is_relative_to(one.resolve()) for one in own):
            raise VidpipeError(f"{name} is where vidpipe stores its own files, so it is not watched.")
        self.folders[name] = FolderChanges(folder)
        return b""

    def _read(self, name: str, path: Path, data: bytes, signature: Signature, state: ListState) -> bool:
        """Record the contents; return False if time ran out before their end."""
        lines = parse_list(path, data, self.settings.lists)
        cache = self._caches.load(name)
        local = WatchedFiles.model_validate(self._caches.load_local(name))
        stored: set[str] | None = None
        if not cache.complete or time.time() - state.checked_at > _VERIFY_EVERY_S:
            stored = set(self.sources.ids(name))
            known = {key: source for key, source in cache.lines.items() if source == LOCAL or source.hex() in stored}
            cache = LineCache(known, complete=False)
            local.files = {source: file for source, file in local.files.items() if source in stored}
        diff = ListDiff(lines, cache)
        complete, new = self._save(name, diff.news())
        if not complete:
            self._caches.save(name, diff.partial_cache())
            return False
        self.sources.save_many(name, diff.edited())
        after = diff.cache()
        removed = set(diff.removed())
        if stored is not None:
            removed |= stored - {source.hex() for source in after.ids()} - local.files.keys()
        self.sources.drop(name, removed)
        self._caches.save(name, after)
        local.entries, local.wait_to = diff.local, 0.0
        state.local = bool(local.entries or local.files or local.problems)
        if state.local:
            self._caches.save_local(name, local.model_dump())
        problems = _line_problems(name, diff.problems)
        self.sources.report(name, read_at=datetime.now(UTC), lines=len(lines.keys), line_problems=problems)
        state.read, state.checked_at = signature, time.time()
        self.messages += lines.notes
        self._count(name, {"new": new, "removed": len(removed), "invalid lines": len(diff.problems)})
        return True

    def _save(self, name: str, listed: Iterable[ListedSource]) -> tuple[bool, int]:
        """Return whether all were written in time, and how many are new."""
        new = 0
        listed = iter(listed)
        while batch := list(islice(listed, _BATCH)):
            new += self.sources.save_many(name, batch)
            if time.monotonic() > self._deadline:
                return False, new
        return True, new

    def _check_local(self, name: str, path: Path) -> bool:
        """Record the local files; return whether nothing is left for the next check."""
        before = WatchedFiles.model_validate(self._caches.load_local(name))
        if time.time() < before.wait_to:
            return False
        start = time.monotonic()
        own = (self.settings.media_directory, self.settings.derived_directory)
        diff = diff_watched_files(before.entries, before.files, path, own, self.timing.video_rest_s)
        pause_s = self.timing.pauses * (time.monotonic() - start)
        new = self.sources.save_many(name, diff.sources)
        self.sources.again(diff.changed)
        self.sources.drop(name, diff.removed)
        if diff.problems != before.problems:
            self.sources.report(name, local_problems=[list(problem) for problem in diff.problems])
        after = {"files": diff.files, "problems": diff.problems, "wait_to": time.time() + pause_s}
        self._caches.save_local(name, before.model_dump() | after)
        self._count(name, {"new": new, "changed": len(diff.changed), "removed": len(diff.removed)})
        return not diff.unfinished

    def _count(self, name: str, counts: dict[str, int]) -> None:
        if any(counts.values()):
            listed = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
            self.messages.append(f"{name}: {listed}.")


def _read_cursor(cursor: str | None) -> _Cursor:
    try:
        return _Cursor.model_validate_json(cursor or "{}")
    except ValidationError:
        log.warning("the cursor of the sensor url_list is invalid; all lists are read again")
        return _Cursor()


def _line_problems(name: str, problems: list[ListProblem]) -> list[list[str]]:
    listed = []
    for problem in problems[:MOST_PROBLEMS]:
        where = f"{name}, line {problem.line}" if problem.line else name
        listed.append([where, f"{where}: {VidpipeError(problem.sentence).message.rstrip('.')}."])
    if len(problems) > MOST_PROBLEMS:
        listed.append([name, f"{name}: {len(problems) - MOST_PROBLEMS} more invalid lines."])
    return listed
