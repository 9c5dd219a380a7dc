"""The search index of a library, open for searching; how it is built, and built again."""

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from filelock import Timeout
from tantivy import Index, Query, Schema, Searcher

from vidpipe.errors import UnavailableError
from vidpipe.library.embedded import MIN_FREE_BYTES, size_of
from vidpipe.library.library import Library
from vidpipe.safe_files import free_bytes, network_file_system
from vidpipe.search import documents
from vidpipe.search.catch_up import Differences, Progress, State, catch_up, differences, version_of
from vidpipe.search.fields import Fields
from vidpipe.search.index_files import BUILD_PATIENCE_S, PATIENCE_S, UNREADABLE, IndexFiles, silent

#: A generation may be deleted while it is being opened; then there is another one.
_ATTEMPTS = 5
_OTHER_VERSION = "it was made by another version"


@dataclass(frozen=True)
class IndexStatus:
    """What `vidpipe index status` shows.

    Attributes:
        directory: Folder of the index.
        network: Type of the network file system that data/ is on, for which the index is elsewhere; "": none.
        fault: Why the index will be built by the next search; "": it can be used.
        videos: Number of videos in it.
        moments: Number of their moments.
        behind: Number of changed videos that the next search adds first.
        segments: Parts of it, which are merged as they become many.
        size_bytes: Size of its files.
        languages: Languages of the texts.
    """

    directory: str
    network: str
    fault: str
    videos: int = 0
    moments: int = 0
    behind: int = 0
    segments: int = 0
    size_bytes: int = 0
    languages: tuple[str, ...] = ()


class SearchIndex:
    """The index of a library, open for searching. Several threads may use it.

    Attributes:
        library: The library.
        fields: Its fields.
        schema: The index's columns.
        searcher: Searches the index as it was at the last `refresh`.
        languages: Languages of the indexed texts.
        folder: Folder of the generation in use.
        note: Told in a sentence what takes long.
        progress: Told how many videos are indexed, and of how many.
        behind: How many changed videos it lacks because another process has been changing it for long; mostly 0.
    """

    schema: Schema
    searcher: Searcher
    languages: tuple[str, ...]

    def __init__(self, library: Library, note: Callable[[str], None] = silent, progress: Progress = silent) -> None:
        self.library = library
        self.fields = Fields(library.graph)
        self._version = version_of(self.fields)
        self.behind = 0
        self.note = note
        self.progress = progress
        self._files = IndexFiles(library.settings.index_directory)
        self._mutex = threading.RLock()
        self._index: Index | None = None
        self._loaded: tuple[object, ...] = ()
        self.folder = Path()
        self._state = State("")
        self._seq = 0

    @classmethod
    def open(
        cls, library: Library, *, note: Callable[[str], None] = silent, progress: Progress = silent
    ) -> "SearchIndex":
        """Return the index, caught up with the library; if there is none that can be used, it is built.

        Args:
            library: The library.
            note: Told in a sentence why the index is being built, or that it is behind.
            progress: Told how many videos are indexed, and of how many.

        Raises:
            UnavailableError: The index's files cannot be written.
        """
        made = cls(library, note, progress)
        made.refresh()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._index, self._loaded = None, ()

    def refresh(self) -> None:
        """Catch up with the library. It costs one small query if nothing changed.

        Raises:
            UnavailableError: The index's files cannot be written, or another version of vidpipe replaced them.
        """
        with self._mutex, self._files.explained():
            if fault := self.load():
                self._begin(fault)
            damaged = None
            try:
                fault = self._catch_up()
            except ValueError as error:  # of tantivy
                if free_bytes(self._files.directory) < MIN_FREE_BYTES:
                    raise
                fault, damaged = f"it is damaged: {error}", self.folder
            if fault:
                self._begin(fault, damaged)
                self._catch_up()

    def load(self) -> str:
        """Open the generation in use, or what was added to it; return why it cannot be used, "" if it can."""
        for _ in range(_ATTEMPTS):
            folder = self._files.current()
            if folder is None:
                return "there is none yet"
            with suppress(*UNREADABLE):
                self._state = State.load(folder)  # first: what it says must be true of what is opened then
                if self._state.version != self._version:
                    return _OTHER_VERSION
                self._load(folder)
                break
        else:
            return "it cannot be read"
        epoch, self._seq = self.library.changes.state()
        # Numbers only go down if MongoDB's files were replaced by older ones.
        same = epoch == self._state.epoch and self._seq >= self._state.marks[-1][1]
        return "" if same else "the library was replaced"

    def _load(self, folder: Path) -> None:
        meta = (folder / "meta.json").stat()
        loaded = (folder, meta.st_ino, meta.st_mtime_ns)
        if loaded == self._loaded:
            return
        if self._index is None or folder != self.folder:
            self._index, self.folder = Index.open(str(folder)), folder
            self._index.config_reader("manual")
            documents.register_analyzers(self._index)
        self._index.reload()
        self.schema, self.searcher = self._index.schema, self._index.searcher()
        self.languages = tuple(sorted(name for name, _ in self.searcher.terms_with_prefix("languages", "")))
        self._loaded = loaded

    def _begin(self, fault: str, damaged: Path | None = None) -> None:
        """Replace the generation in use by an empty one, unless another process has done so."""
        if fault == _OTHER_VERSION and self._index is not None:  # else the two would replace it in turn
            raise UnavailableError(
                "The search index was built anew by another version of vidpipe, or for other stages.",
                "Restart this process, and use one version of vidpipe with this home.",
            )
        with self._files.changing(BUILD_PATIENCE_S, self.note):
            if self.load() or self.folder == damaged:
                self.note(f"Building the search index: {fault}.")
                self._files.use(self._files.new(self.library, self.fields))
                self._files.clean_up()
        if fault := self.load():
            raise UnavailableError(
                f"The search index in {self._files.directory} cannot be used although it is new: {fault}.",
                "Check the disk, and whether another version of vidpipe uses this home.",
            )

    def _catch_up(self) -> str:
        """Make the index contain what the library does; return why it has to be built instead, "" if it does not."""
        self.behind = 0
        if self._seq == self._state.settled and not self._state.needs_full_check(time.time()):
            return ""
        found = self._differences()
        if not found.videos and found.after == self._state:
            return ""
        seen = self._loaded
        patience_s = PATIENCE_S if self._state.checked else BUILD_PATIENCE_S
        try:
            with self._files.changing(patience_s if found.videos else 0, self.note):
                fault = self.load()
                if fault or self._index is None:
                    return fault
                if self._loaded != seen:
                    found = self._differences()
                catch_up(self.library, self.fields, self._index, self.folder, found=found, progress=self.progress)
                self._files.clean_up()
                self.load()
        except Timeout:
            self.behind = len(found.videos)
            if found.videos:
                self.note(
                    f"The search index is missing the changes to {self.behind} videos, because another process is "
                    "updating it."
                )
        return ""

    def _differences(self) -> Differences:
        return differences(self.library, self.searcher, self.schema, self._state)

    def changing(self) -> AbstractContextManager[None]:
        """Return the lock under which files in `folder` are changed; entering it raises Timeout if it is held."""
        return self._files.changing(0)

    def status(self) -> IndexStatus:
        """Return what there is, without changing it."""
        with self._mutex, self._files.explained():
            fault = self.load()
            network = network_file_system(self.library.settings.data_directory)
            found = IndexStatus(str(self._files.directory), network, fault)
            if fault:
                return found
            columns = ("id_head", "vector_key")
            counts = {column: {"value_count": {"field": column}} for column in columns}
            counted = self.searcher.aggregate(Query.all_query(), counts)
            videos, embeddings = (int(counted[column]["value"]) for column in columns)
            return replace(
                found,
                videos=videos,
                moments=self.searcher.num_docs - videos - embeddings,
                behind=len(self._differences().videos),
                segments=self.searcher.num_segments,
                size_bytes=size_of(self.folder),
                languages=self.languages,
            )


def rebuild(library: Library, *, note: Callable[[str], None] = silent, progress: Progress = silent) -> None:
    """Build the index again. Until that is done, the present one serves and catches up.

    Args:
        library: The library.
        note: Told if another process has to finish first.
        progress: Told how many videos are indexed, and of how many.

    Raises:
        UnavailableError: The index's files cannot be written, or another process has been building it for long.
    """
    files, fields = IndexFiles(library.settings.index_directory), Fields(library.graph)
    with files.explained(), files.building(BUILD_PATIENCE_S, note):
        folder = files.new(library, fields)
        try:
            index = Index.open(str(folder))
            documents.register_analyzers(index)
            for shown in (progress, silent):  # then what has changed meanwhile
                index.reload()
                found = differences(library, index.searcher(), index.schema, State.load(folder))
                catch_up(library, fields, index, folder, found=found, progress=shown)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with files.changing(BUILD_PATIENCE_S, note):
            files.use(folder)
            files.remove_others()


def purge(library: Library) -> None:
    """Remove from the index's files what deleted videos left there. Raises UnavailableError as `rebuild` does.

    tantivy only marks documents as deleted: their words stay in its files until it merges them, if ever.
    """
    if IndexFiles(library.settings.index_directory).current():
        rebuild(library)
