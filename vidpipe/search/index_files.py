"""The folder of the search index: its generations, the pointer to the one in use, and the locks.

data/index/<library>/
  current         JSON: the generation in use; replaced atomically
  <generation>/   tantivy's files; state.json: how far they follow the library (see `catch_up`); files of `vectors`
  lock            held by the process that changes the generation in use, or replaces it
  build.lock      held by the process that builds another one beside it

A new index is an empty generation that catches up. Readers need no lock: files that they have open stay readable after
they were deleted. A process that is interrupted or killed leaves what the next one completes or removes.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tantivy import Index

from vidpipe.errors import UnavailableError
from vidpipe.library.library import Library
from vidpipe.safe_files import network_file_system, private_directory, replace_file
from vidpipe.search import documents
from vidpipe.search.catch_up import State, version_of
from vidpipe.search.fields import Fields

#: Longest wait for a process that catches up.
PATIENCE_S = 10.0
#: Longest wait for a process that builds the index.
BUILD_PATIENCE_S = 600.0
#: What opening a file that is not as it should be raises; tantivy raises ValueError.
UNREADABLE = (OSError, ValueError, LookupError, TypeError)


def silent(*_: object) -> None:
    """Tell nobody."""


class IndexFiles:
    """The folder of the index: its locks, and which generation is in use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pointer = directory / "current"

    def current(self) -> Path | None:
        """Return the folder of the generation in use."""
        with suppress(*UNREADABLE):
            return self.directory / str(json.loads(self._pointer.read_bytes())["generation"])
        return None

    def new(self, library: Library, fields: Fields) -> Path:
        """Return the folder of a new generation, which is empty."""
        folder = self.directory / uuid.uuid4().hex[:12]
        private_directory(folder)
        Index(documents.schema(fields), path=str(folder))
        State(library.changes.state().epoch, version_of(fields)).save(folder)
        return folder

    def use(self, folder: Path) -> None:
        """Replace the generation in use; for the holder of `changing`."""
        replace_file(self._pointer, json.dumps({"generation": folder.name}).encode())

    def changing(self, patience_s: float, note: Callable[[str], None] = silent) -> AbstractContextManager[None]:
        """Hold the lock under which the generation in use is changed or replaced. Raises Timeout."""
        return self._locked("lock", patience_s, note)

    def building(self, patience_s: float, note: Callable[[str], None] = silent) -> AbstractContextManager[None]:
        """Hold the lock under which another generation is built. Raises Timeout."""
        return self._locked("build.lock", patience_s, note)

    @contextmanager
    def _locked(self, name: str, patience_s: float, note: Callable[[str], None]) -> Iterator[None]:
        if kind := network_file_system(self.directory):
            raise UnavailableError(
                f"The search index needs a local disk, but {self.directory} is on a network file system ({kind}).",
                "Set the environment variable XDG_CACHE_HOME to a folder on a local disk.",
            )
        private_directory(self.directory)
        lock = FileLock(self.directory / name)
        try:
            held = lock.acquire(timeout=0 if patience_s > PATIENCE_S else patience_s)
        except Timeout:
            if patience_s <= PATIENCE_S:
                raise
            note("Another process is writing the search index; waiting for it.")
            held = lock.acquire(timeout=patience_s)
        with held:
            yield

    def remove_others(self) -> None:
        """Remove the generations that are not in use; for the holder of both locks."""
        current = self.current()
        for folder in self.directory.iterdir():
            if folder.is_dir() and folder != current:
                shutil.rmtree(folder, ignore_errors=True)

    def clean_up(self) -> None:
        """Remove generations that are not in use, unless one of them is being built; for the holder of `changing`."""
        if sum(entry.is_dir() for entry in self.directory.iterdir()) > 1:
            with suppress(Timeout), self.building(0):
                self.remove_others()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what goes wrong with the index's files as an UnavailableError."""
        try:
            yield
        except Timeout:
            raise UnavailableError(
                f"Another process has been building the search index for {BUILD_PATIENCE_S / 60:.0f} minutes.",
                f"Check for a vidpipe process that hangs; it holds {self.directory / 'build.lock'}.",
            ) from None
        except (OSError, ValueError) as error:  # tantivy raises ValueError
            raise UnavailableError(
                f"The search index in {self.directory} cannot be read or written: {error}.",
                "Make that folder writable and free space on its disk; `vidpipe index rebuild` replaces damaged files.",
            ) from error
