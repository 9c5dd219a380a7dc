"""The library: everything vidpipe stores, in one MongoDB database."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from vidpipe.library.changes import Changes
from vidpipe.library.commits import Committer, PreparedCommit
from vidpipe.library.connection import Connection, connect
from vidpipe.library.gridfs_store import all_stores
from vidpipe.library.leases import Leases, free_dead, holding_leases
from vidpipe.library.media_places import VideoPlaces
from vidpipe.library.migrations import MIGRATIONS, Migration
from vidpipe.library.provenance import AnswerStore, store_texts
from vidpipe.library.retry import retry_operation
from vidpipe.library.schema import COLLECTIONS, Collections, Document
from vidpipe.library.schema_setup import adopt_videos, update_schema
from vidpipe.library.sources import Sources
from vidpipe.library.states import States
from vidpipe.library.verdicts import Verdicts
from vidpipe.library.videos import Videos, chunked
from vidpipe.settings import Settings
from vidpipe.stages.graph import StageGraph
from vidpipe.storage.media_files import MediaFiles

Result = TypeVar("Result")


class Library:
    """Opened once per process; closing it leaves an embedded server running for others.

    Attributes:
        settings: The home's settings.
        graph: The stages.
        connection: The connection to the server.
        collections: name -> collection.
        changes: The counter of changes to the videos' documents.
        videos: The videos' documents.
        states: Which videos are current, due, blocked, failed or quarantined.
        sources: The sources' records.
        verdicts: What people said of tags and categories.
        places: Which store holds the files of which video.
        stores: The stores, GridFS included.
        files: The videos' files, on this disk.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        graph: StageGraph,
        migrations: Mapping[int, Migration] = MIGRATIONS,
    ) -> None:
        self.settings = settings
        self.graph = graph
        self.connection = connection
        self.collections: Collections = {name: connection.collection(name) for name in COLLECTIONS}
        names = {name: collection.name for name, collection in self.collections.items()}
        known = update_schema(connection.database, names, graph, migrations=migrations).known
        adopt_videos(self.collections["videos"], graph)
        self.changes = Changes(self.collections)
        written = graph.with_disabled(known)
        self.videos = Videos(self.collections, written, self.changes)
        self.states = States(self.collections["videos"])
        self.sources = Sources(self.collections, self.videos, self.retry)
        self.verdicts = Verdicts(self.collections, self.videos)
        self.places = VideoPlaces(self.collections, self.retry)
        self.stores = all_stores(settings, connection)
        self.files = MediaFiles(settings, self.places, self.stores)
        self._committer = Committer(self.collections, written, self.changes)

    @classmethod
    def open(cls, settings: Settings, graph: StageGraph, migrations: Mapping[int, Migration] = MIGRATIONS) -> "Library":
        """Connect (starting the embedded server if no URI is set) and bring the database up to date.

        Raises:
            UnavailableError: The server cannot be reached or started, or holds a newer schema.
        """
        connection = connect(settings)
        try:
            return cls(connection, settings, graph, migrations)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cells(self, run_id: str = "") -> AnswerStore:
        """Return the model's answers; new ones are stored with the name of the run."""
        return AnswerStore(self.collections["answers"], self.retry, run_id)

    def leases(self) -> AbstractContextManager[Leases]:
        """Return the leases of one run, renewed and finally released by the context manager."""
        return holding_leases(self.collections, self.settings.data_directory / "run", self.retry)

    def free_dead(self) -> int:
        """Free the videos that dead processes of this machine hold, and return their number (`leases.free_dead`)."""
        return free_dead(self.collections, self.settings.data_directory / "run", self.retry)

    def retry(self, operation: Callable[[], Result]) -> Result:
        """Run `operation`, repeating it while the server is away (see `vidpipe.library.retry`)."""
        return retry_operation(self.connection, operation)

    def commit(
        self, batch: Sequence[PreparedCommit], owner: str, release: Sequence[str]
    ) -> list[PreparedCommit | None]:
        """Store `batch` (see `Committer.write`), also across an outage of the server."""
        return self.retry(lambda: self._committer.write(batch, owner, release))

    def current_results(self, stage: str, spec: str, videos: Iterable[str] | None = None) -> Iterator[Document]:
        """Yield the stored results of `stage` that were made with `spec`, of `videos` or of all."""
        of_stage: Document = {f"stages.{stage}.status": "ok", f"stages.{stage}.spec": spec}
        queries = [of_stage] if videos is None else ({"_id": {"$in": chunk}, **of_stage} for chunk in chunked(videos))
        for query in queries:
            yield from self.collections["videos"].find(query, {self.graph.key(stage): 1})

    def store_texts(self, texts: Mapping[str, str]) -> None:
        """Store texts of rules and prompts by their hash, so that their results can be explained later."""
        store_texts(self.collections["lineage"], texts)
