"""The repair of the embedded server's data: on a copy, which takes the place of the damaged folder when it is whole.

data/mongo.repairing/   a copy that mongod is at work on; one that was broken off is begun again
data/mongo.repaired/    a copy that is whole and has not taken its place yet
data/damaged/TIME/      what was found damaged; nothing there is ever deleted
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vidpipe.errors import UnavailableError
from vidpipe.library import embedded
from vidpipe.library.backups.manifest import folder_name
from vidpipe.library.embedded_damage import holds_data
from vidpipe.library.embedded_launch import find_mongod, repair
from vidpipe.library.embedded_process import Files
from vidpipe.settings import Settings


@dataclass
class Aside:
    """A dated folder of the home for damaged files, made when the first one comes."""

    settings: Settings
    moved: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.settings.data_directory / "damaged" / folder_name(datetime.now(UTC))

    def move(self, path: Path) -> Path:
        """Moves a file or folder there, below its path in the data directory. Gives its new place."""
        relative = path.relative_to(self.settings.data_directory) if path.is_relative_to(
            self.settings.data_directory
        ) else Path(path.name)  # fmt: skip
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
    """Has mongod repair a copy of the server's data and puts it in place of the damaged ones, which are moved aside.

    Where nothing can be salvaged the damaged data are moved aside all the same, and False is returned: the next server
    begins empty. May be broken off and repeated. Raises UnavailableError where the server cannot be stopped or the
    disk has no room for the copy.
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
            aside.move(files.log)  # what it says of damage is past
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
            f"The repair needs a copy of {files.data}, and its disk has {free / 1e6:.0f} MB free.",
            f"Make room for {needed / 1e6:.0f} MB there.",
        )
    log = files.log.with_name("mongod-repair.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    program = find_mongod()
    for without in ((), ("storage.bson", "journal")):  # both are made anew; the journal holds the last minute's writes
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(files.data, copy, ignore=shutil.ignore_patterns("*.lock", *without))
        copy.chmod(0o700)
        if repair(program, Files(data=copy, log=log)):
            return True
    return False
