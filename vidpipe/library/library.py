"""The library: everything vidpipe keeps, in one MongoDB database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeVar

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from vidpipe.library import preparing
from vidpipe.library.cells import Cells
from vidpipe.library.commits import Committer, Prepared
from vidpipe.library.connection import Connection, connect
from vidpipe.library.leases import Leases
from vidpipe.library.outages import ride_out
from vidpipe.library.schema import COLLECTIONS, Document
from vidpipe.library.sources import Sources
from vidpipe.library.states import States, chunked
from vidpipe.library.videos import Videos
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph

Result = TypeVar("Result")


class Library:
    """Opened once a process; closing it leaves an embedded server running for others."""

    def __init__(self, connection: Connection, settings: Settings, graph: StageGraph) -> None:
        self.settings = settings
        self.graph = graph
        self.connection = connection
        self.collections: Mapping[str, Collection[Document]] = {
            name: connection.collection(name) for name in COLLECTIONS
        }
        names = {name: collection.name for name, collection in self.collections.items()}
        preparing.prepare(connection.database, names, graph)
        self.videos = Videos(self.collections, graph)
        self.states = States(self.collections["videos"], graph)
        self.sources = Sources(self.collections, self.videos, self.ride_out)
        self._committer = Committer(self.collections, graph)

    @classmethod
    def open(cls, settings: Settings, graph: StageGraph) -> Library:
        """Connects (starting the embedded server where no URI is set) and brings the database up to date.

        Raises UnavailableError when the server cannot be reached or started, or holds a newer schema.
        """
        connection = connect(settings)
        try:
            return cls(connection, settings, graph)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def cells(self, run_id: str = "") -> Cells:
        """The answers of the describing model; new ones are kept under the name of a run."""
        return Cells(self.collections["answers"], self.ride_out, run_id)

    def leases(self) -> Leases:
        """The leases of one run, to be used as a context manager."""
        return Leases(self.collections, self.settings.data_directory / "run", self.ride_out)

    def ride_out(self, operation: Callable[[], Result]) -> Result:
        """`operation`, repeated while the server is away for a while (see `vidpipe.library.outages`)."""
        return ride_out(self.connection, operation)

    def commit(self, batch: Sequence[Prepared], owner: str, release: Sequence[str]) -> list[Prepared | None]:
        """Stores `batch` (see `Committer.write`), also across an outage of the server."""
        return self.ride_out(lambda: self._committer.write(batch, owner, release))

    def current_results(self, stage: str, spec: str, videos: Iterable[str] | None = None) -> Iterator[Document]:
        """The stored results of `stage` that were made with `spec`, of `videos` or of all."""
        condition: Document = {f"stages.{stage}.status": "ok", f"stages.{stage}.spec": spec}
        wanted = {self.graph.key(stage): 1}
        if videos is None:
            yield from self.collections["videos"].find(condition, wanted)
        else:
            for chunk in chunked(videos):
                yield from self.collections["videos"].find({"_id": {"$in": chunk}, **condition}, wanted)

    def keep_texts(self, texts: Mapping[str, str]) -> None:
        """Keeps texts of rules and prompts by their hash, so that what was made with them can be explained later."""
        lineage = self.collections["lineage"]
        for version, text in texts.items():
            if lineage.find_one({"_id": f"text:{version}"}, {"_id": 1}) is None:
                try:
                    lineage.insert_one(
                        {"_id": f"text:{version}", "kind": "text", "text": text, "at": datetime.now(UTC)}
                    )
                except DuplicateKeyError:
                    continue
