"""Finds damaged files of Dagster's history, names them in errors, and moves them aside for Dagster to recreate."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from vidpipe.errors import DamagedError
from vidpipe.library.repair import DamagedFilesFolder

#: File below DAGSTER_HOME -> tables that it has once Dagster has created them.
_TABLES = {
    "history/runs.db": frozenset({"runs"}),
    "history/runs/index.db": frozenset({"event_logs", "asset_keys", "dynamic_partitions"}),
    "schedules/schedules.db": frozenset({"jobs", "job_ticks"}),
}
_RUN_TABLES = frozenset({"event_logs"})
_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def history_explained(home: Path) -> Iterator[None]:
    """Turns SQLite's errors inside the block into a DamagedError if a file of the history is damaged.

    Args:
        home: DAGSTER_HOME.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error):
        check_history(home, thorough=True)
        raise


def check_history(home: Path, *, thorough: bool = False) -> None:
    """Raises DamagedError for the first damaged file (see `damaged_files`).

    Args:
        home: DAGSTER_HOME.
        thorough: Whether to read all files to their end.
    """
    for path, fault in damaged_files(home, thorough=thorough):
        raise DamagedError(f"Dagster's history is damaged: {path} {fault}.")


def damaged_files(home: Path, *, thorough: bool = True) -> Iterator[tuple[Path, str]]:
    """Yields each damaged file and what is wrong with it.

    Args:
        home: DAGSTER_HOME.
        thorough: Whether to read all files to their end, those of single runs included. Otherwise only the main ones
            are opened, which takes milliseconds.
    """
    checked = [(home / name, tables) for name, tables in _TABLES.items()]
    if thorough:
        checked += [(path, _RUN_TABLES) for path in sorted((home / "history" / "runs").glob("*-*-*.db"))]
    for path, tables in checked:
        if fault := _fault(path, tables, thorough=thorough):
            yield path, fault


def set_aside(path: Path, aside: DamagedFilesFolder) -> Path:
    """Moves a file of the history, with the files that SQLite keeps beside it, aside and returns its new path."""
    for suffix in _SQLITE_SUFFIXES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            aside.move(beside)
    return aside.move(path)


def _fault(path: Path, tables: frozenset[str], *, thorough: bool) -> str:
    """What is wrong with the file; empty if nothing is. Dagster creates a file that is missing or empty."""
    if path.is_dir() or (path.is_symlink() and not path.exists()):
        return "is a folder" if path.is_dir() else "is a broken link"
    try:
        with path.open("r+b") as file:
            return _fault_of_database(path, tables, thorough=thorough) if file.read(1) else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read and written ({error.strerror})"
    except sqlite3.OperationalError as error:  # otherwise a lock, a full disk
        return f"cannot be used ({error})" if error.sqlite_errorcode == sqlite3.SQLITE_ERROR else ""
    except sqlite3.DatabaseError as error:
        return f"is not an intact database ({error})"


def _fault_of_database(path: Path, tables: frozenset[str], *, thorough: bool) -> str:
    """As `_fault`, but raises SQLite's errors."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=10)) as opened:
        found = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "alembic_version" in found and (missing := tables - found):
            return f"cannot be used (no such table: {min(missing)})"
        said = opened.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
        return "" if said == "ok" else f"is not an intact database ({' '.join(said.split())[:100]})"
