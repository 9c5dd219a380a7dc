"""Repairs the embedded server's data in a copy, which replaces the damaged folder once it is complete.

data/mongo.repairing/   the copy that mongod repairs; an interrupted one is started again
data/mongo.repaired/    a repaired copy that has not replaced the damaged folder yet
data/damaged/TIME/      the damaged files; nothing there is ever deleted
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vidpipe.errors import UnavailableError
from vidpipe.library import embedded
from vidpipe.library.embedded_damage import holds_data
from vidpipe.library.embedded_launch import find_mongod, repair
from vidpipe.library.embedded_process import Files
from vidpipe.settings import Settings


@dataclass
class Aside:
    """A dated folder of the home for damaged files, created when it is first needed."""

    settings: Settings
    moved: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.settings.data_directory / "damaged" / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"

    def move(self, path: Path) -> Path:
        """Moves a file or folder there, keeping its path below the data directory. Returns its new path."""
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


def salvage(settings: Settings, aside: Aside) -> bool:
    """Replaces the server's damaged data by a repaired copy and moves them aside.

    If nothing can be salvaged, the damaged data are still moved aside and False is returned: the next server starts
    empty. Safe to interrupt and repeat. Raises UnavailableError if the server cannot be stopped or the disk has no
    room for the copy.
    """
    files = embedded.files_of(settings)
    copy, whole = (files.data.with_name(f"{files.data.name}.{name}") for name in ("repairing", "repaired"))
    embedded.stop(settings)
    if not files.data.is_dir():
        if os.path.lexists(files.data):
            aside.move(files.data)
        if whole.is_dir():
            whole.rename(files.data)
        return files.data.is_dir()
    with embedded.locked(files):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.rmtree(whole, ignore_errors=True)
        if _repaired(settings, files, copy):
            copy.rename(whole)
        else:
            shutil.rmtree(copy, ignore_errors=True)
        aside.move(files.data)
        if files.log.exists():
            aside.move(files.log)  # its complaints are about the damaged data
        if whole.is_dir():
            whole.rename(files.data)
    return files.data.is_dir()


def _repaired(settings: Settings, files: Files, copy: Path) -> bool:
    """Whether `copy` holds repaired data now."""
    if not holds_data(files.data):
        return False
    needed, free = embedded.size_of(files.data) + embedded.MIN_FREE_BYTES, shutil.disk_usage(files.data).free
    if free < needed:
        raise UnavailableError(
            f"The repair needs a copy of {files.data}, and only {free / 1e6:.0f} MB are free on its disk.",
            f"Free {needed / 1e6:.0f} MB there.",
        )
    log = files.log.with_name("mongod-repair.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    program = find_mongod()
    # mongod recreates the two; the journal holds the writes of the last minute
    for without in ((), ("storage.bson", "journal")):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(files.data, copy, ignore=shutil.ignore_patterns("*.lock", *without))
        copy.chmod(0o700)
        if repair(program, Files(data=copy, log=log)):
            return True
    return False
