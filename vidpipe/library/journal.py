"""What a process is working on, in a small local file: what is left in it when the process died was its last work."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from vidpipe.library.processes import is_dead

#: So many lines and the file is written anew, with what is open only: it does not grow with the number of videos.
_MOST_LINES = 10_000


class Journal:
    """Written before and after each piece of work, so that it survives a kill. Used from several threads.

    owner: `process|random`, the name that also stands in the leases
    """

    def __init__(self, directory: Path, owner: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{owner.rpartition('|')[2]}.journal"
        self._owner = owner
        self._lock = threading.Lock()
        self._open: set[tuple[str, str]] = set()
        self._closed = False
        self._begin_file()

    def begin(self, sha256: str, stage: str) -> None:
        with self._lock:
            self._open.add((sha256, stage))
            self._write(f"+ {sha256} {stage}\n")

    def end(self, sha256: str, stage: str) -> None:
        with self._lock:
            self._open.discard((sha256, stage))
            self._write(f"- {sha256} {stage}\n")

    def close(self) -> None:
        with self._lock:
            os.close(self._file)
            self._closed = True
            self._path.unlink(missing_ok=True)

    def _write(self, line: str) -> None:
        if self._closed:  # a thread that goes on after the run was broken off
            return
        if self._lines >= _MOST_LINES:
            os.close(self._file)
            self._begin_file()
        os.write(self._file, line.encode())
        self._lines += 1

    def _begin_file(self) -> None:
        new = self._path.with_suffix(".new")
        self._file = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC, 0o600)
        lines = [self._owner, *(f"+ {sha256} {stage}" for sha256, stage in self._open)]
        os.write(self._file, "".join(f"{line}\n" for line in lines).encode())
        new.replace(self._path)
        self._lines = len(lines)


def take_dead(directory: Path) -> dict[str, set[tuple[str, str]]]:
    """dead owner -> the (sha256, stage) that it had begun and not ended. Their journals are gone afterwards."""
    dead: dict[str, set[tuple[str, str]]] = {}
    for path in directory.glob("*.journal"):
        try:
            owner, *lines = path.read_text().splitlines() or [""]
            if not is_dead(owner.rpartition("|")[0]):
                continue
            path.unlink()
        except FileNotFoundError:  # taken by another process
            continue
        dead[owner] = _begun(lines)
    return dead


def left_open(directory: Path, owner: str) -> set[tuple[str, str]]:
    """What `owner` had begun and not ended, for one of another machine or container that shares the home."""
    try:
        return _begun((directory / f"{owner.rpartition('|')[2]}.journal").read_text().splitlines()[1:])
    except FileNotFoundError:
        return set()


def _begun(lines: Iterable[str]) -> set[tuple[str, str]]:
    begun: set[tuple[str, str]] = set()
    for line in lines:
        match line.split():
            case ["+", sha256, stage]:
                begun.add((sha256, stage))
            case ["-", sha256, stage]:
                begun.discard((sha256, stage))
    return begun
