"""Log files: rotated ones, and those of servers and runs that have ended. What is being written to stays.

data/logs/vidpipe.log, audit.jsonl, mongod.log    the current ones: they rotate, and never go themselves
data/logs/vidpipe.log.3, mongod.log.2026-…        rotated
data/logs/daemon.log, runs/<run id>.log           of a server or a run; a server's begins anew when it is large
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vidpipe.library import embedded
from vidpipe.library.connection import Connection
from vidpipe.retention.open_files import open_below
from vidpipe.retention.report import Pruned, cutoff
from vidpipe.settings import Settings
from vidpipe.settings.logs import AUDIT_NAME

#: mongod starts a new log file beyond this; it does not rotate by itself.
MONGOD_LOG_BYTES = 50_000_000
_ROTATED = re.compile(r"\.(\d{1,4}|\d{4}-\d{2}-\d{2}T[\d.:-]+)(\.gz)?$")
#: Younger ones may belong to a process of another machine or container, whose open files are not seen from here.
_YOUNG_S = 3600.0


@dataclass(frozen=True)
class _LogFile:
    path: Path
    size_bytes: int
    modified: float

    @property
    def rotated(self) -> bool:
        return _ROTATED.search(self.path.name) is not None

    @property
    def of_run(self) -> bool:
        return self.path.parent.name == "runs"


def delete_log_files(settings: Settings, report: Pruned, dry_run: bool) -> None:
    """Those older than [Retention] LogsDays; then, while all together are larger than LogsSizeMB, rotated ones and
    those of ended runs, the oldest first."""
    files = _log_files(settings)
    open_files = open_below(settings.data_directory) if files else set()
    open_files |= {path for folder in {file.path.parent for file in files} for path in open_below(folder)}
    free = [file for file in files if file.path.resolve() not in open_files and not _is_current(settings, file.path)]
    limit = cutoff(settings.retention.logs_days)
    doomed = [file for file in free if file.modified < limit]
    left = sum(file.size_bytes for file in files) - sum(file.size_bytes for file in doomed)
    most = settings.retention.logs_size_mb * 1_000_000
    for file in sorted(free, key=lambda file: file.modified):
        if left <= most:
            break
        if file.modified >= limit and (file.rotated or (file.of_run and file.modified < time.time() - _YOUNG_S)):
            doomed.append(file)
            left -= file.size_bytes
    if left > most:
        report.notes.append(
            f"{left / 1e6:.0f} MB of log files are in use or too young; [Retention] LogsSizeMB is less."
        )
    for file in doomed:
        if not dry_run:
            file.path.unlink(missing_ok=True)
        report.add(file.size_bytes, file.modified)


def _log_files(settings: Settings) -> list[_LogFile]:
    """All below data/logs, and the rotated ones beside a [Logging] LogFile that lies elsewhere."""
    paths = {path for path in (settings.data_directory / "logs").rglob("*") if path.is_file() and not path.is_symlink()}
    log_file = settings.resolve(settings.logging.log_file)
    for current in (log_file, log_file.with_name(AUDIT_NAME)):
        if current.parent.is_dir():
            paths |= {path for path in current.parent.iterdir() if path.name.startswith(f"{current.name}.")}
    found = []
    for path in sorted(paths):
        try:
            stat = path.stat()
        except FileNotFoundError:  # rotated away meanwhile
            continue
        # locks of the writers (.__vidpipe.lock) are no logs: without them two would write at once
        if path.suffix != ".lock" and not path.name.startswith("."):
            found.append(_LogFile(path, stat.st_size, stat.st_mtime))
    return found


def _is_current(settings: Settings, path: Path) -> bool:
    log_file = settings.resolve(settings.logging.log_file)
    current = {log_file, log_file.with_name(AUDIT_NAME), embedded.files_of(settings).log}
    return path.resolve() in {name.resolve() for name in current}


def rotate_server_logs(settings: Settings, report: Pruned, dry_run: bool) -> None:
    """Servers append to their log for as long as they live. One larger than [Logging] MaxSizeMB is copied away and
    emptied under its writer; a line written in between is lost."""
    limit = settings.logging.max_size_mb * 1_000_000
    for path in sorted((settings.data_directory / "logs").glob("*.log")):
        stat = path.stat()
        if stat.st_size > limit and not path.is_symlink() and not _is_current(settings, path):
            report.add(stat.st_size, stat.st_mtime)
            if not dry_run:
                shutil.copy2(path, path.with_name(f"{path.name}.{datetime.now():%Y-%m-%dT%H-%M-%S}"))
                os.truncate(path, 0)


def rotate_mongod_log(settings: Settings, connection: Connection, report: Pruned, dry_run: bool) -> None:
    """Makes the embedded server begin a new log file where its own has grown large; the old one is then a rotated one,
    which goes when it is old."""
    if not connection.is_embedded:
        return
    log = embedded.files_of(settings).log
    size = log.stat().st_size if log.is_file() else 0
    if size > MONGOD_LOG_BYTES:
        report.add(size, log.stat().st_mtime)
        report.notes.append("mongod begins a new log file; the old one is deleted with the other rotated ones.")
        if not dry_run:
            with connection.errors_explained():
                connection.client.admin.command({"logRotate": "server"})
