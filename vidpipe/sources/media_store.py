"""The media store: every video once, under the hash of its bytes.

    <media>/ab/abcdef….mp4     a video; its suffix is that of the container, not of the URL
    <media>/incoming/          incomplete files, and locks

A file gets in by one atomic rename on the same disk, after its bytes are on the disk and a video stream that decodes
was found in it. Whatever is not under its final name is not in the store.
"""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from vidpipe.errors import MediaError
from vidpipe.media.probe import check_decodable
from vidpipe.media.quick_check import QuickCheck
from vidpipe.network.fetch_errors import FetchCancelled, FetchError
from vidpipe.safe_files import open_regular
from vidpipe.settings import Settings
from vidpipe.sources.containers import HEAD_BYTES, suffix_for
from vidpipe.storage.object_store import LOCAL

_BLOCK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(FetchError):
    """The disk has no space for the file; other sources may still fit.

    Attributes:
        needed_bytes: How much was to be written beyond MinFreeMB, in bytes; None if unknown.
    """

    exit_code = 3

    def __init__(self, message: str, hint: str = "", *, needed_bytes: int | None = None) -> None:
        super().__init__(
            message, hint, kind="transient", depends_on=("paths.download_directory", "download.min_free_mb")
        )
        self.needed_bytes = needed_bytes


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn OS errors while `path`, in the media store, is written into a FetchError or DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFullError(
                f"The disk of {path.parent} is full; the incomplete file was deleted.",
                "Free space, or move DownloadDirectory (section [Paths] of config.ini) to a larger disk.",
            ) from error
        raise FetchError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Check DownloadDirectory in the section [Paths] of config.ini and its permissions.",
            kind="transient",
            depends_on=("paths.download_directory",),
        ) from error


def read_blocks(path: Path, cancelled: threading.Event) -> Iterator[bytes]:
    """Yield the content of a regular file in blocks.

    Raises:
        FetchCancelled: `cancelled` was set.
        OSError: The file cannot be read.
    """
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            if cancelled.is_set():
                raise FetchCancelled
            yield block


def hash_file(
    path: Path, cancelled: threading.Event, on_bytes: Callable[[int], None] = lambda done: None
) -> tuple[str, int]:
    """Return the sha256 and the size in bytes of a file's content.

    Args:
        path: A regular file.
        cancelled: Stops the work once it is set.
        on_bytes: Called with the number of bytes read so far.

    Raises:
        FetchCancelled: `cancelled` was set.
        OSError: The file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    for block in read_blocks(path, cancelled):
        digest.update(block)
        size += len(block)
        on_bytes(size)
    return digest.hexdigest(), size


class DiskReservations:
    """Free disk space, shared out among the transfers of this process so that together they leave MinFreeMB."""

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._expected: dict[str, int] = {}
        self._lock = threading.Lock()

    def reserve(self, owner: str, expected_bytes: int) -> None:
        """Reserve `expected_bytes` that `owner` is still going to write; replaces its earlier reservation.

        Raises:
            DiskFullError: With the other reservations, less than MinFreeMB would remain.
        """
        with self._lock:
            self._expected.pop(owner, None)
            free = shutil.disk_usage(self._directory).free
            needed_bytes = sum(self._expected.values()) + expected_bytes
            if free - needed_bytes < self._min_free_bytes:
                raise DiskFullError(
                    f"Not enough free space on the disk of {self._directory}: {free >> 20} MB are free, "
                    f"{expected_bytes / (1 << 20):.0f} MB are still to be written, "
                    f"and {self._min_free_bytes >> 20} MB must stay free.",
                    "Free space, lower MinFreeMB (section [Download] of config.ini), or move DownloadDirectory "
                    "(section [Paths]) to a larger disk.",
                    needed_bytes=needed_bytes,
                )
            self._expected[owner] = expected_bytes

    def release(self, owner: str) -> None:
        """Drop the reservation of `owner`."""
        with self._lock:
            self._expected.pop(owner, None)


@dataclass(frozen=True)
class StoredFile:
    """A file under its final name.

    Attributes:
        sha256: Hash of its bytes.
        path: Where it is.
        size_bytes: Its size.
        modified_ns: Time of its last change, in nanoseconds since the epoch.
        new: The store did not have it before.
        referenced: It stays where the user has it, outside the store.
        store: URL of the store that holds it (see `MediaFiles.keep_video`).
    """

    sha256: str
    path: Path
    size_bytes: int
    modified_ns: int
    new: bool
    referenced: bool = False
    store: str = LOCAL


class ForgottenError(MediaError):
    """A video that the user had removed."""

    def __init__(self, when: str = "") -> None:
        message = f"This video was forgotten{when}; it is not added again."
        super().__init__(message, "`vidpipe add --include-forgotten` adds it all the same.")


class MediaStore:
    """The media store of one home.

    Args:
        settings: Those in force.
        quick_check: For many files (`check_decodable`); the caller ends it.

    Attributes:
        admit: Called with the hash of a file before it is stored; raises ForgottenError.
    """

    admit: Callable[[str], None] = staticmethod(lambda sha256: None)

    def __init__(self, settings: Settings, quick_check: QuickCheck | None = None) -> None:
        self.limits = settings.limits
        self.root = settings.media_directory
        self.incoming = self.root / "incoming"
        self._quick_check = quick_check
        with writing(self.incoming):
            self.incoming.mkdir(parents=True, exist_ok=True)
        self.reservations = DiskReservations(self.incoming, settings.download.min_free_mb << 20)

    def find(self, sha256: str) -> Path | None:
        """Return the stored file with this hash in its name."""
        if not _SHA256.fullmatch(sha256):
            return None
        folder = self.root / sha256[:2]
        # checking the usual names costs less than reading a large folder
        usual = (folder / f"{sha256}{suffix}" for suffix in (".mp4", ".webm", ".mkv", ".mov"))
        return next((path for path in usual if path.is_file()), None) or next(iter(self.files(sha256)), None)

    def files(self, sha256: str) -> list[Path]:
        """Return all stored files with this hash in their names; several if fetches found different containers."""
        folder = self.root / sha256[:2]
        if not _SHA256.fullmatch(sha256) or not folder.is_dir():
            return []
        return sorted(folder / name for name in os.listdir(folder) if name.startswith(f"{sha256}."))

    @contextlib.contextmanager
    def hold(self, source_id: str, cancelled: threading.Event) -> Iterator[None]:
        """Lock one source: one thread of one process at a time works on it.

        Raises:
            FetchCancelled: `cancelled` was set while waiting for the lock.
        """
        lock = FileLock(self.incoming / f"{source_id}.lock")
        while not lock.is_locked:
            if cancelled.is_set():
                raise FetchCancelled
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0.5, poll_interval=0.05)
        try:
            yield
        finally:
            lock.release()

    def enter(self, file: Path, sha256: str, *, name: str, replace: bool = False) -> StoredFile:
        """Move `file`, in `incoming`, to its final place; delete it if its bytes are in the store already.

        Args:
            file: The complete file.
            sha256: Hash of its bytes.
            name: What it is called in errors.
            replace: Replace a stored file that was found damaged.

        Raises:
            MediaError: It has no video stream that decodes, or was forgotten; the file is left where it is.
        """
        self.admit(sha256)
        size = file.stat().st_size
        known = None if replace else self._whole(sha256, size)
        if known is None:
            container = check_decodable(file, name=name, limits=self.limits, quick=self._quick_check)
            with writing(file), file.open("rb") as opened:
                suffix = suffix_for(container, opened.read(HEAD_BYTES))
                os.fsync(opened.fileno())
            place = self.root / sha256[:2] / f"{sha256}{suffix}"
            with writing(place), FileLock(self.incoming / "store.lock"):
                place.parent.mkdir(exist_ok=True)
                # another process may have brought the same bytes meanwhile
                known = None if replace else self._whole(sha256, size)
                if known is None:
                    os.replace(file, place)
                    for directory in (place.parent, self.root):
                        _sync_directory(directory)
                    return _stored(sha256, place, new=True)
        file.unlink()
        return _stored(sha256, known, new=False)

    def _whole(self, sha256: str, size: int) -> Path | None:
        path = self.find(sha256)
        return path if path is not None and path.stat().st_size == size else None

    def clean(self, older_than_days: float = 7.0, *, dry_run: bool = False) -> list[Path]:
        """Delete what abandoned transfers left behind; return these files.

        Args:
            older_than_days: Files that were written later are kept.
            dry_run: Delete nothing.
        """
        found: list[Path] = []
        limit = time.time() - older_than_days * 86400
        groups: dict[str, list[Path]] = {}
        for path in self.incoming.iterdir():
            groups.setdefault(path.name.split(".")[0], []).append(path)
        for stem, paths in groups.items():
            if stem == "store" or any(_modified(path) >= limit for path in paths):
                continue
            if dry_run and not (self.incoming / f"{stem}.lock").exists():
                found += paths  # taking the lock would create it
                continue
            # a transfer that has received nothing for days may still be running
            with contextlib.suppress(Timeout), FileLock(self.incoming / f"{stem}.lock", timeout=0):
                found += paths
                for path in () if dry_run else paths:
                    shutil.rmtree(path, ignore_errors=True)  # the parts of a site's video are in a folder
                    path.unlink(missing_ok=True)
        return found


def _modified(path: Path) -> float:
    """Return when `path` was last written; now if another process has deleted it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _stored(sha256: str, path: Path, *, new: bool) -> StoredFile:
    stat = path.stat()
    return StoredFile(sha256, path, stat.st_size, stat.st_mtime_ns, new)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
