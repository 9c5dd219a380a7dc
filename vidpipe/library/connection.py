"""The connection to MongoDB: to the embedded server, or to the one that [MongoDB] URI names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pymongo
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConfigurationError, ConnectionFailure, InvalidName, PyMongoError

from vidpipe.errors import UnavailableError
from vidpipe.library import embedded
from vidpipe.library.connection_errors import explain
from vidpipe.library.connection_options import client_options, host_of, is_cluster, unusable_uri, uses_tls
from vidpipe.library.embedded.damage import logged_damage
from vidpipe.library.schema import Document
from vidpipe.settings import Settings


class Connection:
    """A client of one MongoDB server and the library's database on it. Close it, or use it as a context manager.

    Attributes:
        client: The pymongo client.
        host: The server as named in messages: hosts and ports, never a password.
        tls: Whether the connection is encrypted.
        is_embedded: Whether it is the embedded server.
        database: The library's database.
    """

    def __init__(self, client: MongoClient[Document], settings: Settings, host: str, *, tls: bool = False) -> None:
        self.client = client
        self.host = host
        self.tls = tls
        self.is_embedded = embedded.is_embedded(settings)
        self._settings = settings
        self.database: Database[Document] = client[settings.mongodb.database_name]

    def collection(self, name: str) -> Collection[Document]:
        """Return a collection: `videos` has the name [MongoDB] CollectionName, the others have it as prefix."""
        prefix = self._settings.mongodb.collection_name
        return self.database[prefix if name == "videos" else f"{prefix}_{name}"]

    @contextlib.contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn pymongo's errors inside the block into VidpipeErrors that name the server and say what to do."""
        try:
            yield
        except PyMongoError as error:
            if self.is_embedded and isinstance(error, ConnectionFailure):
                lasting = embedded.full_disk(self._settings) or logged_damage(embedded.files_of(self._settings))
                if lasting is not None:
                    raise lasting from error
            raise explain(error, self.host, embedded=self.is_embedded, tls=self.tls) from error

    def ensure_server(self) -> None:
        """Restart the embedded server if it died, and ping the server. The client itself stays usable.

        Raises:
            UnavailableError: The server does not respond within [MongoDB] Timeout, or came back on another port.
        """
        if self.is_embedded:
            server = embedded.start(self._settings)
            if f"127.0.0.1:{server.port}" != self.host:
                raise UnavailableError(
                    f"The embedded MongoDB server restarted at 127.0.0.1:{server.port}: {self.host} is in use.",
                    "Re-run the command.",
                )
        with self.errors_explained():
            self.client.admin.command("ping")

    def close(self) -> None:
        """Close the client; an embedded server keeps running for others."""
        self.client.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(settings: Settings, *, may_be_new: bool = False) -> Connection:
    """Return a connection that has been verified; an empty URI selects the embedded server, started if necessary.

    Args:
        settings: Section [MongoDB] and the home.
        may_be_new: Accept an empty library although the media store holds videos.

    Raises:
        SettingsError: The URI cannot be used. Never quotes the password.
        UnavailableError: The server cannot be reached, rejects the login or cannot be started. Never quotes the
            password.
    """
    uri = settings.mongodb.uri.get_secret_value().strip() or embedded.start(settings, may_be_new=may_be_new).uri
    options = client_options(uri, settings)
    try:
        client: MongoClient[Document] = MongoClient(uri, **options)
    except (ConfigurationError, InvalidName, ValueError, TypeError, OSError) as error:
        raise unusable_uri(uri, error) from None  # the cause may quote parts of a password
    connection = Connection(client, settings, host_of(uri), tls=uses_tls(uri, options))
    try:
        time_limit = pymongo.timeout(settings.mongodb.timeout_s) if is_cluster(uri) else contextlib.nullcontext()
        with connection.errors_explained(), time_limit:
            # A read from the library's own database: a ping succeeds without any privilege on it.
            connection.collection("meta").find_one({}, {"_id": 1})
    except BaseException:
        connection.close()
        raise
    return connection
