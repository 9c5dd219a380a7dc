"""Repairs the embedded server's data in a copy, which replaces the damaged folder once it is complete.

data/mongo.repairing/   the copy that mongod repairs; an interrupted repair starts over
data/mongo.repaired/    a repaired copy that has not yet replaced the damaged folder
data/damaged/TIME/      the damaged files; nothing in it is ever deleted
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vidpipe.errors import UnavailableError
from vidpipe.library.embedded.damage import holds_data
from vidpipe.library.embedded.mongod import find_mongod, repair
from vidpipe.library.embedded.process import ServerFiles
from vidpipe.library.embedded.server import MIN_FREE_BYTES, files_of, locked, size_of, stop
from vidpipe.settings import Settings


@dataclass
class DamagedFilesFolder:
    """A dated folder of the home for damaged files, created when the first file is moved into it.

    Attributes:
        settings: The settings of the home.
        moved: New paths of the files moved so far.
    """

    settings: Settings
    moved: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.settings.data_directory / "damaged" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"

    def move(self, path: Path) -> Path:
        """Move a file or folder here, keeping its path below the data directory; return its new path."""
        data = self.settings.data_directory
        relative = path.relative_to(data) if path.is_relative_to(data) else Path(path.name)
        place = self.folder / relative
        number = 1
        while os.path.lexists(place):
            number += 1
            place = (self.folder / relative).with_name(f"{relative.name}.{number}")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(path, place)
        self.moved.append(place)
        return place


def salvage(settings: Settings, aside: DamagedFilesFolder) -> bool:
    """Replace the server's damaged data by a repaired copy and move the originals to `aside`.

    If nothing can be salvaged, the damaged data are still moved and False is returned: the next server starts empty.
    Safe to interrupt and repeat.

    Raises:
        UnavailableError: The server cannot be stopped, or the disk has no space for the copy.
    """
    files = files_of(settings)
    copy, repaired = (files.data.with_name(f"{files.data.name}.{name}") for name in ("repairing", "repaired"))
    stop(settings)
    if not files.data.is_dir():
        if os.path.lexists(files.data):
            aside.move(files.data)
        if repaired.is_dir():
            repaired.rename(files.data)
        return files.data.is_dir()
    with locked(files):
        shutil.rmtree(repaired, ignore_errors=True)
        if _repair_copy(files, copy):
            copy.rename(repaired)
        else:
            shutil.rmtree(copy, ignore_errors=True)
        aside.move(files.data)
        if files.log.exists():
            aside.move(files.log)  # its errors are about the damaged data
        if repaired.is_dir():
            repaired.rename(files.data)
    return files.data.is_dir()


def _repair_copy(files: ServerFiles, copy: Path) -> bool:
    """Copy the data to `copy` and repair them there; return whether that succeeded."""
    shutil.rmtree(copy, ignore_errors=True)
    if not holds_data(files.data):
        return False
    needed, free = size_of(files.data) + MIN_FREE_BYTES, shutil.disk_usage(files.data).free
    if free < needed:
        raise UnavailableError(
            f"The repair needs a copy of {files.data}, but only {free / 1e6:.0f} MB are free on its disk.",
            f"Free {needed / 1e6:.0f} MB on it.",
        )
    log = files.log.with_name("mongod-repair.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    program = find_mongod()
    # mongod recreates these two; the journal holds the writes of the last minute
    for without in ((), ("storage.bson", "journal")):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(files.data, copy, ignore=shutil.ignore_patterns("*.lock", *without))
        copy.chmod(0o700)
        if repair(program, ServerFiles(data=copy, log=log)):
            return True
    return False
