"""Media in GridFS lie in collections of their own beside the library's, in the real mongod."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId

from vidpipe.library.library import Library
from vidpipe.library.schema import COLLECTIONS
from vidpipe.settings import Settings
from vidpipe.storage.object_store import Progress, StoreError, media_key
from vidpipe_tests.library.sample_library import GRAPH

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = media_key(SHA256, ".mp4")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(CONTENT)
    return path


def test_the_library_has_the_store_under_its_own_prefix(settings: Settings, file: Path, tmp_path: Path) -> None:
    with Library.open(settings, GRAPH) as library:
        store = library.stores.of("gridfs")
        assert store is library.stores.of("gridfs")
        store.put(KEY, file, SHA256, Progress())
        prefix = settings.mongodb.collection_name
        names = {name for name in library.connection.database.list_collection_names() if "media" in name}
        assert names == {f"{prefix}_media.files", f"{prefix}_media.chunks"}
        assert not names & {f"{prefix}_{name}" for name in COLLECTIONS}  # backups copy media as files
        assert store.get(KEY, tmp_path / "back", Progress()) == SHA256
        assert [stored.sha256 for stored in store.objects("media/")] == [SHA256]


def test_what_killed_uploads_left_behind_is_deleted(settings: Settings, file: Path) -> None:
    with Library.open(settings, GRAPH) as library:
        store = library.stores.of("gridfs")
        chunks = library.connection.database[f"{settings.mongodb.collection_name}_media.chunks"]
        now = datetime.now(UTC)
        other = media_key("0" * 64, ".mp4")
        abandoned, running, of_other = (
            f"{key}#{ObjectId.from_datetime(now - age)}"
            for key, age in ((KEY, timedelta(days=2)), (KEY, timedelta(hours=1)), (other, timedelta(days=2)))
        )
        chunks.insert_many([{"files_id": name, "n": 0, "data": b"x"} for name in (abandoned, running, of_other)])
        store.put(KEY, file, SHA256, Progress())
        assert set(chunks.distinct("files_id")) >= {running, of_other}
        assert abandoned not in chunks.distinct("files_id")
        store.delete(KEY)
        assert chunks.distinct("files_id") == [of_other]


def test_a_file_without_all_its_parts_is_an_error(settings: Settings, file: Path, tmp_path: Path) -> None:
    with Library.open(settings, GRAPH) as library:
        store = library.stores.of("gridfs")
        store.put(KEY, file, SHA256, Progress())
        library.connection.database[f"{settings.mongodb.collection_name}_media.chunks"].delete_one({"n": 1})
        with pytest.raises(StoreError, match=r"gridfs: .*CorruptGridFile") as error:
            store.get(KEY, tmp_path / "back", Progress())
        assert error.value.kind == "transient"
