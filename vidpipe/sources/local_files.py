"""Files of this machine: the videos in a folder, and adding a file as a copy, a hard link or a reference."""

import contextlib
import errno
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from vidpipe.errors import readable
from vidpipe.media.probe import check_decodable
from vidpipe.network.fetch_errors import FetchError
from vidpipe.network.http_response import PartialState
from vidpipe.safe_files import check_regular
from vidpipe.settings.operation import Limits
from vidpipe.sources.containers import skip_reason
from vidpipe.sources.media_store import MediaStore, StoredFile, hash_file, read_blocks
from vidpipe.sources.partial_file import PartialFile
from vidpipe.sources.records import IngestNote

LocalMode = Literal["copy", "hardlink", "reference"]
#: Called with (bytes so far, bytes in all or None).
OnBytes = Callable[[int, int | None], None]

_HIDDEN_FOLDER, _LINKED_FOLDER = "hidden folder", "linked folder"


@dataclass
class SkippedFiles:
    """What a folder contains besides videos.

    Attributes:
        counts: What it is ("JPEG picture") -> how many.
        unreadable: Errors of files and folders that cannot be read.
    """

    counts: Counter[str] = field(default_factory=Counter)
    unreadable: list[OSError] = field(default_factory=list)

    def count(self, reason: str) -> None:
        """Count one file.

        Args:
            reason: What it is, as it would follow "is": "a JPEG picture", "not a video format that …".
        """
        name = re.sub(r"^an? |\s*\(.*", "", reason)
        self.counts[f"file {name}" if name.startswith("not ") else name] += 1

    def note(self, given: str) -> IngestNote | None:
        """Return the message about the folder that was `given`; None if nothing was skipped."""
        if not self.counts:
            return None
        folders = self.counts[_HIDDEN_FOLDER] + self.counts[_LINKED_FOLDER]
        totals = {"file": self.counts.total() - folders, "folder": folders}
        number_of = " and ".join(f"{number} {_plural(what, number)}" for what, number in totals.items() if number)
        counts = dict(self.counts.most_common())
        listed = ", ".join(f"{number} {_plural(name, number)}" for name, number in counts.items() if number)
        return IngestNote(readable(given), f"{readable(given)}: skipped {number_of}: {listed}.", counts)


def videos_below(folder: Path, exclude: Collection[Path], skipped: SkippedFiles) -> Iterator[Path]:
    """Yield every video below `folder`, links resolved, sorted by name.

    A video is recognized by its suffix, or by its content if the suffix is ambiguous. Hidden files and folders and
    linked folders are skipped.

    Args:
        folder: Where to search.
        exclude: Folders that are skipped without being counted.
        skipped: Filled meanwhile.
    """
    for directory, names, files in os.walk(folder, onerror=skipped.unreadable.append):
        names[:] = sorted(name for name in names if _is_walked(Path(directory, name), exclude, skipped))
        for name in sorted(files):
            path = Path(directory, name)
            try:
                reason = _skip_reason(path)
            except OSError as error:
                skipped.unreadable.append(error)
                continue
            if reason is None:
                yield path.resolve()
            else:
                skipped.count(reason)


def _is_walked(folder: Path, exclude: Collection[Path], skipped: SkippedFiles) -> bool:
    if folder.name.startswith("."):
        skipped.count(_HIDDEN_FOLDER)
        return False
    if folder.is_symlink():
        skipped.count(_LINKED_FOLDER)
        return False
    return folder.resolve() not in exclude


def _skip_reason(path: Path) -> str | None:
    if path.name.startswith("."):
        return "a hidden file"
    if not path.is_file():
        return "a broken link" if path.is_symlink() else "a device or pipe"
    return skip_reason(path)


def _plural(noun: str, number: int) -> str:
    """Return 1 JPEG picture, 2 JPEG pictures, 2 files not named like a video."""
    head, separator, rest = noun.partition(" not ")
    return noun if number == 1 or head.endswith("s") else f"{head}s{separator}{rest}"


def add_local_file(
    path: Path,
    source_id: str,
    *,
    mode: LocalMode,
    store: MediaStore,
    cancelled: threading.Event,
    on_bytes: OnBytes = lambda done, total: None,
    replace: bool = False,
) -> tuple[StoredFile, os.stat_result]:
    """Add a local video to the store. Hold `store.hold(source_id)` meanwhile. The given file is never changed.

    Args:
        path: The given file.
        source_id: Names the incomplete copy.
        mode: `copy`: the store gets its own bytes. `hardlink`: the store gets a second name for the same bytes, or a
            copy if the disks differ. `reference`: the file stays where it is and must not be changed or moved.
        store: The media store.
        cancelled: Stops the work once it is set.
        on_bytes: Called with the progress.
        replace: Replace a stored file that was found damaged.

    Returns:
        The stored file, and the given one's size and time when it was read.

    Raises:
        FetchError: The file cannot be read or stored.
        MediaError: It has no video stream that decodes, or was forgotten.
        FetchCancelled: `cancelled` was set.
    """
    with _reading(path):
        before = check_regular(path)
    if mode == "reference":
        file = _reference(path, before, cancelled, on_bytes, store.limits)
        store.admit(file.sha256)
        return file, before
    part = PartialFile(store.incoming, source_id)
    try:
        with _reading(path):
            if mode == "hardlink" and _link(path, part):
                sha256, _ = hash_file(part.path, cancelled, lambda done: on_bytes(done, before.st_size))
            else:
                store.reservations.reserve(part.path.name, before.st_size)
                sha256 = _copy(path, part, cancelled, lambda done: on_bytes(done, before.st_size))
            _check_unchanged(path, before)
        return store.enter(part.path, sha256, name=str(path), replace=replace), before
    finally:
        part.discard()
        store.reservations.release(part.path.name)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FetchError(f"{path}: no such file.", "Check the path.") from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a regular file
            raise FetchError(f"{path} cannot be read: {error.strerror}.", kind="refused") from None
        raise FetchError(f"{path} cannot be read: {error.strerror or error}.", "Check its permissions.") from error


def touched_since(path: Path, at: datetime | None) -> bool:
    """Return whether a file or its permissions changed after `at`, a time that MongoDB stores in milliseconds."""
    try:
        now = path.stat()
    except OSError:
        return True
    return at is not None and max(now.st_mtime, now.st_ctime) > at.timestamp() + 0.001


def _check_unchanged(path: Path, before: os.stat_result) -> None:
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise FetchError(f"{path} changed while it was read.", "Add it once it is complete.", kind="transient")


def _reference(
    path: Path, before: os.stat_result, cancelled: threading.Event, on_bytes: OnBytes, limits: Limits
) -> StoredFile:
    with _reading(path):
        sha256, size = hash_file(path, cancelled, lambda done: on_bytes(done, before.st_size))
    check_decodable(path, name=str(path), limits=limits)
    with _reading(path):
        _check_unchanged(path, before)
    return StoredFile(sha256, path, size, before.st_mtime_ns, new=True, referenced=True)


def _link(path: Path, part: PartialFile) -> bool:
    """Create a second name for the file; return False if the file systems do not allow that."""
    part.path.unlink(missing_ok=True)
    try:
        os.link(path, part.path)
    except OSError:
        return False
    return True


def _copy(path: Path, part: PartialFile, cancelled: threading.Event, on_bytes: Callable[[int], None]) -> str:
    part.start(PartialState())
    for block in read_blocks(path, cancelled):
        part.append(block)
        on_bytes(part.size)
    part.close()
    return part.sha256()
