"""The Dagster instance of a home: data/dagster with its dagster.yaml, one history for page and commands.

Damaged files of the history are named in errors; `vidpipe doctor --repair` moves them aside for Dagster to recreate.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from sqlalchemy.exc import DBAPIError

from vidpipe.errors import DamagedError, SettingsError
from vidpipe.library.repair import DamagedFilesFolder
from vidpipe.operations.services.state import dagster_home
from vidpipe.pipeline.cluster_config import check_server, configure_cluster
from vidpipe.pipeline.dagster_internals import CheckError
from vidpipe.pipeline.run_launcher import end_dead_runs
from vidpipe.safe_files import private_directory, replace_file
from vidpipe.settings import Settings, default_file

_STAMP = "# Written by vidpipe, which renews this file until somebody edits it. sha256 of the rest: "
#: Hashes of the dagster.yaml that former versions put into a home for `dagster dev` without DAGSTER_HOME.
_FORMER = ("64860e46514c8fb2", "25ca045fa1176d34", "27cba8753ea8f746", "29678c260819399909")
#: Classes of former versions -> what to do about a dagster.yaml that names them.
_REMOVED = {
    "HomeStorage": "delete the block `storage:`",
    "WatchedRunLauncher": "write `module: vidpipe.pipeline.run_launcher` and `class: ProcessRunLauncher` under "
    "`run_launcher:`",
}
#: File below DAGSTER_HOME -> tables that it has once Dagster has created them.
_TABLES = {
    "history/runs.db": frozenset({"runs"}),
    "history/runs/index.db": frozenset({"event_logs", "asset_keys", "dynamic_partitions"}),
    "schedules/schedules.db": frozenset({"jobs", "job_ticks"}),
}
_RUN_TABLES = frozenset({"event_logs"})
_SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")


def prepare(settings: Settings) -> Path:
    """Write dagster.yaml into `dagster_home`, again after a change of settings or an update of vidpipe.

    A file that the user has edited is kept.

    Returns:
        That folder.
    """
    home = dagster_home(settings)
    private_directory(home)
    shipped = default_file("dagster.yaml").read_bytes()
    config = yaml.safe_load(shipped)
    del config["storage"]  # names data/dagster for a Dagster without DAGSTER_HOME
    config["concurrency"]["runs"]["max_concurrent_runs"] = settings.services.max_runs
    configure_cluster(config, settings)
    text = _stamped(yaml.safe_dump(config, sort_keys=False))
    file = home / "dagster.yaml"
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    if known != text and (not known or _is_unedited(known)):
        replace_file(file, text.encode())
    plain = settings.home / "dagster.yaml"
    if plain.is_file() and hashlib.sha256(plain.read_bytes()).hexdigest().startswith(_FORMER):
        replace_file(plain, shipped)
    return home


def _stamped(text: str) -> str:
    """Return `text` below a line by which an edited file is recognised."""
    return f"{_STAMP}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _is_unedited(known: str) -> bool:
    first, _, text = known.partition("\n")
    return first.startswith(_STAMP) and known == _stamped(text)


@contextlib.contextmanager
def history_kept_open(settings: Settings, run_id: str) -> Iterator[None]:
    """Keep the files of the history open while a run writes many events; does nothing for other databases than SQLite.

    Dagster opens and closes the files for each event, and whoever closes a file last has SQLite move its write-ahead
    log into it, which waits for the disk several times. Events of no run have a file without a name.
    """
    with contextlib.ExitStack() as opened:
        for file in (dagster_home(settings) / "history" / "runs" / f"{name}.db" for name in ("index", run_id, "")):
            if file.is_file():
                connection = opened.enter_context(contextlib.closing(sqlite3.connect(file)))
                with contextlib.suppress(sqlite3.Error):  # Dagster reports damage
                    connection.execute("SELECT 1 FROM sqlite_master").fetchall()  # connecting alone opens nothing
        yield


def instance(settings: Settings) -> dg.DagsterInstance:
    """Open the instance of the home for use in this process, and end runs that a killed process left behind.

    Close it with `dispose()`, or use it in a `with`.

    Raises:
        SettingsError: dagster.yaml cannot be used.
        DamagedError: Files of the history are damaged.
        UnavailableError: PostgreSQL cannot be reached.
    """
    home = prepare(settings)
    os.environ.update(settings.cluster.environment)
    check_server(settings, "Postgres")  # Dagster would only say that it had tried often
    file = home / "dagster.yaml"
    configured = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if removed := [advice for name, advice in _REMOVED.items() if _names(configured, name)]:
        raise SettingsError(
            f"{file} cannot be used: it names classes that vidpipe no longer has.",
            f"In that file, {' and '.join(removed)}; or delete it to have it written again.",
        )
    if "storage" not in configured:  # then Dagster uses SQLite, in this folder
        check_history(home)
    try:
        with history_explained(home):
            opened = dg.DagsterInstance.from_config(str(home))
    except (dg.DagsterError, CheckError, ImportError) as error:
        raise SettingsError(
            f"{file} cannot be used: {str(error).splitlines()[0]}", "Correct it, or delete it to have it written again."
        ) from error
    try:
        with history_explained(home):
            end_dead_runs(opened)
    except BaseException:
        opened.dispose()
        raise
    return opened


def _names(config: Any, name: str) -> bool:
    """Return whether a block of `config` names the class `name`."""
    return isinstance(config, dict) and (config.get("class") == name or any(_names(v, name) for v in config.values()))


@contextlib.contextmanager
def history_explained(home: Path) -> Iterator[None]:
    """Turn SQLite's errors inside the block into a DamagedError if a file of the history is damaged.

    Args:
        home: DAGSTER_HOME.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error):
        check_history(home, thorough=True)
        raise


def check_history(home: Path, *, thorough: bool = False) -> None:
    """Raise DamagedError for the first damaged file (see `damaged_files`).

    Args:
        home: DAGSTER_HOME.
        thorough: Whether to read all files to their end.
    """
    for path, fault in damaged_files(home, thorough=thorough):
        raise DamagedError(f"Dagster's history is damaged: {path} {fault}.")


def damaged_files(home: Path, *, thorough: bool = True) -> Iterator[tuple[Path, str]]:
    """Yield each damaged file and what is wrong with it.

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
    """Move a file of the history, with the files that SQLite keeps beside it, aside and return its new path."""
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
