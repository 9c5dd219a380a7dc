"""Where an export is written: a folder of this machine, or one in a store. Exports are incremental and resumable."""

import hashlib
import json
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import IO

from vidpipe.errors import SettingsError
from vidpipe.library.exports import STATE
from vidpipe.library.library import Library
from vidpipe.library.queries.export import replacing
from vidpipe.sources.media_store import hash_file
from vidpipe.storage.object_store import NoSuchObject, Progress
from vidpipe.storage.verified_store import VerifiedStore

_SAVE_EVERY_S = 5.0


class Target(ABC):
    """Files have relative names with "/". Each appears completely or not at all, and has no time of its own inside.

    Args:
        kind: What is written, such as the format of an export.

    Raises:
        SettingsError: Something else was written there, which `finish` would delete.
    """

    def __init__(self, kind: str) -> None:
        self._before = self._load()
        #: As the state has them until they are written again.
        self._vouched = self._before
        self._now: dict[str, str] = {}
        self._kind = kind
        if (found := self._before.pop(STATE, "") or kind) != kind:
            message = f"The folder holds an export in another format: {found}."
            raise SettingsError(message, "Name another folder, or delete this one.")
        self._saved = time.monotonic()

    def has(self, name: str, made_of: str) -> bool:
        """Return whether a file made of the same is there already; this export then keeps it."""
        found = bool(made_of) and self._before.get(name) == made_of and self._exists(name)
        if found:
            self._now[name] = made_of
        elif self._before.get(name) and self._vouched is self._before:
            # A state that survives a kill must not take what is written next for what was there before.
            self._vouched = dict.fromkeys(self._before, "")
            self._save(self._vouched | self._now)
        return found

    def put(self, name: str, made_of: str, path: Path) -> None:
        """Store a copy of a file, unless the target `has` it."""
        if not self.has(name, made_of):
            self._send(name, path)
            self._remember(name, made_of)

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, unless the target has it with this content."""
        made_of = hashlib.sha256(content).hexdigest()
        if not self.has(name, made_of):
            with self.open(name, made_of) as file:
                file.write(content)

    @contextmanager
    def open(self, name: str, made_of: str = "") -> Iterator[IO[bytes]]:
        """Write a file: lists and metadata anew each time, others unless the target `has` them."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            with path.open("wb") as file:
                yield file
            self._send(name, path)
        self._remember(name, made_of)

    def owner(self, name: str) -> str | None:
        """Return what a file was made of; "" if it is not known, None if there is no such file."""
        return (self._before | self._now).get(name, "") if self._exists(name) else None

    def keep(self) -> None:
        """Store what the files are made of, also those of earlier exports, which stay."""
        self._before |= self._now
        self._save(self._before)

    def finish(self) -> None:
        """Delete the files of earlier exports that this one lacks; others in the folder stay."""
        for name in sorted(self._before.keys() - self._now.keys()):
            self._delete(name)
        self._before = self._vouched = {}
        self._save(self._now)

    def _remember(self, name: str, made_of: str) -> None:
        self._now[name] = made_of
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self._save(self._vouched | self._now)
            self._saved = time.monotonic()

    def _save(self, state: dict[str, str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state"
            path.write_text(json.dumps({**state, STATE: self._kind}, indent=0, sort_keys=True), encoding="utf-8")
            self._send(STATE, path)

    def _load(self) -> dict[str, str]:
        try:
            found = json.loads(self.read(STATE) or b"{}")
        except ValueError:
            return {}
        return {str(name): str(made_of) for name, made_of in found.items()} if isinstance(found, dict) else {}

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the contents of a small file; b"" if there is none."""

    @abstractmethod
    def _exists(self, name: str) -> bool: ...

    @abstractmethod
    def _send(self, name: str, path: Path) -> None: ...

    @abstractmethod
    def _delete(self, name: str) -> None: ...


class FolderTarget(Target):
    """A folder of this machine.

    Raises:
        SettingsError: It is a file, or holds something else.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(f"{folder} is a file; this format needs a folder.", "Name a folder.")
        self._folder = folder
        super().__init__(kind)

    @contextmanager
    def open(self, name: str, made_of: str = "") -> Iterator[IO[bytes]]:
        """Write a file in its place, without a copy: see `Target.open`."""
        with replacing(self._folder / name) as file:
            yield file
        self._remember(name, made_of)

    def finish(self) -> None:
        """Also delete what a kill left of files."""
        super().finish()
        for part in self._folder.rglob(".*.????????.part"):
            part.unlink()

    def read(self, name: str) -> bytes:
        """Return the contents of a small file: see `Target.read`."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else b""

    def _exists(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def _send(self, name: str, path: Path) -> None:
        with replacing(self._folder / name) as file, path.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)

    def _delete(self, name: str) -> None:
        path = (self._folder / name).resolve()
        if path.is_relative_to(self._folder.resolve()):  # the state is a file that others may edit
            path.unlink(missing_ok=True)


class StoreTarget(Target):
    """A folder in a store, such as s3://bucket/folder.

    Args:
        store: The store with this URL.
        cancelled: Stops a transfer, but for that of the state.
        kind: See `Target`.
    """

    def __init__(self, store: VerifiedStore, cancelled: Event, kind: str) -> None:
        self._store = store
        self._progress = Progress(cancelled=cancelled)
        super().__init__(kind)

    def read(self, name: str) -> bytes:
        """Return the contents of a small file: see `Target.read`."""
        try:
            found = self._store.stat(name)
            return self._store.read(name, 0, found.size_bytes) if found else b""
        except NoSuchObject:
            return b""

    def _exists(self, name: str) -> bool:
        return self._store.stat(name) is not None

    def _send(self, name: str, path: Path) -> None:
        progress = Progress() if name == STATE else self._progress
        self._store.put(name, path, hash_file(path, progress.cancelled)[0], progress)

    def _delete(self, name: str) -> None:
        self._store.delete(name)


def open_target(library: Library, destination: str, cancelled: Event, kind: str) -> Target:
    """Return where an export goes: a folder, or the store that a URL names. Raises what `Target` raises."""
    if "://" not in destination:
        return FolderTarget(Path(destination).expanduser(), kind)
    return StoreTarget(library.stores.of(destination.rstrip("/")), cancelled, kind)
