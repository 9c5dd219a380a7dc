"""The files of one home's embedded server, and what they reveal: its process, its port, and damage to its data."""

import contextlib
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from vidpipe.errors import DamagedError
from vidpipe.settings import Settings

Value = TypeVar("Value")

POLL_S = 0.05
#: A killed server can hold its port a moment longer than its process id.
_PORT_RELEASE_S = 1.0
#: Below the range that systems use for outgoing connections, which could occupy our port while the server is down.
_PORTS = range(20_000, 32_000)
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


@dataclass(frozen=True)
class ServerFiles:
    """Where the embedded server of one home keeps its files.

    Attributes:
        data: mongod's dbpath; only its owner may open it.
        log: mongod's log file.
    """

    data: Path
    log: Path

    @property
    def key(self) -> Path:
        """The key file, the secret that clients authenticate with."""
        return self.data / "vidpipe.key"

    @property
    def lock(self) -> Path:
        """The file locked by the vidpipe process that starts or stops the server."""
        return self.data / "vidpipe.lock"

    @property
    def port(self) -> Path:
        """The port last used, so that connected clients find a restarted server again."""
        return self.data / "vidpipe.port"

    @property
    def pid(self) -> Path:
        """The lock file of mongod itself: its process id while it runs, empty after a clean shutdown."""
        return self.data / "mongod.lock"


def find_process(files: ServerFiles) -> tuple[psutil.Process, int] | None:
    """Return the mongod that serves this data folder, and its port."""
    try:
        process = psutil.Process(int(files.pid.read_text()))
        command = process.cmdline()
        if not is_alive(process) or command[command.index("--dbpath") + 1] != str(files.data):
            return None
        return process, int(command[command.index("--port") + 1])
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def accepts_connections(port: int) -> bool:
    """Return whether something listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def poll(condition: Callable[[], Value], limit_s: float) -> Value:
    """Evaluate `condition` until it is true or `limit_s` seconds have passed; return its last value."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()) and time.monotonic() <= deadline:
        time.sleep(POLL_S)
    return value


def wait_until_gone(process: psutil.Process, limit_s: float) -> bool:
    """Wait for a process to exit; return whether it did within `limit_s` seconds."""
    return poll(lambda: not is_alive(process), limit_s)


def choose_port(files: ServerFiles, refused: set[int]) -> int:
    """Return the port last used if it is free, else any free port that is not in `refused`."""
    with contextlib.suppress(OSError, ValueError):
        last = int(files.port.read_text())
        if 1024 <= last <= 65535 and last not in refused and poll(lambda: _bindable(last), _PORT_RELEASE_S):
            return last
    candidates = (*random.sample(_PORTS, 100), 0)  # 0: any that the system finds free
    return next(port for candidate in candidates if candidate not in refused and (port := _bindable(candidate)))


def _bindable(port: int) -> int | None:
    """Return the port that a socket could be bound to; None if `port` is in use."""
    with socket.socket() as probe:
        # Like mongod: connections of a killed server that linger in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        bound: int = probe.getsockname()[1]
        return bound


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
