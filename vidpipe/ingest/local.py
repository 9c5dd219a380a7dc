"""Files of this machine: copied into the media store, hard-linked into it, or referenced where they lie."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from vidpipe.ingest.faults import FetchCancelled, FetchError
from vidpipe.ingest.partial import BLOCK_BYTES, PartialFile, PartialState, hash_file
from vidpipe.ingest.store import MediaStore, StoredFile
from vidpipe.media.probe import check_decodable
from vidpipe.safe_files import check_regular, open_regular
from vidpipe.settings.operation import Limits

LocalMode = Literal["copy", "hardlink", "reference"]
OnBytes = Callable[[int, int | None], None]


def take_local(
    path: Path,
    source_id: str,
    *,
    mode: LocalMode,
    store: MediaStore,
    cancelled: threading.Event,
    on_bytes: OnBytes = lambda done, total: None,
    replace: bool = False,
) -> tuple[StoredFile, os.stat_result]:
    """Takes a local video in: (the file taken, the given one's size and time when it was read).

    Hold `store.hold(source_id)` meanwhile.

    mode: copy       the store has bytes of its own
          hardlink   the store has a second name for the same bytes; a copy where the disks differ
          reference  the file stays where it is and is not to be changed or moved
    Errors: FetchError, MediaError, FetchCancelled. The given file is never changed.
    """
    before = _regular(path)
    if mode == "reference":
        return _reference(path, before, cancelled, on_bytes, store.limits), before
    part = PartialFile(store.incoming, source_id)
    try:
        with _reading(path):
            if mode == "hardlink" and _link(path, part):
                digest, _ = hash_file(part.path, cancelled, lambda done: on_bytes(done, before.st_size))
                sha256 = digest.hexdigest()
            else:
                store.room.reserve(part.path.name, before.st_size)
                sha256 = _copy(path, part, cancelled, lambda done: on_bytes(done, before.st_size))
            _unchanged_since(path, before)
        return store.enter(part.path, sha256, name=str(path), replace=replace), before
    finally:
        part.discard()
        store.room.release(part.path.name)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FetchError(f"{path}: there is no such file.", "Check the path.") from error
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror or error}.", "Check who may read it.") from error


def touched_since(path: Path, at: datetime | None) -> bool:
    """Whether a file, or who may read it, was changed after `at`, a time that MongoDB keeps in milliseconds."""
    try:
        now = path.stat()
    except OSError:
        return True
    return at is not None and max(now.st_mtime, now.st_ctime) > at.timestamp() + 0.001


def _regular(path: Path) -> os.stat_result:
    with _reading(path):
        try:
            return check_regular(path)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise FetchError(f"{path} cannot be read: {error.strerror}.", kind="refused") from None


def _unchanged_since(path: Path, before: os.stat_result) -> None:
    now = path.stat()
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise FetchError(f"{path} changed while it was read.", "Add it when it is finished.", kind="transient")


def _reference(
    path: Path, before: os.stat_result, cancelled: threading.Event, on_bytes: OnBytes, limits: Limits
) -> StoredFile:
    with _reading(path):
        digest, size = hash_file(path, cancelled, lambda done: on_bytes(done, before.st_size))
    check_decodable(path, name=str(path), limits=limits)
    with _reading(path):
        _unchanged_since(path, before)
    return StoredFile(digest.hexdigest(), path, size, before.st_mtime_ns, new=True, referenced=True)


def _link(path: Path, part: PartialFile) -> bool:
    """A second name for the file; False where the disk (or another disk) does not allow that."""
    part.path.unlink(missing_ok=True)
    try:
        os.link(path, part.path)
    except OSError:
        return False
    return True


def _copy(path: Path, part: PartialFile, cancelled: threading.Event, on_bytes: Callable[[int], None]) -> str:
    part.start(PartialState())
    with open_regular(path) as file:
        while block := file.read(BLOCK_BYTES):
            if cancelled.is_set():
                raise FetchCancelled
            part.append(block)
            on_bytes(part.size)
    part.close()
    return part.sha256()
