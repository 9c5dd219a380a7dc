"""Signs of damage to the embedded server's data: errors in mongod's log, and a missing data folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vidpipe.errors import DamagedError
from vidpipe.library.embedded.process import ServerFiles
from vidpipe.settings import Settings

_DAMAGE = re.compile(
    r"WT_PANIC|WT_TRY_SALVAGE|WT_ERROR: non-specific|starting MongoDB with --repair|file appears corrupt"
    r"|checksum error|data corruption|DataCorruption|Failed to open a? ?WiredTiger cursor|Unrecoverable"
    r"|storage engine metadata file|unknown storage engine"
)
_STARTED = '"msg":"MongoDB starting"'
#: mongod names a collection's or index's file by its table, without the suffix.
_FILES = re.compile(
    r"\b(?:collection|index)-\d+-{1,2}\d+|\b_mdb_catalog|\bsizeStorer|\bWiredTiger\.\w+|\bstorage\.bson|\bjournal/\w+"
)
_MAX_NAMED_FILES = 3
_TAIL_BYTES = 2_000_000

_VIDEO_FILE = re.compile(r"[0-9a-f]{64}\.\w{1,10}")


class MissingLibraryError(DamagedError):
    """Videos or frames are stored, but the data folder of the embedded server is missing or empty.

    Attributes:
        settings: The settings of the home whose library is missing.
    """

    def __init__(self, message: str, hint: str, settings: Settings) -> None:
        super().__init__(message, hint)
        self.settings = settings


def find_damage(log: str) -> str | None:
    """Return which files are damaged, as the end of a sentence about the server; None if mongod reports no damage.

    Args:
        log: Lines of mongod's log.
    """
    complaints = [line for line in log.splitlines() if '"s":"E"' in line or '"s":"F"' in line]
    if not any(map(_DAMAGE.search, complaints)):
        return None
    named = list(dict.fromkeys(name for line in complaints for name in _FILES.findall(line)))
    more = ", …" if len(named) > _MAX_NAMED_FILES else ""
    files = f" ({', '.join(named[:_MAX_NAMED_FILES])}{more})" if named else ""
    return f"its data files are damaged{files}"


def logged_damage(files: ServerFiles, *, last_start: bool = True) -> DamagedError | None:
    """Return the error for a server that exited because its data are damaged, according to its log.

    Args:
        files: The server's files.
        last_start: Read only what mongod has logged since its last start.
    """
    text = read_log(files.log, -_TAIL_BYTES)
    damage = find_damage(text.rpartition(_STARTED)[2] if last_start else text)
    if damage is None:
        return None
    return DamagedError(f"The embedded MongoDB server in {files.data} exited: {damage}. Its log is {files.log}.")


def read_log(path: Path, start: int) -> str:
    """Return a log file's text from byte `start`; a negative one counts from the end. Empty if it cannot be read."""
    try:
        with path.open("rb") as log:
            log.seek(start if start >= 0 else max(0, path.stat().st_size + start))
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def check_presence(settings: Settings, files: ServerFiles) -> None:
    """Check that the server's data exist if the home holds a library's videos or frames.

    Raises:
        MissingLibraryError: Videos or frames are stored, but the server has no data.
    """
    if files.data.exists() and not files.data.is_dir():
        raise DamagedError(f"{files.data} is not a folder: the embedded MongoDB server cannot keep its data in it.")
    if not holds_data(files.data) and (found := traces(settings)):
        raise MissingLibraryError(
            f"There is no library in {files.data}, although {found}.",
            "Put the folder back, restore or rebuild the library with `vidpipe doctor --repair`, or start an empty one "
            "with `vidpipe doctor --repair --empty`.",
            settings,
        )


def holds_data(folder: Path) -> bool:
    """Return whether a mongod has ever kept data in `folder`."""
    return any(path.name.startswith("WiredTiger") or path.suffix == ".wt" for path in folder.glob("*"))


def traces(settings: Settings) -> str:
    """Return what else a home holds of a library's videos, as a clause; empty if nothing.

    Of referenced videos only the frames are stored.
    """
    if count := sum(1 for _ in stored_videos(settings)):
        return f"{settings.media_directory} holds {count} video{'s' if count > 1 else ''}"
    count = sum(1 for path in settings.derived_directory.glob("*/") if _VIDEO_FILE.fullmatch(f"{path.name}.x"))
    return f"{settings.derived_directory} holds frames of {count} video{'s' if count > 1 else ''}" if count else ""


def stored_videos(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield (sha256, path) of each file of the media store, according to the file names."""
    for folder in sorted(settings.media_directory.glob("[0-9a-f][0-9a-f]")):
        for path in sorted(folder.glob(f"{folder.name}*")):
            if _VIDEO_FILE.fullmatch(path.name) and path.is_file():
                yield path.name.partition(".")[0], path
