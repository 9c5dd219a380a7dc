"""The folder of a back-up while it is written: under another name, by one at a time; and what a broken-off one left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError
from vidpipe.library.backups.carrying import DERIVED, MEDIA, left_copies
from vidpipe.library.backups.manifest import PART_SUFFIX, BackupError, folder_name, time_of, whole_backups
from vidpipe.safe_files import private_directory

_LOCK = ".vidpipe-backup.lock"


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One back-up at a time writes into a folder."""
    private_directory(directory)
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise BackupError(f"Another vidpipe is backing up into {directory}.", "Wait until it has ended.") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        raise UnavailableError(
            f"The back-up cannot be written: {where}: {error.strerror or error}.",
            "Make room there, or name another folder.",
        ) from error


def part_folder(directory: Path, *, media: bool, derived: bool) -> Path:
    """An unfinished folder to write into: the last one that was broken off, with what was copied into it, or none."""
    left = sorted(directory.glob(f"*{PART_SUFFIX}"))
    part = directory / f"{folder_name(datetime.now(UTC))}{PART_SUFFIX}"
    for old in left[:-1]:
        shutil.rmtree(old)
    if left and left[-1] != part:
        left[-1].rename(part)
    private_directory(part)
    part.chmod(0o700)  # also one that an older version began
    clear(part, keep_files=True, media=media, derived=derived)
    return part


def clear(part: Path, *, keep_files: bool, media: bool = True, derived: bool = True) -> None:
    """Removes what is not worth keeping of an unfinished back-up; all of it, but for copied files that are."""
    kept = {name for name, wanted in ((MEDIA, media), (DERIVED, derived)) if wanted and keep_files}
    for path in part.iterdir() if part.is_dir() else ():
        if path.name in kept:
            for copy in left_copies(path):
                copy.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if not keep_files:
        shutil.rmtree(part, ignore_errors=True)


def place_for(directory: Path, made_at: datetime) -> Path:
    """The folder for a back-up, named by the time; always after the latest that is there."""
    before = whole_backups(directory)
    while before and folder_name(made_at) <= before[-1].name:
        made_at = time_of(before[-1]) + timedelta(seconds=1)
    return directory / folder_name(made_at)


def remove(backup: Path) -> None:
    """Under another name first, so that a removal that is cut off leaves nothing that looks whole."""
    going = backup.with_name(f"{backup.name}{PART_SUFFIX}")
    backup.rename(going)
    shutil.rmtree(going)
