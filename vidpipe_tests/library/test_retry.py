"""Operations survive a short outage of the server, are not repeated for other errors, and end within the time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure, PyMongoError

from vidpipe.errors import UnavailableError
from vidpipe.library.connection import Connection, connect
from vidpipe.library.retry import insert_once, retry_operation
from vidpipe.network.retry import RetryPolicy
from vidpipe.settings import Settings

POLICY = RetryPolicy(attempts=None, backoff_s=0.01, max_wait_s=0.02, max_total_s=0.3)


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    with connect(settings) as opened:
        yield opened


class Failing:
    """An operation that raises the given errors, one per call, and then succeeds."""

    def __init__(self, *errors: PyMongoError) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_an_operation_is_repeated_until_the_server_is_back(connection: Connection) -> None:
    operation = Failing(AutoReconnect("closed"), NotPrimaryError("stepped down"), OperationFailure("later", 91))
    assert retry_operation(connection, operation, POLICY) == "done"
    assert operation.calls == 4


def test_other_errors_are_raised_at_once(connection: Connection) -> None:
    operation = Failing(OperationFailure("nope", 13))
    with pytest.raises(UnavailableError, match="does not authorize"):
        retry_operation(connection, operation, POLICY)
    assert operation.calls == 1


def test_a_server_that_stays_away_is_given_up_with_an_error_that_names_it(connection: Connection) -> None:
    operation = Failing(*[AutoReconnect("closed")] * 10_000)
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=connection.host):
        retry_operation(connection, operation, POLICY)
    assert operation.calls > 1
    assert time.monotonic() - began < 10


def test_documents_are_inserted_once(connection: Connection) -> None:
    collection = connection.collection("answers")
    insert_once(collection, [{"_id": 1, "text": "first"}])
    insert_once(collection, [{"_id": 1, "text": "second"}, {"_id": 2, "text": "other"}])
    assert [row["text"] for row in collection.find().sort("_id", 1)] == ["first", "other"]
