"""The connection to MongoDB: to the embedded server, or to the one that [MongoDB] URI names.

The options that [MongoDB] and its URI ask for (timeouts, write concern, TLS files) are checked before use.
"""

import contextlib
import re
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pymongo
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConfigurationError, ConnectionFailure, InvalidName, PyMongoError
from pymongo.uri_parser import parse_uri

from vidpipe.errors import SettingsError, UnavailableError
from vidpipe.library import embedded, server_clock
from vidpipe.library.connection_errors import explain
from vidpipe.library.mongod_files import logged_damage
from vidpipe.library.schema import Document
from vidpipe.settings import Settings

#: A server silent for this long in the middle of a response is given up; full scans of large libraries take seconds.
SOCKET_TIMEOUT_S = 120.0
#: A replica set with default settings elects a new primary about 12 s after it lost one.
ELECTION_MS = 30_000
#: Longest wait for a majority of a replica set to acknowledge a write.
WRITE_CONCERN_TIMEOUT_MS = 30_000
_FALSE = ("false", "0", "no")


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

    def __enter__(self) -> "Connection":
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
            server_clock.synchronize(client)
    except BaseException:
        connection.close()
        raise
    return connection


def client_options(uri: str, settings: Settings) -> dict[str, Any]:
    """Return the options of the client; an option in the URI overrides ours.

    Raises:
        SettingsError: An option of the URI or a TLS file cannot be used.
    """
    given = uri_options(uri)
    _check_options(uri, given)
    host = host_of(uri)
    timeout_ms = int(settings.mongodb.timeout_s * 1000)
    options: dict[str, Any] = {
        # Once open, each operation waits for the end of an election; opening does not wait that long.
        "serverSelectionTimeoutMS": max(timeout_ms, ELECTION_MS) if is_cluster(uri) else timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "waitQueueTimeoutMS": timeout_ms,
        "socketTimeoutMS": int(max(SOCKET_TIMEOUT_S, settings.mongodb.timeout_s) * 1000),
        "appname": "vidpipe",
        "maxPoolSize": settings.mongodb.max_pool_size,
        # Cosmos DB rejects the retryable writes that every other server accepts.
        "retryWrites": not is_cosmos_host(host),
        **_tls_options(settings, given),
    }
    if settings.mongodb.uri.get_secret_value().strip() and not is_cosmos_host(host):
        # A write that a majority has acknowledged survives the loss of the primary.
        options |= {"w": "majority", "wTimeoutMS": WRITE_CONCERN_TIMEOUT_MS}
    if not re.search(r"(127\.0\.0\.1|localhost|\[?::1)", host):
        options["compressors"] = "zlib"
    ours = {name: value for name, value in options.items() if name.lower() not in given}
    return {**ours, "tz_aware": True, "tzinfo": UTC}


def host_of(uri: str) -> str:
    """Return hosts and ports of a MongoDB URI without user, password and options; no name is resolved."""
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


def is_cosmos_host(host: str) -> bool:
    """Return whether a host name belongs to Azure Cosmos DB."""
    return ".cosmos.azure.com" in host or ".documents.azure.com" in host


def is_cluster(uri: str) -> bool:
    """Return whether the URI names a replica set or several servers."""
    return uri.startswith("mongodb+srv://") or "," in host_of(uri) or "replicaset" in uri_options(uri)


def uri_options(uri: str) -> dict[str, str]:
    """Return the options in the URI, their names in lower case."""
    return {name.lower(): value for name, value in parse_qsl(uri.partition("?")[2])}


def uses_tls(uri: str, options: Mapping[str, Any]) -> bool:
    """Return whether the connection is encrypted: mongodb+srv is by default.

    Args:
        uri: The server's URI.
        options: The client's options.
    """
    given = uri_options(uri)
    if (tls := given.get("tls", given.get("ssl"))) is not None:
        return tls.lower() not in _FALSE
    return bool(options.get("tls")) or uri.startswith("mongodb+srv://") or any("tls" in name for name in given)


def unusable_uri(uri: str, error: Exception) -> SettingsError:
    """Return the error for a URI that cannot be used.

    pymongo's message is left out, since it may quote parts of a password.
    """
    text = str(error)
    if isinstance(error, OSError) and not isinstance(error, ValueError):
        return SettingsError(
            f"[MongoDB] URI: a TLS file in it cannot be used: {error.strerror or type(error).__name__}.",
            "Check tlsCAFile= and tlsCertificateKeyFile=, or use [MongoDB] TlsCaFile and TlsCertificateKeyFile.",
        )
    if uri.startswith("mongodb+srv://") and re.search("DNS|SRV|resol|nameserver", text):
        return SettingsError(
            f"[MongoDB] URI: {host_of(uri)} cannot be resolved as a mongodb+srv address.",
            "Check its spelling and this machine's DNS, or use a mongodb:// address with host and port.",
        )
    if "escaped" in text or "port" in text.lower() or ("@" in text and text.startswith("Bad database name")):
        return SettingsError(
            "[MongoDB] URI cannot be parsed: its user name or password contains a character that must be escaped, or a "
            "port is not a number.",
            "Write @ as %40, : as %3A, / as %2F, ? as %3F, # as %23 and % as %25 in user name and password.",
        )
    return SettingsError(
        "[MongoDB] URI is not a valid MongoDB address, or two of its options contradict each other.",
        "Expected: mongodb://user:password@host:27017/?option=value.",
    )


def _check_options(uri: str, given: Mapping[str, str]) -> None:
    """Raise SettingsError for an invalid option, which pymongo would only warn about and ignore."""
    for name, value in given.items():
        try:
            parse_uri(f"mongodb://host/?{urlencode({name: value})}", validate=True, warn=False)
        except OSError as error:  # a file that it names
            raise unusable_uri(uri, error) from None
        except (ConfigurationError, ValueError, TypeError) as error:
            if not str(error).startswith("Unknown option"):  # of another driver: pymongo warns
                raise SettingsError(
                    f"[MongoDB] URI: invalid value of option {name}.", "Correct or remove it."
                ) from None


def _tls_options(settings: Settings, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the options for [MongoDB] TlsCaFile and TlsCertificateKeyFile; either of them enables TLS."""
    ca_file, key_file = settings.mongodb.tls_ca_file, settings.mongodb.tls_certificate_key_file
    if not ca_file and not key_file:
        return {}
    if given.get("tls", given.get("ssl", "true")).lower() in _FALSE:
        raise SettingsError(
            "[MongoDB] URI says tls=false, but TlsCaFile or TlsCertificateKeyFile is set.", "Remove one of them."
        )
    options: dict[str, Any] = {"tls": True}
    context = ssl.create_default_context()
    if ca_file:
        path = _tls_file("TlsCaFile", settings, ca_file)
        try:
            context.load_verify_locations(path)
        except OSError as error:
            raise _unusable_file("TlsCaFile", path, "contains no certificate in PEM format", error) from None
        options["tlsCAFile"] = str(path)
    if key_file:
        path = _tls_file("TlsCertificateKeyFile", settings, key_file)
        password = given.get("tlscertificatekeyfilepassword", "")
        try:
            context.load_cert_chain(path, password=lambda: password)
        except OSError as error:
            what = "contains no certificate with its private key in PEM format (or the key needs another password)"
            raise _unusable_file("TlsCertificateKeyFile", path, what, error) from None
        options["tlsCertificateKeyFile"] = str(path)
    return options


def _tls_file(key: str, settings: Settings, name: str) -> Path:
    path = settings.resolve(Path(name).expanduser())
    if not path.is_file():
        raise SettingsError(f"[MongoDB] {key}: no file {path}.", "Relative paths start at the home.")
    return path


def _unusable_file(key: str, path: Path, what: str, error: OSError) -> SettingsError:
    message = f"[MongoDB] {key}: {path} {what}: {error.strerror or error}."
    return SettingsError(message, "PEM files start with -----BEGIN.")
