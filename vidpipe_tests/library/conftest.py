"""The sample library, a folder for its backups, and another home to restore them into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from vidpipe.library.library import Library
from vidpipe.settings import Settings, init_home
from vidpipe.settings.schema import MongoDB
from vidpipe_tests.library.sample_library import GRAPH, fill


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    """The sample library, through all stages."""
    with Library.open(settings, GRAPH) as library:
        fill(library)
        yield library


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    """A folder for them."""
    return tmp_path / "backups"


@pytest.fixture
def target(settings: Settings, tmp_path: Path, mongod_uri: str) -> Iterator[Settings]:
    """Another home, and a database with other names."""
    name = settings.mongodb.database_name + "_new"
    home = init_home(tmp_path / "other-home").home
    yield Settings(home=home, mongodb=MongoDB(uri=SecretStr(mongod_uri), database_name=name, collection_name="clips"))
    with MongoClient[dict[str, Any]](mongod_uri) as client:
        client.drop_database(name)
