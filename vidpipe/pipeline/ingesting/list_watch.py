"""The watched lists, looked at once: what they say is brought into the library, as far as a tick's time allows.

Nothing hangs on a tick: what MongoDB was told is remembered afterwards, so that a tick that dies is repeated. A list
that is too long for one tick is continued in the next.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from vidpipe.errors import VidpipeError
from vidpipe.ingest.lists import ListProblem
from vidpipe.ingest.records import ListedSource
from vidpipe.ingest.watch.files import Sight, Signature, look, read_at_rest
from vidpipe.ingest.watch.local import Local, look_at_local, pause_after
from vidpipe.ingest.watch.memory import LOCAL, Memory, MemoryFiles
from vidpipe.ingest.watch.reading import Reading, read_lines
from vidpipe.library.listed_sources import ListedSources
from vidpipe.library.process_identity import this_process
from vidpipe.settings import Settings

log = logging.getLogger(__name__)

#: Dagster ends a tick after 60 s.
_BUDGET_S = 12.0
_PORTION = 1000
#: Now and then, and in each new process, what is remembered is held against MongoDB, and a list is read again: another
#: library, restored or emptied, or another value of a variable.
_CHECK_EVERY_S = 3600.0
_MOST_PROBLEMS = 100


@dataclass
class ListState:
    """What is kept of a list between two ticks. It may be lost.

    seen:       how the file looked at the last tick
    read:       how it looked when it was last read to its end
    local:      it names files of this machine, or did when these were last looked at
    checked_at: when its memory was held against MongoDB (seconds since the epoch)
    problem:    why the file cannot be read
    """

    seen: Sight | None = None
    read: Signature | None = None
    local: bool = False
    checked_at: float = 0.0
    problem: str = ""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> ListState:
        read = plain.get("read")
        return cls(
            Sight.from_plain(plain.get("seen")),
            (read[0], read[1], read[2]) if read else None,
            bool(plain.get("local")),
            float(plain.get("checked_at", 0.0)),
            str(plain.get("problem", "")),
        )

    def plain(self) -> dict[str, Any]:
        seen = self.seen.plain() if self.seen else None
        return {
            "seen": seen,
            "read": self.read,
            "local": self.local,
            "checked_at": self.checked_at,
            "problem": self.problem,
        }


@dataclass
class Watch:
    """One look at all lists of [Paths] SourceLists.

    said: sentences about what was found; none where nothing is new
    """

    settings: Settings
    sources: ListedSources
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        mongodb = self.settings.mongodb
        folder = self.settings.data_directory / "run" / "lists"
        self._memories = MemoryFiles(folder, f"{mongodb.database_name}.{mongodb.collection_name}")
        self._deadline = time.monotonic() + _BUDGET_S

    def look(self, cursor: str | None) -> str:
        """Looks, and gives the cursor of the next look. Errors: those of MongoDB and of the disk of data/run."""
        process, states = _read_cursor(cursor)
        names = self.settings.paths.source_lists
        for name in states.keys() - set(names):
            self.sources.forget(name)
            self._memories.forget(name)
        states = {name: states.get(name, ListState()) for name in names}
        for name, state in states.items():
            if process != this_process():
                state.checked_at = 0.0
            self._look_at(name, state)
        plain = {name: state.plain() for name, state in states.items()}
        return json.dumps({"process": this_process(), "lists": plain}, separators=(",", ":"))

    def _look_at(self, name: str, state: ListState) -> None:
        path = self.settings.resolve(name)
        problem = ""
        try:
            before, state.seen = state.seen, None
            state.seen = look(path, before)
            if state.seen.signature != state.read or time.time() - state.checked_at > _CHECK_EVERY_S:
                data = read_at_rest(path, state.seen)
                if data is None:
                    self.said.append(f"{name} is being written; it is read when it is at rest.")
                elif not self._read(name, path, data, state.seen.signature, state):
                    self.said.append(f"{name} is long; the next look continues it.")
            if state.local:
                self._look_at_local(name, path)
        except FileNotFoundError:
            problem = f"{name}: there is no such file; what it named stays as it is."
        except OSError as error:
            problem = f"{name} cannot be read: {error.strerror or error}; what it named stays as it is."
        except VidpipeError as error:
            problem = f"{error} What it named stays as it is."
        if problem:
            self.said.append(problem)
        if problem != state.problem:
            self.sources.report(name, file_problems=[[name, problem]] if problem else [])
            state.problem = problem

    def _read(self, name: str, path: Path, data: bytes, signature: Signature, state: ListState) -> bool:
        """Brings in what the contents say; False where time ran out before their end."""
        lines = read_lines(path, data, self.settings.lists)
        memory = self._memories.load(name)
        local = Local.from_plain(self._memories.load_local(name))
        stored: set[str] | None = None
        if not memory.complete or time.time() - state.checked_at > _CHECK_EVERY_S:
            stored = set(self.sources.ids(name))
            known = {key: source for key, source in memory.lines.items() if source == LOCAL or source.hex() in stored}
            memory = Memory(known, complete=False)
            local.files = {source: file for source, file in local.files.items() if source in stored}
        reading = Reading(lines, memory)
        whole, new = self._save(name, reading.news())
        if not whole:
            self._memories.save(name, reading.memory_so_far())
            return False
        self.sources.save_many(name, reading.edited())
        after = reading.memory()
        removed = set(reading.removed())
        if stored is not None:
            removed |= stored - {source.hex() for source in after.ids()} - local.files.keys()
        self.sources.drop(name, removed)
        self._memories.save(name, after)
        local.entries, local.wait_to = reading.local, 0.0
        state.local = bool(local.entries or local.files or local.problems)
        if state.local:
            self._memories.save_local(name, local.plain())
        self.sources.report(
            name,
            read_at=datetime.now(UTC),
            lines=len(lines.keys),
            line_problems=_shown(name, reading.problems),
        )
        state.read, state.checked_at = signature, time.time()
        self.said += lines.notes
        self._tell(name, new, len(removed), len(reading.problems))
        return True

    def _save(self, name: str, listed: Iterable[ListedSource]) -> tuple[bool, int]:
        """(whether all were written in time, how many are new)."""
        new = 0
        listed = iter(listed)
        while portion := list(islice(listed, _PORTION)):
            new += self.sources.save_many(name, portion)
            if time.monotonic() > self._deadline:
                return False, new
        return True, new

    def _look_at_local(self, name: str, path: Path) -> None:
        before = Local.from_plain(self._memories.load_local(name))
        if time.time() < before.wait_to:
            return
        began = time.monotonic()
        own = (self.settings.media_directory, self.settings.derived_directory)
        news = look_at_local(before.entries, before.files, path, own)
        pause_s = pause_after(time.monotonic() - began)
        new = self.sources.save_many(name, news.sources)
        self.sources.again(news.changed)
        self.sources.drop(name, news.removed)
        if news.problems != before.problems:
            self.sources.report(name, local_problems=[list(problem) for problem in news.problems])
        after = Local(before.entries, news.files, news.problems, time.time() + pause_s)
        self._memories.save_local(name, after.plain())
        self._tell(name, new, len(news.removed), 0, len(news.changed))

    def _tell(self, name: str, new: int, removed: int, unreadable: int, changed: int = 0) -> None:
        counts = {"new": new, "changed": changed, "no longer named": removed, "lines that cannot be read": unreadable}
        if any(counts.values()):
            self.said.append(f"{name}: {', '.join(f'{number} {what}' for what, number in counts.items() if number)}.")


def _read_cursor(cursor: str | None) -> tuple[str, dict[str, ListState]]:
    try:
        plain = json.loads(cursor or "{}")
        return str(plain.get("process", "")), {
            name: ListState.from_plain(state) for name, state in plain.get("lists", {}).items()
        }
    except (ValueError, TypeError, LookupError, AttributeError):
        log.warning("the cursor of the sensor url_list cannot be read; the lists are read anew")
        return "", {}


def _shown(name: str, problems: list[ListProblem]) -> list[list[str]]:
    shown = []
    for problem in problems[:_MOST_PROBLEMS]:
        where = f"{name}, line {problem.line}" if problem.line else name
        shown.append([where, f"{where}: {VidpipeError(problem.sentence).message.rstrip('.')}."])
    if len(problems) > _MOST_PROBLEMS:
        shown.append([name, f"{name}: {len(problems) - _MOST_PROBLEMS} more lines cannot be read."])
    return shown
