"""Damaged files of Dagster's history: found, named in errors, and moved aside so that Dagster makes new ones."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from vidpipe.errors import DamagedError
from vidpipe.library.salvage import Aside

_EVENTS = ("SELECT run_id, event, dagster_event_type, asset_key, partition FROM event_logs LIMIT 0",)
#: file below data/dagster -> queries that its tables answer once Dagster has made them
_PROBES = {
    "history/runs.db": ("SELECT run_id, status, run_body FROM runs LIMIT 0",),
    "history/runs/index.db": (
        *_EVENTS, "SELECT asset_key FROM asset_keys LIMIT 0", "SELECT partition FROM dynamic_partitions LIMIT 0",
    ),
    "schedules/schedules.db": ("SELECT job_origin_id, job_body FROM jobs LIMIT 0", "SELECT id FROM job_ticks LIMIT 0"),
}  # fmt: skip
_WITH_IT = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def history_explained(home: Path) -> Iterator[None]:
    """Turns SQLite's errors inside the block into a DamagedError, where a file of the history explains them.

    home: DAGSTER_HOME
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        for path, fault in damaged_files(home):
            raise damaged_error(path, fault) from error
        raise


def check_history(home: Path) -> None:
    """Raises DamagedError for a file that cannot be opened; costs a few milliseconds, whatever the size."""
    for name, probes in _PROBES.items():
        fault = _fault(home / name, probes, thorough=False)
        if fault:
            raise damaged_error(home / name, fault)


def damaged_files(home: Path) -> Iterator[tuple[Path, str]]:
    """(path, what is wrong with it) of each damaged file, those of single runs too; reads all of them."""
    for name, probes in _PROBES.items():
        if fault := _fault(home / name, probes, thorough=True):
            yield home / name, fault
    for path in sorted((home / "history" / "runs").glob("*-*-*.db")):
        if fault := _fault(path, _EVENTS, thorough=True):
            yield path, fault


def damaged_error(path: Path, fault: str) -> DamagedError:
    return DamagedError(f"Dagster's history is damaged: {path} {fault}.")


def set_aside(path: Path, aside: Aside) -> Path:
    """Moves a file of the history, and what SQLite keeps beside it, out of Dagster's way. Gives its new place."""
    for suffix in _WITH_IT:
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            aside.move(beside)
    return aside.move(path)


def _fault(path: Path, probes: Iterable[str], *, thorough: bool) -> str:
    """What is wrong with the file; empty where nothing is. One that is absent or empty is made anew by Dagster."""
    if path.is_dir() or (path.is_symlink() and not path.exists()):
        return "is a folder" if path.is_dir() else "is a link that leads nowhere"
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
        return f"is not a whole database ({error})"


def _fault_of_database(path: Path, probes: Iterable[str], *, thorough: bool) -> str:
    """Errors: those of SQLite."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=10)) as opened:
        tables = {name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for probe in probes if "alembic_version" in tables else ():
            opened.execute(probe)
        said = opened.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
        return "" if said == "ok" else f"is not a whole database ({' '.join(said.split())[:100]})"
