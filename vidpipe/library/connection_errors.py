"""pymongo's errors as sentences: which server, what it reported, what to do."""

import re
from collections.abc import Mapping

from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    InvalidName,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from vidpipe.errors import LoginRejectedError, SettingsError, UnavailableError, VidpipeError

#: Codes of MongoDB's error_codes.yml; 8000 is Atlas's own.
DUPLICATE_KEY = 11000
_AUTHENTICATION_FAILED = {11, 18, 8000}
_UNAUTHORIZED = 13
_OUT_OF_DISK = 14031
_TOO_MANY_REQUESTS = 16500
_WRITE_CONCERN_FAILED = 64
#: A member that is no longer primary, shuts down or was unreachable; cursors and operations that ended with it; a write
#: that is not yet acknowledged; too many requests at once.
_TRANSIENT = {
    6, 7, 43, 46, _WRITE_CONCERN_FAILED, 89, 91, 133, 134, 175, 189, 237, 262, 290, 9001, 10107, 11600, 11602, 13435,
    13436, _TOO_MANY_REQUESTS,
}  # fmt: skip

#: Code of an operation that the server refused -> what it reported, and what to do.
_REFUSALS: Mapping[int | None, tuple[str, str]] = {
    _UNAUTHORIZED: (
        "does not authorize this user: {said}",
        "Grant the user the role readWrite on the database in [MongoDB] DatabaseName, or add user and password to "
        "[MongoDB] URI.",
    ),
    _OUT_OF_DISK: ("has no disk space left: {said}", "Free space on its disk."),
    _WRITE_CONCERN_FAILED: (
        "accepted a write, but not enough members of its replica set acknowledged it in time",
        "Check the members of the replica set: a majority must be up to date.",
    ),
    _TOO_MANY_REQUESTS: ("is rate limiting us", "Lower MaxWorkers, or raise its throughput."),
}
_NO_PRIMARY = ("accepts no writes at the moment: its replica set is electing a primary", "Retry in a minute.")
#: Errors whose type says everything.
_BY_TYPE: tuple[tuple[type[PyMongoError], tuple[str, str]], ...] = (
    (WaitQueueTimeoutError, ("responds too slowly: all connections are in use", "Lower [Concurrency] MaxWorkers.")),
    (NotPrimaryError, _NO_PRIMARY),
    (NetworkTimeout, ("timed out", "Retry; check the server's load if it persists.")),
)
#: What is in the text of a failed connection -> what to do.
_UNREACHABLE = (
    (
        r"name or service not known|nodename|name resolution|getaddrinfo",
        "The host name is not known: check its spelling in [MongoDB] URI and this machine's DNS.",
    ),
    (r"refused", "Nothing listens on that port: start the server, or check host and port in [MongoDB] URI."),
    (
        r"no replica set members|no primary|replicasetnoprimary",
        "Its replica set has no primary, or its name differs from replicaSet= in [MongoDB] URI.",
    ),
)
#: What OpenSSL reports -> what it means, and what to do.
_TLS_REASONS = (
    (
        r"mismatch|not valid for",
        "its certificate was issued for another name ({said})",
        "Use a name in [MongoDB] URI that is in the certificate, or have the name added to the certificate.",
    ),
    (r"certificate has expired", "its certificate has expired", "Have it renewed; check this machine's clock, too."),
    (r"not yet valid", "its certificate is not valid yet", "Check this machine's clock."),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is signed by an unknown authority ({said})",
        "Set [MongoDB] TlsCaFile to the authority's certificate.",
    ),
    (
        r"alert (certificate required|handshake failure|bad certificate|unknown ca|unsupported certificate)",
        "it requires a client certificate, or rejects vidpipe's ({said})",
        "Set [MongoDB] TlsCertificateKeyFile to a certificate with its key that the server accepts.",
    ),
    (
        r"WRONG_VERSION_NUMBER|UNEXPECTED_EOF|record layer|HTTP_REQUEST|WRONG_SSL",
        "it does not speak TLS on this port",
        "Remove tls=true from [MongoDB] URI and leave TlsCaFile empty, or use the port that speaks TLS.",
    ),
)


def is_transient(error: BaseException | None) -> bool:
    """Return whether the same operation may succeed in a while.

    The server is away, its replica set elects a primary, or not enough members have acknowledged a write yet.
    """
    if isinstance(error, ConnectionFailure):
        return True
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {fault.get("code") for kind in ("writeErrors", "writeConcernErrors") for fault in details.get(kind, ())}
        return bool(codes & _TRANSIENT) and codes <= _TRANSIENT | {DUPLICATE_KEY}
    if isinstance(error, OperationFailure):
        return error.code in _TRANSIENT or error.has_error_label("RetryableWriteError")
    return False


def explain(error: PyMongoError, host: str, *, embedded: bool, tls: bool = False) -> VidpipeError:
    """Return the VidpipeError that names the server and says what to do.

    Args:
        error: pymongo's error.
        host: The server's hosts and ports.
        embedded: Whether it is the embedded server.
        tls: Whether the connection was to be encrypted.
    """
    server = "The embedded MongoDB server" if embedded else f"The MongoDB server {host}"
    for kind, (what, hint) in _BY_TYPE:
        if isinstance(error, kind):
            return UnavailableError(f"{server} {what}.", hint)
    if isinstance(error, ConfigurationError | InvalidName):
        return SettingsError(f"{server} cannot be used as configured: {error}", "Check section [MongoDB].")
    if isinstance(error, ConnectionFailure):
        what = "cannot be reached" if isinstance(error, ServerSelectionTimeoutError) else "closed the connection"
        return _unreachable(str(error), server, what, embedded=embedded, tls=tls)
    if isinstance(error, OperationFailure):
        rejected = error.code == _UNAUTHORIZED or _is_login(error)
        return (LoginRejectedError if rejected else UnavailableError)(*_refused(error, server, embedded=embedded))
    return UnavailableError(f"{server} failed: {error}", "Run `vidpipe doctor`.")


def _unreachable(text: str, server: str, what: str, *, embedded: bool, tls: bool) -> UnavailableError:
    low = text.lower()
    said = _first_reason(text)
    if re.search(r"certificate|\[ssl|ssl handshake|tlsv1", low):
        return _tls_failure(server, text, said)
    if embedded:
        hint = "Re-run the command: it restarts the server. Its log is data/logs/mongod.log in the home."
    elif "connection closed" in low or "reset by peer" in low:
        wants = "a client certificate" if tls else "TLS"
        option = "[MongoDB] TlsCertificateKeyFile" if tls else "tls=true in [MongoDB] URI, and TlsCaFile"
        hint = f"It closes the connection: perhaps it requires {wants} ({option})."
    else:
        otherwise = "Check network, firewall and the server's list of allowed addresses (Atlas: Network Access)."
        hint = next((hint for pattern, hint in _UNREACHABLE if re.search(pattern, low)), otherwise)
    return UnavailableError(f"{server} {what}: {said}.", hint)


def _tls_failure(server: str, text: str, said: str) -> UnavailableError:
    """Return why the handshake failed.

    Args:
        server: The server, as the subject of a sentence.
        text: pymongo's whole message.
        said: Its first reason.
    """
    inner = re.search(r"certificate verify failed: ([^(]+)", text)
    words = (inner[1] if inner else said).strip().rstrip(".")
    for pattern, meaning, hint in _TLS_REASONS:
        if re.search(pattern, text, re.IGNORECASE):
            return UnavailableError(f"TLS handshake with {server} failed: {meaning.format(said=words)}.", hint)
    return UnavailableError(
        f"TLS handshake with {server} failed: {said}.",
        "Check tls= in [MongoDB] URI, TlsCaFile and this machine's clock; for a server without TLS: tls=false.",
    )


def _is_login(error: OperationFailure) -> bool:
    """Return whether the server refused not the operation but the login."""
    return error.code in _AUTHENTICATION_FAILED or (error.code is None and "auth" in str(error).lower())


def _refused(error: OperationFailure, server: str, *, embedded: bool) -> tuple[str, str]:
    """Return (message, hint) for an operation that the server refused."""
    code, said = error.code, _server_message(error)
    if embedded and _is_login(error):
        what = "rejects the key in data/mongo: it was changed while the server ran"
        hint = "Run `vidpipe down`, then re-run the command."
    elif _is_login(error):
        what = "rejects the login: wrong user or password"
        hint = "Check user, password and authSource in [MongoDB] URI (VIDPIPE_MONGODB_URI or config.local.ini)."
    elif code != _UNAUTHORIZED and "no space left" in said.lower():
        what, hint = _REFUSALS[_OUT_OF_DISK]
    elif code in _TRANSIENT and code not in _REFUSALS:
        what, hint = f"{_NO_PRIMARY[0]} ({{said}})", _NO_PRIMARY[1]
    else:
        what, hint = _REFUSALS.get(code, ("refused an operation: {said}", "Run `vidpipe doctor`."))
    return f"{server} {what.format(said=said)}.", hint


def _first_reason(text: str) -> str:
    """Return the first node's reason, without the dump of the topology that pymongo appends."""
    reason = re.split(r", Timeout:| \(configured timeouts:|,<", text, maxsplit=1)[0]
    return " ".join(reason.split()).rstrip(".")[:300]


def _server_message(error: OperationFailure) -> str:
    details = error.details or {}
    if isinstance(error, BulkWriteError):
        details = (details.get("writeErrors") or details.get("writeConcernErrors") or [{}])[0]
    return str(details.get("errmsg", error)).rstrip(".")[:300]
