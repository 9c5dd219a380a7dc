"""How a mirror follows the library.

A video whose number of changes (see `vidpipe.library.changes`) is not that of its row is written again, and rows of
videos that the library no longer has are deleted. All numbers are compared, which takes about a second for 100,000
videos: so no order in which they became visible matters. Sources have no numbers; their rows are made and compared by
hash. Each batch is one transaction, so whatever ends a process leaves whole videos, and the next one continues.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import exc

from vidpipe.datasets.mirror.tables import FACTS, METADATA, PARTS, SOURCES, VERSION, VIDEOS, Rows, rows_of, source_row
from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.library import Library
from vidpipe.library.queries.show import views
from vidpipe.library.schema import Document
from vidpipe.library.videos import chunked
from vidpipe.redaction import redact
from vidpipe.settings import Settings

#: Called with what is written, how much of it is done, and all of it.
Progress = Callable[[str, int, int | None], None]

#: Database -> (driver, its arguments, statement that takes a lock, which is freed with the connection).
_DATABASES: Mapping[str, tuple[str, dict[str, Any], str]] = {
    "postgresql": (
        "postgresql+psycopg", {"connect_timeout": 10, "client_encoding": "utf8"},
        "SELECT pg_try_advisory_lock(hashtext('vidpipe_mirror'))",
    ),
    "mysql": (
        "mysql+pymysql", {"connect_timeout": 10, "charset": "utf8mb4"},
        "SELECT GET_LOCK(CONCAT('vidpipe_mirror.', MD5(DATABASE())), 0)",
    ),
    "sqlite": ("sqlite", {"timeout": 60}, "SELECT 1"),  # for readers, which block a writer
}  # fmt: skip
_BATCH = 200


@dataclass
class MirrorReport:
    """What a run did.

    Attributes:
        database: Its URL, without password.
        change_number: The library's number of changes that the mirror has reached.
        rows: Table -> number of rows.
        written: videos, sources -> number of those that were new or have changed.
        removed: Likewise, of those that were deleted.
        failed: `id` and `error` of videos and sources that were left as they were.
        interrupted: It was stopped; the next run continues.
    """

    database: str
    change_number: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    failed: list[dict[str, str]] = field(default_factory=list)
    interrupted: bool = False


def mirror(
    library: Library, *, rebuild: bool = False, cancelled: Event | None = None,
    progress: Progress = lambda part, done, total: None, batch: int = _BATCH,
) -> MirrorReport:  # fmt: skip
    """Bring the mirror that [Mirror] URL names up to date; create its tables if there are none.

    Args:
        library: The library.
        rebuild: Write everything again, also into the mirror of another library.
        cancelled: Stops the work once set.
        progress: Told how much is done.
        batch: Rows of videos, or of sources, in one transaction.

    Raises:
        SettingsError: There is no URL, or its database does not fit.
        UnavailableError: The database cannot be reached or written, another process is writing it, or a driver is
            missing.
    """
    url, state = _url(library.settings), library.changes.state()
    shown = redact(url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True))
    with _errors_explained(shown), _locked(url, shown) as connection:
        _prepare(connection, {"library_id": state.epoch, "schema_version": VERSION}, rebuild=rebuild)
        run = _MirrorRun(library, connection, MirrorReport(shown), cancelled or Event(), progress, batch)
        run.follow_videos()
        run.follow_sources()
        run.report.interrupted = run.cancelled.is_set()
        with connection.begin():
            number = {} if run.report.interrupted else {"change_number": str(state.seq)}
            run.report.change_number = int(_facts(connection, number)["change_number"])
            for table in METADATA.sorted_tables:
                count = sa.select(sa.func.count()).select_from(table)
                run.report.rows[table.name] = connection.scalar(count) or 0
    return run.report


@dataclass
class _MirrorRun:
    library: Library
    connection: sa.Connection
    report: MirrorReport
    cancelled: Event
    progress: Progress
    batch: int

    def follow_videos(self) -> None:
        found = self.library.collections["videos"].find({}, {"change_seq": 1}).hint("change_seq")
        today = {row["_id"]: str(row.get("change_seq") or 0) for row in found}

        def rows(ids: Sequence[str]) -> Iterator[Rows]:
            return (rows_of(view, today[view["video"]["sha256"]]) for view in views(self.library, ids, {}))

        self._follow(VIDEOS, PARTS, today, rows)

    def follow_sources(self) -> None:
        videos, sources = self._versions(VIDEOS), self.library.collections["sources"]

        def rows(query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
            found = sources.find(query)
            return (source_row(one, one["video"] if one.get("video") in videos else None) for one in found)

        today = {row["source"]: row["version"] for row in rows({})}
        self._follow(SOURCES, (), today, lambda ids: ({"sources": [row]} for row in rows({"_id": {"$in": ids}})))

    def _versions(self, table: sa.Table) -> dict[str, str]:
        with self.connection.begin():
            return dict(map(tuple, self.connection.execute(sa.select(*table.primary_key, table.c.version))))

    def _execute(self, statement: Any, rows: Sequence[Document]) -> None:
        if rows:
            self.connection.execute(statement, rows)

    def _follow(
        self, table: sa.Table, parts: Sequence[sa.Table], today: Mapping[str, str],
        rows_of_batch: Callable[[list[str]], Iterator[Rows]],
    ) -> None:  # fmt: skip
        """Write the rows whose version is not that of `today`, with those of `parts` that belong to them."""
        (key,), known = table.primary_key, self._versions(table)
        self.report.removed[table.name] = self.report.written[table.name] = 0

        def put(ids: list[str]) -> None:
            """Write rows in one transaction; if one of them cannot be written, each in a transaction of its own."""
            try:
                made: Rows = {one.name: [] for one in (table, *parts)}
                for rows in rows_of_batch(ids):
                    for name, added in rows.items():
                        made[name] += added
                old = [{**row, "known": row[key.name]} for row in made[table.name] if row[key.name] in known]
                new = [row for row in made[table.name] if row[key.name] not in known]
                with self.connection.begin():
                    # A deletion of known rows would reach others that refer to them.
                    self._execute(table.update().where(key == sa.bindparam("known")), old)
                    self._execute(table.insert(), new)
                    for part in parts:
                        self._execute(part.delete().where(part.c.video == sa.bindparam("known")), old)
                        self._execute(part.insert(), made[part.name])
                self.report.written[table.name] += len(old) + len(new)
            except Exception as error:  # a document of another version, a value that this database refuses
                refused = isinstance(error, exc.DataError | exc.IntegrityError)
                if isinstance(error, VidpipeError) or (isinstance(error, exc.DBAPIError) and not refused):
                    raise
                if len(ids) == 1:
                    self.report.failed.append({"id": ids[0], "error": _sentence(error)})
                else:
                    for one in ids:
                        put([one])

        for gone in chunked(sorted(known.keys() - today.keys())):
            # one whose number changed meanwhile may have been missed
            missed = self.library.collections[table.name].find({"_id": {"$in": gone}}, {"_id": 1})
            with self.connection.begin():
                done = self.connection.execute(
                    table.delete().where(key.in_(set(gone).difference(row["_id"] for row in missed)))
                )
            self.report.removed[table.name] += done.rowcount
        changed = [one for one, version in today.items() if known.get(one) != version]
        for number, ids in enumerate(chunked(changed, self.batch)):
            if self.cancelled.is_set():
                return
            put(ids)
            self.progress(table.name, number * self.batch + len(ids), len(changed))


def _prepare(connection: sa.Connection, ours: dict[str, str], *, rebuild: bool) -> None:
    """Create the tables where there are none, and drop them first for a rebuild."""
    with connection.begin():
        names = set(sa.inspect(connection).get_table_names())
        if FACTS.name not in names and (others := sorted(names & METADATA.tables.keys())):
            hint = "Choose a database, or for PostgreSQL a schema, of its own for the mirror."
            raise SettingsError(f"The database has tables of others with the names {', '.join(others)}.", hint)
        FACTS.create(connection, checkfirst=True)
        facts = _facts(connection, {})
        if facts and not rebuild and not ours.items() <= facts.items():
            hint = "Choose another database, or write everything again: vidpipe mirror --rebuild."
            what = "another library, or this one before it was restored, or was made by another version of vidpipe"
            raise SettingsError(f"The database mirrors {what}.", hint)
        if rebuild:
            METADATA.drop_all(connection)
        METADATA.create_all(connection)
        _facts(connection, ours | {"change_number": "0"} if rebuild or not facts else {})


def _facts(connection: sa.Connection, new: Mapping[str, str]) -> dict[str, str]:
    """Store what is new, and return all facts about the mirror."""
    stored: dict[str, str] = dict(map(tuple, connection.execute(sa.select(FACTS))))
    for name, value in new.items() - stored.items():
        connection.execute(FACTS.delete().where(FACTS.c.name == name))
        connection.execute(FACTS.insert(), {"name": name, "value": value})
    return stored | dict(new)


def _url(settings: Settings) -> sa.URL:
    try:
        url = sa.make_url(settings.mirror.url.get_secret_value())
        driver = _DATABASES[url.get_backend_name()][0]
    except (exc.ArgumentError, ValueError, KeyError):
        what = "is malformed, or of another kind" if settings.mirror.url.get_secret_value() else "is missing"
        hint = "Forms: sqlite:///PATH, postgresql://HOST/NAME, mysql://HOST/NAME; @ in a password is written as %40."
        raise SettingsError(f"The URL of the mirror ([Mirror] URL) {what}.", hint) from None
    path = str(settings.resolve(url.database or "")) if driver == "sqlite" else url.database
    return url.set(drivername=driver, database=path)


@contextmanager
def _locked(url: sa.URL, shown: str) -> Iterator[sa.Connection]:
    """Connect, and keep others from writing the mirror."""
    backend = url.get_backend_name()
    _, options, lock = _DATABASES[backend]
    if backend == "mysql" and url.password:
        options = {**options, "password": str(url.password).encode()}  # of a text, PyMySQL sends Latin-1
    with ExitStack() as stack:
        try:
            engine: sa.Engine = sa.create_engine(url, connect_args=options, hide_parameters=True)
        except ImportError as error:
            raise UnavailableError.without_package(f"{backend}:// mirrors need", error, "sql") from None
        stack.callback(engine.dispose)
        try:
            if backend == "sqlite":
                sa.event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA foreign_keys = ON"))
                stack.enter_context(FileLock(f"{url.database}.lock", blocking=False))
            connection = stack.enter_context(engine.connect())
            with connection.begin():
                if not connection.scalar(sa.text(lock)):
                    raise Timeout("")
        except Timeout:
            busy = f"Another process is writing the mirror {shown}."
            raise UnavailableError(busy, "Try again when it is done.") from None
        yield connection


@contextmanager
def _errors_explained(shown: str) -> Iterator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, OSError) as error:
        hint = "Check that it runs, its host, name, user and password, and that the user may create tables."
        raise UnavailableError(f"The database {shown} reports: {_sentence(error)}", hint) from None


def _sentence(error: Exception) -> str:
    """Return what a driver says, without the statement and its values."""
    said = str(error.orig if isinstance(error, exc.DBAPIError) else error).strip() or type(error).__name__
    return said.splitlines()[0][:300]
