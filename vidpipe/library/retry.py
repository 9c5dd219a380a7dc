"""Repeating database operations: while the server is away, in the background, and inserts that are safe to repeat."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pymongo import InsertOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, PyMongoError
from tenacity import RetryCallState

from vidpipe.errors import DamagedError, UnavailableError
from vidpipe.library.connection import Connection
from vidpipe.library.connection_errors import DUPLICATE_KEY, is_transient
from vidpipe.library.embedded import FullDiskError
from vidpipe.library.schema import Document
from vidpipe.network.retry import RetryPolicy

log = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Runs an operation that may be repeated, as `Library.retry` does.
Retry = Callable[[Callable[[], Any]], Any]

#: Until the server has been away for well over a minute: it restarts, or its replica set elects a primary.
POLICY = RetryPolicy(attempts=None, backoff_s=0.2, max_wait_s=5.0, max_total_s=120.0)


def retry_operation(connection: Connection, operation: Callable[[], Result], policy: RetryPolicy = POLICY) -> Result:
    """Run `operation`, repeating it while the server is away or its replica set elects a primary.

    An embedded server that died is restarted first.

    Args:
        connection: The connection that the operation uses.
        operation: What to do; it must be safe to repeat.
        policy: How long to retry.

    Raises:
        UnavailableError: The server stays away.
        VidpipeError: Any other error of the server, with what to do about it.
    """
    restarting = False

    def attempt() -> Result:
        nonlocal restarting
        if restarting:
            connection.ensure_server()
            restarting = False
        with connection.errors_explained():
            return operation()

    def may_pass(error: BaseException) -> bool:
        if isinstance(error, FullDiskError | DamagedError):
            return False
        return (restarting and isinstance(error, UnavailableError)) or is_transient(error.__cause__)

    def before_sleep(state: RetryCallState) -> None:
        nonlocal restarting
        restarting = True
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning("MongoDB at %s is unavailable, retrying: %s", connection.host, error)

    return policy.retrying(may_pass, before_sleep=before_sleep)(attempt)


@contextlib.contextmanager
def repeating(operation: Callable[[], object], interval_s: float, name: str) -> Iterator[None]:
    """Repeat `operation` in a thread while the block runs, such as renewing a lease; errors of the server are ignored.

    Args:
        operation: What to do.
        interval_s: Seconds between two repetitions.
        name: The thread's name.
    """
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval_s):
            with contextlib.suppress(PyMongoError):
                operation()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)


def insert_once(collection: Collection[Document], documents: Sequence[Document]) -> None:
    """Insert those of `documents` whose `_id` does not exist yet; existing ones stay as they are."""
    if not documents:
        return
    try:
        collection.bulk_write([InsertOne(document) for document in documents], ordered=False)
    except BulkWriteError as error:
        unacknowledged = error.details.get("writeConcernErrors")
        if unacknowledged or any(fault["code"] != DUPLICATE_KEY for fault in error.details["writeErrors"]):
            raise
