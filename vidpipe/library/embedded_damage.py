"""Signs of damage to the embedded server's data: complaints in mongod's log, and a missing data folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vidpipe.errors import DamagedError
from vidpipe.library.embedded_process import Files
from vidpipe.settings import Settings

_DAMAGE = re.compile(
    r"WT_PANIC|WT_TRY_SALVAGE|WT_ERROR: non-specific|starting MongoDB with --repair|file appears corrupt"
    r"|checksum error|data corruption|DataCorruption|Failed to open a? ?WiredTiger cursor|Unrecoverable"
    r"|storage engine metadata file|unknown storage engine"
)
_STARTED = '"msg":"MongoDB starting"'
#: mongod names a file of a collection or index by its table, without the suffix.
_FILES = re.compile(
    r"\b(?:collection|index)-\d+-{1,2}\d+|\b_mdb_catalog|\bsizeStorer|\bWiredTiger\.\w+|\bstorage\.bson|\bjournal/\w+"
)
_MOST_NAMED = 3
_TAIL_BYTES = 2_000_000

_VIDEO_FILE = re.compile(r"[0-9a-f]{64}\.\w{1,10}")


class MissingLibraryError(DamagedError):
    """There are stored videos or frames, but the data folder of the embedded server is missing or empty."""

    def __init__(self, message: str, hint: str, settings: Settings) -> None:
        super().__init__(message, hint)
        self.settings = settings


def damage_in(log: str) -> str | None:
    """What is damaged, for a sentence about the server; None if mongod complains of no damage.

    log: lines of mongod's log
    """
    complaints = [line for line in log.splitlines() if '"s":"E"' in line or '"s":"F"' in line]
    if not any(map(_DAMAGE.search, complaints)):
        return None
    named = list(dict.fromkeys(name for line in complaints for name in _FILES.findall(line)))
    files = f" ({', '.join(named[:_MOST_NAMED])}{', …' if len(named) > _MOST_NAMED else ''})" if named else ""
    return f"its data files are damaged{files}"


def logged_damage(files: Files, *, last_start: bool = True) -> DamagedError | None:
    """The error for a server that ended because its data are damaged.

    last_start: read only what mongod has logged since its last start
    """
    try:
        with files.log.open("rb") as log:
            log.seek(max(0, files.log.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return None
    damaged = damage_in(text.rpartition(_STARTED)[2] if last_start else text)
    if damaged is None:
        return None
    return DamagedError(f"The embedded MongoDB server in {files.data} ended: {damaged}. Its log is {files.log}.")


def check_presence(settings: Settings, files: Files) -> None:
    """Raises MissingLibraryError where videos or their frames are stored but there are no data of a server."""
    if files.data.exists() and not files.data.is_dir():
        raise DamagedError(f"{files.data} is not a folder, so the embedded MongoDB server cannot keep its data there.")
    if holds_data(files.data):
        return
    left = traces(settings)
    if left:
        raise MissingLibraryError(
            f"There is no library in {files.data}, although {left}.",
            "Put the folder back, restore or rebuild the library with `vidpipe doctor --repair`, or start an empty one "
            "with `vidpipe doctor --repair --empty`.",
            settings,
        )


def holds_data(folder: Path) -> bool:
    """Whether a mongod has ever kept data in `folder`."""
    return any(path.name.startswith("WiredTiger") or path.suffix == ".wt" for path in folder.glob("*"))


def traces(settings: Settings) -> str:
    """What else a home holds of a library's videos, for a sentence; of referenced ones only frames are stored."""
    videos = sum(1 for _ in stored_videos(settings))
    if videos:
        return f"{settings.media_directory} holds {videos} video{'s' if videos > 1 else ''}"
    frames = sum(1 for path in settings.derived_directory.glob("*/") if _VIDEO_FILE.fullmatch(f"{path.name}.x"))
    return f"{settings.derived_directory} holds frames of {frames} video{'s' if frames > 1 else ''}" if frames else ""


def stored_videos(settings: Settings) -> Iterator[tuple[str, Path]]:
    """(sha256, path) of each file of the media store, as their names say."""
    for folder in sorted(settings.media_directory.glob("[0-9a-f][0-9a-f]")):
        for path in sorted(folder.glob(f"{folder.name}*")):
            if _VIDEO_FILE.fullmatch(path.name) and path.is_file():
                yield path.name.partition(".")[0], path
