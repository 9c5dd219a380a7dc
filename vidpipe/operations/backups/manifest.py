"""manifest.json: what a backup contains, and whether it is still intact."""

import hashlib
import os
import re
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from vidpipe.errors import VidpipeError
from vidpipe.safe_files import open_regular, read_regular_text

NAME = "manifest.json"
FORMAT_VERSION = 1
PART_SUFFIX = ".part"
_FOLDER = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
FOLDER_TIME = "%Y-%m-%dT%H-%M-%SZ"
_BLOCK_BYTES = 1 << 20
#: Fast; BSON of text still shrinks to a quarter.
_COMPRESSION = 3
_GZIP = 31  # zlib's wbits for the gzip format
_OTHER_BACKUP = "Choose another backup."
_UNCHANGED = "Nothing was changed. Restore from another backup."


class BackupCancelled(Exception):
    """The user canceled the work."""


@dataclass(frozen=True)
class ProgressMonitor:
    """Receives progress, and can cancel the work.

    Attributes:
        progress: Called with the name of a part of the work, the items that are done, and their total (None: unknown).
        cancelled: Set it to cancel.
    """

    progress: Callable[[str, int, int | None], None] = lambda part, done, total: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Stop the work if it was canceled.

        Raises:
            BackupCancelled: It was.
        """
        if self.cancelled.is_set():
            raise BackupCancelled


class BackupError(VidpipeError):
    """A backup is missing, incomplete or damaged."""

    exit_code = 3


def path_inside(path: str) -> str:
    """Check that a relative path stays in its folder; a manifest may be forged.

    Raises:
        ValueError: It does not.
    """
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of the folder")
    return path


PathInside = Annotated[str, AfterValidator(path_inside)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileDigest(_Entry):
    """Hash and size of a file of the backup."""

    sha256: str
    size_bytes: int


class DumpedCollection(_Entry):
    """A collection.

    Attributes:
        file: Path of its BSON file in the backup.
    """

    file: PathInside
    documents: int


class FileSummary(_Entry):
    """Media or derived files.

    Attributes:
        included: Whether the files are in the backup; otherwise it only lists them.
        missing: Number of files that the library refers to but that did not exist.
    """

    included: bool
    files: int = 0
    size_bytes: int = 0
    missing: int = 0


class BackupManifest(_Entry):
    """The contents of a backup.

    Attributes:
        vidpipe: Version of vidpipe that wrote it.
        server: Product and version of the database server.
        parts: Path in the backup -> its digest.
        settings: Files in settings/, by their paths in the home.
        notes: What was left out, and why.
        derived_directory: As the library's documents name it.
    """

    format: Literal["vidpipe back-up"] = "vidpipe back-up"
    format_version: int = FORMAT_VERSION
    vidpipe: str
    schema_version: int
    began_at: datetime
    made_at: datetime
    server: str
    database: str
    collection_name: str
    collections: dict[str, DumpedCollection]
    parts: dict[str, FileDigest]
    settings: tuple[PathInside, ...] = ()
    notes: tuple[str, ...] = ()
    media: FileSummary
    derived: FileSummary
    derived_directory: str

    @property
    def videos(self) -> int:
        """Number of videos."""
        return self.collections["videos"].documents


def folder_name(now: datetime) -> str:
    """Return the name of a backup's folder."""
    return now.astimezone(UTC).strftime(FOLDER_TIME)


def whole_backups(directory: Path) -> list[Path]:
    """Return the complete backups in `directory`, oldest first."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted(path for path in found if _FOLDER.fullmatch(path.name) and (path / NAME).is_file())


def read(directory: Path) -> tuple[Path, BackupManifest]:
    """Read a backup's manifest.

    Args:
        directory: The backup, or a folder of backups: then the latest.

    Returns:
        The backup's folder and manifest.

    Raises:
        BackupError: There is no readable backup.
    """
    folder = directory
    if not (directory / NAME).is_file():
        found = whole_backups(directory)
        if not found:
            broken = directory.name.endswith(PART_SUFFIX) or any(directory.glob(f"*{PART_SUFFIX}"))
            what = "only an incomplete one" if broken else "none"
            raise BackupError(f"{directory} is not a backup and contains {what}.", "Choose another folder.")
        folder = found[-1]
    try:
        text = read_regular_text(folder / NAME)
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"{folder / NAME} cannot be read: {error}.", _OTHER_BACKUP) from error
    try:
        manifest = BackupManifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "its JSON"
        raise BackupError(f"{folder / NAME} is damaged ({where}: {first['msg']}).", _OTHER_BACKUP) from None
    if manifest.format_version > FORMAT_VERSION:
        raise BackupError(f"{folder} was written by a newer vidpipe ({manifest.vidpipe}).", "Install that version.")
    return folder, manifest


def verify(folder: Path, manifest: BackupManifest, monitor: ProgressMonitor) -> None:
    """Check the hash of every part.

    Raises:
        BackupError: A part is missing or damaged.
        BackupCancelled: The user canceled.
    """
    total = sum(part.size_bytes for part in manifest.parts.values())
    done = 0
    named = {collection.file for collection in manifest.collections.values()}
    named |= {f"settings/{name}" for name in manifest.settings}
    unhashed = sorted(named - manifest.parts.keys())
    if unhashed:
        raise BackupError(f"{folder / NAME} has no hash of {unhashed[0]}; it was modified.", _OTHER_BACKUP)
    for name, part in manifest.parts.items():
        path = folder / name
        try:
            size_bytes = path.stat().st_size
            if size_bytes != part.size_bytes:
                raise damaged_backup(f"{path} has {size_bytes} bytes instead of {part.size_bytes}", _UNCHANGED)
            digest = hashlib.sha256()
            with open_regular(path) as file:
                while block := file.read(_BLOCK_BYTES):
                    monitor.check()
                    digest.update(block)
                    done += len(block)
                    monitor.progress("check", done, total)
        except OSError as error:
            raise damaged_backup(f"{path} cannot be read ({error.strerror or error})", _UNCHANGED) from error
        if digest.hexdigest() != part.sha256:
            raise damaged_backup(f"{path} does not match its hash", _UNCHANGED)


def damaged_backup(what: str, hint: str = _OTHER_BACKUP) -> BackupError:
    """Return the error for a damaged backup; `what` names the damage without a period."""
    return BackupError(f"The backup is damaged: {what}.", hint)


class PartFile:
    """A new file of the backup: computes its digest, and compresses if its name ends in .gz. A context manager."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._digest, self._size_bytes = hashlib.sha256(), 0
        self._compressor = zlib.compressobj(_COMPRESSION, wbits=_GZIP) if path.suffix == ".gz" else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._write(self._compressor.compress(data) if self._compressor else data)

    def finish(self) -> FileDigest:
        """Write everything to disk and return the digest."""
        if self._compressor:
            self._write(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        return FileDigest(sha256=self._digest.hexdigest(), size_bytes=self._size_bytes)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._size_bytes += len(data)
        self._file.write(data)


def write_part(path: Path, content: bytes) -> FileDigest:
    """Write a file of the backup at once."""
    with PartFile(path) as file:
        file.write(content)
        return file.finish()
