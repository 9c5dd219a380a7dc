"""manifest.json: what a back-up holds, and whether it still holds it."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vidpipe.errors import VidpipeError
from vidpipe.safe_files import open_regular, read_regular_text

NAME = "manifest.json"
FORMAT_VERSION = 1
PART_SUFFIX = ".part"
_FOLDER = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
_FOLDER_TIME = "%Y-%m-%dT%H-%M-%SZ"
_BLOCK_BYTES = 1 << 20

#: Told how far a part of the work is: its name, what is done, of how much (None: not known).
Progress = Callable[[str, int, int | None], None]


class Stopped(Exception):
    """The user stopped it."""


@dataclass(frozen=True)
class Follower:
    """Who follows the work, and may stop it."""

    progress: Progress = lambda part, done, total: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises Stopped."""
        if self.cancelled.is_set():
            raise Stopped


class BackupError(VidpipeError):
    """A back-up is not there, not whole or not as it was made."""

    exit_code = 3


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Part(_Fact):
    sha256: str
    size_bytes: int


class DumpedCollection(_Fact):
    """file: its BSON, below the back-up."""

    file: str
    documents: int

    @field_validator("file")
    @classmethod
    def _stays_below(cls, value: str) -> str:
        return below(value)


class Carried(_Fact):
    """Files of one kind. included: they lie in the back-up; otherwise it only names them."""

    included: bool
    files: int = 0
    size_bytes: int = 0
    missing: int = Field(0, description="named by the library, but not there when the back-up was made")


class Manifest(_Fact):
    format: Literal["vidpipe back-up"] = "vidpipe back-up"
    format_version: int = FORMAT_VERSION
    vidpipe: str = Field(description="version that wrote it")
    schema_version: int
    began_at: datetime
    made_at: datetime
    server: str = Field(description="product and version")
    database: str
    collection_name: str
    collections: dict[str, DumpedCollection]
    parts: dict[str, Part] = Field(description="path below the back-up -> its hash")
    settings: tuple[str, ...] = Field((), description="files of settings/, by their paths in the home")
    notes: tuple[str, ...] = Field((), description="what was left out, and why")
    media: Carried
    derived: Carried
    derived_directory: str = Field(description="as the library's documents name it")

    @field_validator("settings")
    @classmethod
    def _stay_below(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(below, value))

    @property
    def videos(self) -> int:
        return self.collections["videos"].documents

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def below(path: str) -> str:
    """`path`, if it is relative and never leads upwards: a manifest may be forged. Raises ValueError."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of the folder")
    return path


def folder_name(now: datetime) -> str:
    return now.astimezone(UTC).strftime(_FOLDER_TIME)


def time_of(backup: Path) -> datetime:
    """When it was made, by its name."""
    return datetime.strptime(backup.name, _FOLDER_TIME).replace(tzinfo=UTC)


def whole_backups(directory: Path) -> list[Path]:
    """The back-ups in `directory`, oldest first."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted(path for path in found if _FOLDER.fullmatch(path.name) and (path / NAME).is_file())


def read(directory: Path) -> tuple[Path, Manifest]:
    """A back-up's folder and manifest. directory: the back-up, or the folder of several: then the latest.

    Raises BackupError where there is none that can be read.
    """
    folder = directory
    if not (directory / NAME).is_file():
        found = whole_backups(directory)
        if not found:
            broken = directory.name.endswith(PART_SUFFIX) or any(directory.glob(f"*{PART_SUFFIX}"))
            what = "only one that was broken off" if broken else "none"
            raise BackupError(
                f"{directory} is no back-up of vidpipe, and in it there is {what}.", "Name another folder."
            )
        folder = found[-1]
    try:
        text = read_regular_text(folder / NAME)
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{folder / NAME} cannot be read: {error}.", "Name another back-up.") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "its JSON"
        raise BackupError(
            f"{folder / NAME} is not as vidpipe wrote it ({where}: {first['msg']}).",
            "It was cut off or changed: name another back-up.",
        ) from None
    if manifest.format_version > FORMAT_VERSION:
        raise BackupError(f"{folder} was written by a newer vidpipe ({manifest.vidpipe}).", "Install that one.")
    return folder, manifest


def verify(folder: Path, manifest: Manifest, follower: Follower) -> None:
    """Reads every part and compares its hash. Raises BackupError that names the first that differs, Stopped."""
    total = sum(part.size_bytes for part in manifest.parts.values())
    done = 0
    named = {collection.file for collection in manifest.collections.values()}
    named |= {f"settings/{name}" for name in manifest.settings}
    unhashed = sorted(named - manifest.parts.keys())
    if unhashed:
        raise BackupError(f"{folder / NAME} has no hash of {unhashed[0]}.", "It was changed: name another back-up.")
    for name, part in manifest.parts.items():
        path = folder / name
        try:
            size_bytes = path.stat().st_size
            if size_bytes != part.size_bytes:
                raise _altered(path, f"has {size_bytes} bytes instead of {part.size_bytes}")
            digest = hashlib.sha256()
            with open_regular(path) as file:
                while block := file.read(_BLOCK_BYTES):
                    follower.check()
                    digest.update(block)
                    done += len(block)
                    follower.progress("check", done, total)
        except OSError as error:
            raise _altered(path, f"cannot be read ({error.strerror or error})") from error
        if digest.hexdigest() != part.sha256:
            raise _altered(path, "holds other bytes than when the back-up was made")


def _altered(path: Path, what: str) -> BackupError:
    return BackupError(f"The back-up is damaged: {path} {what}.", "Nothing was changed. Restore from another back-up.")


class HashingFile:
    """A file to write to that knows the hash and size of what was written; on the disk when it is closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._size_bytes = 0

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self._size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> Part:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Part(sha256=self._digest.hexdigest(), size_bytes=self._size_bytes)

    def abandon(self) -> None:
        self._file.close()
