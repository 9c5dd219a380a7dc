"""Finds damaged files of Dagster's history, names them in errors, and moves them aside for Dagster to recreate."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from vidpipe.errors import DamagedError
from vidpipe.library.embedded.salvage import DamagedFilesFolder

_EVENTS = ("SELECT run_id, event, dagster_event_type, asset_key, partition FROM event_logs LIMIT 0",)
#: file below DAGSTER_HOME -> queries that its tables answer once Dagster has made them
_PROBES = {
    "history/runs.db": ("SELECT run_id, status, run_body FROM runs LIMIT 0",),
    "history/runs/index.db": (
        *_EVENTS, "SELECT asset_key FROM asset_keys LIMIT 0", "SELECT partition FROM dynamic_partitions LIMIT 0",
    ),
    "schedules/schedules.db": ("SELECT job_origin_id, job_body FROM jobs LIMIT 0", "SELECT id FROM job_ticks LIMIT 0"),
}  # fmt: skip
_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def history_explained(home: Path) -> Iterator[None]:
    """Turns SQLite's errors inside the block into a DamagedError if a file of the history is damaged.

    home: DAGSTER_HOME
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error):
        check_history(home, thorough=True)
        raise


def check_history(home: Path, *, thorough: bool = False) -> None:
    """Raises DamagedError for the first damaged file (see `damaged_files`)."""
    for path, fault in damaged_files(home, thorough=thorough):
        raise DamagedError(f"Dagster's history is damaged: {path} {fault}.")


def damaged_files(home: Path, *, thorough: bool = True) -> Iterator[tuple[Path, str]]:
    """(path, what is wrong with it) of each damaged file.

    thorough: read all files to their end, those of single runs included; otherwise only open the main ones, which
              takes milliseconds
    """
    checked = [(home / name, probes) for name, probes in _PROBES.items()]
    if thorough:
        checked += [(path, _EVENTS) for path in sorted((home / "history" / "runs").glob("*-*-*.db"))]
    for path, probes in checked:
        if fault := _fault(path, probes, thorough=thorough):
            yield path, fault


def set_aside(path: Path, aside: DamagedFilesFolder) -> Path:
    """Moves a file of the history, with the files that SQLite keeps beside it, aside. Returns its new path."""
    for suffix in _SQLITE_SUFFIXES:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            aside.move(beside)
    return aside.move(path)


def _fault(path: Path, probes: Iterable[str], *, thorough: bool) -> str:
    """What is wrong with the file; empty if nothing is. Dagster creates a file that is missing or empty."""
    if path.is_dir() or (path.is_symlink() and not path.exists()):
        return "is a folder" if path.is_dir() else "is a broken link"
    try:
        with path.open("r+b") as file:
            return _fault_of_database(path, probes, thorough=thorough) if file.read(1) else ""
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be read and written ({error.strerror})"
    except sqlite3.OperationalError as error:  # missing tables or columns; else a lock, a full disk
        return f"cannot be used ({error})" if error.sqlite_errorcode == sqlite3.SQLITE_ERROR else ""
    except sqlite3.DatabaseError as error:
        return f"is not an intact database ({error})"


def _fault_of_database(path: Path, probes: Iterable[str], *, thorough: bool) -> str:
    """As `_fault`. Errors: those of SQLite."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=10)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for probe in probes if "alembic_version" in tables else ():
            opened.execute(probe)
        said = opened.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
        return "" if said == "ok" else f"is not an intact database ({' '.join(said.split())[:100]})"
