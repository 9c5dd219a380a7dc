"""pymongo's errors as sentences: which server, what it said, what to do."""

from __future__ import annotations

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

from vidpipe.errors import SettingsError, UnavailableError, VidpipeError
from vidpipe.library.tls import disagreement

#: Codes of MongoDB's error_codes.yml; 8000 is Atlas's own.
_AUTHENTICATION_FAILED = {11, 18, 8000}
_UNAUTHORIZED = 13
_OUT_OF_DISK = 14031
_TOO_MANY_REQUESTS = 16500
_NOT_CONFIRMED = 64
_DUPLICATE_KEY = 11000
#: A member that is no longer the primary, ends or was away; cursors and operations that ended with it; a write that is
#: not confirmed yet; too many requests at once.
_PASSING = {
    6, 7, 43, 46, _NOT_CONFIRMED, 89, 91, 133, 134, 175, 189, 237, 262, 290, 9001, 10107, 11600, 11602, 13435, 13436,
    _TOO_MANY_REQUESTS,
}  # fmt: skip


#: Kinds of failure of which the kind says all.
_PLAIN: tuple[tuple[type[PyMongoError], str, str], ...] = (
    (WaitQueueTimeoutError, "answers too slowly: every connection is in use", "Lower [Concurrency] MaxWorkers."),
    (NotPrimaryError, "takes no writes just now: its replica set is choosing a primary", "Try again in a minute."),
    (NetworkTimeout, "was silent for too long", "Try again; look at the server's load if it lasts."),
)


def passes(error: BaseException | None) -> bool:
    """Whether the same operation may succeed in a while: the server is away, its replica set chooses a primary, or not
    enough members have confirmed a write yet."""
    if isinstance(error, ConnectionFailure):
        return True
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {fault.get("code") for kind in ("writeErrors", "writeConcernErrors") for fault in details.get(kind, ())}
        return bool(codes & _PASSING) and codes <= _PASSING | {_DUPLICATE_KEY}
    if isinstance(error, OperationFailure):
        return error.code in _PASSING or error.has_error_label("RetryableWriteError")
    return False


def explain(error: PyMongoError, host: str, *, embedded: bool, tls: bool = False) -> VidpipeError:
    """An UnavailableError (for a bad option or name a SettingsError) that names `host` and says what to do.

    tls: whether the connection was to be encrypted
    """
    server = "The embedded MongoDB server" if embedded else f"The MongoDB server {host}"
    for kind, what, hint in _PLAIN:
        if isinstance(error, kind):
            return UnavailableError(f"{server} {what}.", hint)
    if isinstance(error, ConfigurationError | InvalidName):
        return SettingsError(f"{server} cannot be used as configured: {error}", "Check section [MongoDB].")
    if isinstance(error, ConnectionFailure):
        what = "cannot be reached" if isinstance(error, ServerSelectionTimeoutError) else "broke the connection off"
        return _unreachable(str(error), server, what, embedded=embedded, tls=tls)
    if isinstance(error, OperationFailure):
        return _refused(error, server, embedded=embedded)
    return UnavailableError(f"{server} failed: {error}", "Run `vidpipe doctor`.")


def _unreachable(text: str, server: str, what: str, *, embedded: bool, tls: bool) -> VidpipeError:
    low = text.lower()
    said = _first_reason(text)
    if "certificate" in low or "[ssl" in low or "ssl handshake" in low or "tlsv1" in low:
        return disagreement(server, text, said)
    if embedded:
        return UnavailableError(
            f"{server} {what}: {said}.",
            "Run the command again: it starts the server anew. Its log is data/logs/mongod.log in the home.",
        )
    if "name or service not known" in low or "nodename" in low or "name resolution" in low or "getaddrinfo" in low:
        hint = "The host name is not known: check its spelling in [MongoDB] URI and this machine's DNS."
    elif "refused" in low:
        hint = "Nothing listens there: start the server, or check host and port in [MongoDB] URI."
    elif "no replica set members" in low or "no primary" in low or "replicasetnoprimary" in low:
        hint = "Its replica set has no primary, or is named otherwise than replicaSet= in [MongoDB] URI says."
    elif "connection closed" in low or "reset by peer" in low:
        hint = (
            "It closes the connection: perhaps it wants a certificate of vidpipe ([MongoDB] TlsCertificateKeyFile)."
            if tls
            else "It closes the connection: perhaps it wants TLS (tls=true in [MongoDB] URI, and TlsCaFile)."
        )
    else:
        hint = "Check network, firewall and the server's list of allowed addresses (Atlas: Network Access)."
    return UnavailableError(f"{server} {what}: {said}.", hint)


def _refused(  # noqa: PLR0911 - one return a kind of refusal
    error: OperationFailure, server: str, *, embedded: bool
) -> VidpipeError:
    code, said = error.code, _server_words(error)
    if embedded and code in _AUTHENTICATION_FAILED:
        return UnavailableError(
            f"{server} refuses the key in data/mongo: it was changed while the server ran.",
            "Run `vidpipe down`, then the command again.",
        )
    if code in _AUTHENTICATION_FAILED or (code is None and "auth" in str(error).lower()):
        return UnavailableError(
            f"{server} refuses the login: user or password is wrong.",
            "Check user, password and authSource in [MongoDB] URI (VIDPIPE_MONGODB_URI or config.local.ini).",
        )
    if code == _UNAUTHORIZED:
        return UnavailableError(
            f"{server} does not allow this user to do that: {said}.",
            "Give the user the role readWrite on the database that [MongoDB] DatabaseName names, or put user and "
            "password into [MongoDB] URI.",
        )
    if code == _OUT_OF_DISK or "no space left" in said.lower():
        return UnavailableError(f"{server} has no disk space left: {said}.", "Free some space on its disk.")
    if code == _NOT_CONFIRMED:
        return UnavailableError(
            f"{server} took a write, but not enough members of its replica set confirmed it in time.",
            "Look at the members of the replica set: a majority has to be up to date.",
        )
    if code in _PASSING and code != _TOO_MANY_REQUESTS:
        _, what, hint = _PLAIN[1]
        return UnavailableError(f"{server} {what} ({said}).", hint)
    if code == _TOO_MANY_REQUESTS:
        return UnavailableError(f"{server} is asked too much at once.", "Lower MaxWorkers, or raise its throughput.")
    return UnavailableError(f"{server} refused an operation: {said}.", "Run `vidpipe doctor`.")


def _first_reason(text: str) -> str:
    """The first node's reason, without the dump of the topology that pymongo appends."""
    reason = (
        text.split(", Timeout:", maxsplit=1)[0]
        .split(" (configured timeouts:", maxsplit=1)[0]
        .split(",<", maxsplit=1)[0]
    )
    return " ".join(reason.split()).rstrip(".")[:300]


def _server_words(error: OperationFailure) -> str:
    details = error.details or {}
    if isinstance(error, BulkWriteError):
        errors = details.get("writeErrors") or details.get("writeConcernErrors") or [{}]
        return str(errors[0].get("errmsg", error)).rstrip(".")[:300]
    return str(details.get("errmsg", error)).rstrip(".")[:300]
