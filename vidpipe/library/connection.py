"""The connection to MongoDB: the embedded server or the one that [MongoDB] URI names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pymongo
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidName,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library import embedded, tls
from vidpipe.library.connection_errors import explain
from vidpipe.library.embedded_damage import logged_damage
from vidpipe.settings import Settings

Document = dict[str, Any]

#: A server silent for this long in the middle of an answer is given up; full scans of large libraries take seconds.
SOCKET_TIMEOUT_S = 120.0
#: A replica set as it is set up by default has a new primary about 12 s after it lost one.
ELECTION_MS = 30_000
#: Longest wait for a majority of a replica set to confirm a write.
CONFIRMED_MS = 30_000


class Connection:
    """A client of one MongoDB server and the library's database on it. Close it, or use it as a context manager.

    host:        the server as it is named in messages: hosts and ports, never a password
    tls:         whether it is encrypted
    is_embedded: whether it is the embedded server
    """

    def __init__(self, client: MongoClient[Document], settings: Settings, host: str, *, tls: bool = False) -> None:
        self.client = client
        self.host = host
        self.tls = tls
        self.is_embedded = embedded.is_embedded(settings)
        self._settings = settings
        self.database: Database[Document] = client[settings.mongodb.database_name]

    def collection(self, name: str) -> Collection[Document]:
        """The collection `name`: `videos` is called as [MongoDB] CollectionName says, the others have it as prefix."""
        prefix = self._settings.mongodb.collection_name
        return self.database[prefix if name == "videos" else f"{prefix}_{name}"]

    @contextlib.contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turns pymongo's errors inside the block into VidpipeErrors that name the server and say what to do."""
        try:
            yield
        except PyMongoError as error:
            if self.is_embedded and isinstance(error, ConnectionFailure):
                lasting = embedded.full_disk(self._settings) or logged_damage(embedded.files_of(self._settings))
                if lasting is not None:
                    raise lasting from error
            raise explain(error, self.host, embedded=self.is_embedded, tls=self.tls) from error

    def ensure_server(self) -> None:
        """After a lost connection: starts the embedded server again if it died, and asks the server for an answer.

        The client itself stays usable: the embedded server comes back on its old port, or UnavailableError is
        raised (also where the server does not answer within [MongoDB] Timeout).
        """
        if self.is_embedded:
            server = embedded.start(self._settings)
            if f"127.0.0.1:{server.port}" != self.host:
                raise UnavailableError(
                    f"The embedded MongoDB server came back at 127.0.0.1:{server.port}: {self.host} is taken.",
                    "Run the command again.",
                )
        with self.errors_explained():
            self.client.admin.command("ping")

    def close(self) -> None:
        """Closes the client; an embedded server goes on running for others."""
        self.client.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(settings: Settings, *, may_be_new: bool = False) -> Connection:
    """A connection that has been answered; an empty URI means the embedded server, started if need be.

    may_be_new: accept an empty library although the media store holds videos
    Raises SettingsError for a URI that cannot be used, UnavailableError where the server cannot be reached, refuses
    the login or cannot be started. Neither holds the password.
    """
    uri = settings.mongodb.uri.get_secret_value().strip() or embedded.start(settings, may_be_new=may_be_new).uri
    _check_options(uri)
    host = host_of(uri)
    options = _options(uri, settings)
    try:
        client: MongoClient[Document] = MongoClient(uri, **options)
    except (ConfigurationError, InvalidName, ValueError, TypeError, OSError) as error:
        raise _unusable(uri, error) from None  # the cause may quote parts of a password
    connection = Connection(client, settings, host, tls=tls.in_use(options, uri, _given_options(uri)))
    try:
        patience = pymongo.timeout(settings.mongodb.timeout_s) if _is_cluster(uri) else contextlib.nullcontext()
        with connection.errors_explained(), patience:
            # A look at the library's own database: a ping succeeds without any right to it.
            connection.collection("meta").find_one({}, {"_id": 1})
    except BaseException:
        connection.close()
        raise
    return connection


def host_of(uri: str) -> str:
    """Hosts and ports of a MongoDB address, without user, password and options; no name is looked up."""
    if uri.startswith("mongodb+srv://"):
        with contextlib.suppress(ValueError):
            parts = urlsplit(uri)
            if "@" in parts.netloc or "@" not in uri:
                return parts.hostname or "[MongoDB] URI"
        return "[MongoDB] URI"
    with contextlib.suppress(PyMongoError, ValueError):
        nodes = parse_uri(uri, validate=False)["nodelist"]
        return ",".join(host if port is None else f"{host}:{port}" for host, port in nodes)
    return "[MongoDB] URI"


def _options(uri: str, settings: Settings) -> dict[str, Any]:
    """What is set for the client where the URI does not say otherwise."""
    timeout_ms = int(settings.mongodb.timeout_s * 1000)
    given = _given_options(uri)
    cosmos = is_cosmos_host(host_of(uri))
    options: dict[str, Any] = {
        # Once it is open, each operation waits for the end of an election; opening it does not wait so long.
        "serverSelectionTimeoutMS": max(timeout_ms, ELECTION_MS) if _is_cluster(uri) else timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "waitQueueTimeoutMS": timeout_ms,
        "socketTimeoutMS": int(max(SOCKET_TIMEOUT_S, settings.mongodb.timeout_s) * 1000),
        "appname": "vidpipe",
        "maxPoolSize": settings.mongodb.max_pool_size,
        # Cosmos DB refuses the retryable writes that every other server takes.
        "retryWrites": not cosmos,
        **tls.options(settings, given),
    }
    if not (cosmos or embedded.is_embedded(settings)):
        # What a majority has confirmed survives the loss of the primary.
        options |= {"w": "majority", "wTimeoutMS": CONFIRMED_MS}
    if not re.search(r"(127\.0\.0\.1|localhost|\[?::1)", host_of(uri)):
        options["compressors"] = "zlib"
    kept = {name: value for name, value in options.items() if name.lower() not in given}
    return {**kept, "tz_aware": True, "tzinfo": UTC}


def _is_cluster(uri: str) -> bool:
    """Whether the address names a replica set or several servers."""
    return uri.startswith("mongodb+srv://") or "," in host_of(uri) or "replicaset" in _given_options(uri)


def _given_options(uri: str) -> dict[str, str]:
    """The options that stand in the URI, their names in small letters."""
    return {name.lower(): value for name, value in parse_qsl(uri.partition("?")[2])}


def _check_options(uri: str) -> None:
    """Raises SettingsError for a wrong option value, which pymongo would only warn of and leave out."""
    for name, value in _given_options(uri).items():
        try:
            parse_uri(f"mongodb://host/?{urlencode({name: value})}", validate=True, warn=False)
        except OSError as error:  # a file that it names
            raise _unusable(uri, error) from None
        except (ConfigurationError, ValueError, TypeError) as error:
            if not str(error).startswith("Unknown option"):  # of another driver: pymongo warns
                raise SettingsError(
                    f"[MongoDB] URI: the value of its option {name} is not allowed.", "Correct it or leave it out."
                ) from None


def _unusable(uri: str, error: Exception) -> SettingsError:
    """The URI cannot be used. pymongo's own words are left out, since they may quote parts of a password."""
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return SettingsError(
            f"[MongoDB] URI: a TLS file that it names cannot be used: {error.strerror or type(error).__name__}.",
            "Check tlsCAFile= and tlsCertificateKeyFile=, or use [MongoDB] TlsCaFile and TlsCertificateKeyFile.",
        )
    if uri.startswith("mongodb+srv://") and ("DNS" in text or "SRV" in text or "resol" in text or "nameserver" in text):
        return SettingsError(
            f"[MongoDB] URI: the name {host_of(uri)} is not known as a mongodb+srv address.",
            "Check its spelling and this machine's DNS, or use a mongodb:// address with host and port.",
        )
    if "escaped" in text or "port" in text.lower() or ("@" in text and text.startswith("Bad database name")):
        return SettingsError(
            "[MongoDB] URI cannot be read: a user name or password in it holds a character that must be escaped, or a "
            "port is not a number.",
            "Write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25 in user name and password.",
        )
    return SettingsError(
        "[MongoDB] URI is not a valid MongoDB address, or two of its options contradict each other.",
        "Its form is mongodb://user:password@host:27017/?option=value.",
    )


def is_cosmos_host(host: str) -> bool:
    return ".cosmos.azure.com" in host or ".documents.azure.com" in host
