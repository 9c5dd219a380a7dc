"""Lists in MongoDB, in a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from bson import ObjectId
from pymongo import MongoClient

from vidpipe.library.mongo_list import read_collection
from vidpipe.settings import Settings
from vidpipe.sources.inputs import Gathered, gather
from vidpipe.sources.source_data import Segment

A, B = "https://h.example/a.mp4", "https://h.example/b.mp4"


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """The address of a collection `clips`; it contains the key: never print it."""
    uri = settings.mongodb.uri.get_secret_value()
    with MongoClient[dict[str, object]](uri) as client:
        name = settings.mongodb.database_name
        client[name]["clips"].insert_many(
            [
                {"Video URL": A, "labels": ["run"], "start": 1.5, "end": 4, "ok": True, "big": "x" * 1000},
                {"video_url": A, "labels": "jump|fall", "start": "0:00:10", "ok": True, "License": "CC0"},
                {"url": B, "title": "Second", "priority": 3, "ok": True, "nested": {"url": 1}},
                {"url": {"nested": True}, "ok": True},
                {"url": "https://h.example/no.mp4", "ok": False, "id": ObjectId()},
            ]
        )
        base, _, options = uri.partition("?")
        yield f"{base.rstrip('/')}/{name}?{options}{'&' if options else ''}collection=clips"


def gathered(given: str, settings: Settings, limit: int | None = None) -> Gathered:
    return gather([given], settings=settings, read_database=read_collection, limit=limit)


def test_documents_become_sources(address: str, settings: Settings) -> None:
    found = gathered(f"{address}&query=" + quote('{"ok": true}'), settings)
    first, second = found.requests
    assert (first.url.reveal(), second.url.reveal(), second.title, second.priority) == (A, B, "Second", 3)
    assert first.segments == (
        Segment(start_s=1.5, end_s=4, labels=("run",)), Segment(start_s=10, labels=("jump", "fall")),
    )  # fmt: skip
    (problem,) = found.problems
    assert re.search(r"clips on .*, line 4: the column url is neither a text nor a number", str(problem.error))


def test_a_query_without_encoding_and_a_limit(address: str, settings: Settings) -> None:
    found = gathered(address + '&query={"ok":false}', settings)
    assert [one.url.reveal() for one in found.requests] == ["https://h.example/no.mp4"]
    assert len(gathered(address, settings, limit=3).requests) == 2


@pytest.mark.parametrize(
    "wrong",
    ["&query={", "&query=[1]", '&query={"$nope":1}', '&query={"ok":"other"}', "&authMechanism=NONE", "&tlsCAFile=/no"],
)
def test_what_is_wrong_is_said_without_the_password(address: str, settings: Settings, wrong: str) -> None:
    (problem,) = gathered(address + wrong, settings).problems
    password = re.search(r"://[^:]*:([^@]+)@", address)
    assert password is None or password[1] not in repr(problem)
    assert problem.input == "mongodb://…"
    assert "clips" in str(problem.error)


@pytest.mark.parametrize(
    "given",
    [
        "mongodb://me:hunter2@127.0.0.1:9/db?collection=clips", "mongodb://me:hun/ter2@127.0.0.1:9/db?collection=clips",
        "mongodb://me:hun?ter2@127.0.0.1:9/db?collection=clips", "mongodb://me:hunter2@127.0.0.1:9/?collection=clips",
        "mongodb://me:hunter2@127.0.0.1:9/db", "mongodb+srv://me:hunter2@no.invalid/db?collection=clips",
        "mongodb://me:hun@ter2@127.0.0.1:9/db?collection=a$b",
    ],
)  # fmt: skip
def test_a_server_that_is_not_there(given: str, settings: Settings) -> None:
    quick = settings.model_copy(update={"mongodb": settings.mongodb.model_copy(update={"timeout_s": 0.2})})
    (problem,) = gathered(given, quick).problems
    assert "cannot be read" in str(problem.error)
    assert "hun" not in repr(problem)
    assert "ter2" not in repr(problem)


def test_a_list_does_not_name_a_database(tmp_path: Path, settings: Settings) -> None:
    listed = tmp_path / "v.txt"
    listed.write_text("mongodb://127.0.0.1:9/db?collection=clips\n")
    (problem,) = gathered(str(listed), settings).problems
    assert "mongodb:// is not supported" in str(problem.error)
    (problem,) = gather(["mongodb://me:hunter2@127.0.0.1:9/db?collection=clips"]).problems
    assert "not supported" in str(problem.error)
    assert "hunter2" not in repr(problem)
