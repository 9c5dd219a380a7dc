"""Every store keeps the same promises: objects appear complete and verified or not at all, transfers are resumed."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from vidpipe.errors import UnavailableError
from vidpipe.library.gridfs_store import GRIDFS
from vidpipe.network.fetch_errors import FetchCancelled
from vidpipe.settings import Settings
from vidpipe.storage.object_store import LOCAL, NoSuchObject, Progress, StoreError, media_key
from vidpipe.storage.stores import Stores
from vidpipe.storage.verified_store import PART_BYTES as PART_BYTES_IN_USE
from vidpipe.storage.verified_store import VerifiedStore, fault
from vidpipe_tests.storage.dropbox_server import APP_KEY, APP_SECRET, REFRESH_TOKEN, TOKEN
from vidpipe_tests.storage.servers import AZURE_KEY, StorageServer, azure_access, free_port
from vidpipe_tests.storage.transfer_process import URI_VARIABLE, opened_store

PART_BYTES = 256 << 10  # Google's smallest
SIZES = (0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 12_345)
SERVERS = {
    "s3://films/library": "s3_storage",
    "gs://films/library": "gcs_storage",
    "az://films/library": "azure_storage",
    "dropbox://films/library": "dropbox_storage",
}
#: Their emulators take seconds.
SLOW = ("gs://films/library", "az://films/library")
QUICK = (LOCAL, GRIDFS, "s3://films/library", "dropbox://films/library")
EVERY_STORE = [*QUICK, *(pytest.param(url, marks=pytest.mark.soak) for url in SLOW)]
RESUMED = ("s3://films/library", "dropbox://films/library")


@dataclass
class Room:
    """A store, and a folder for files."""

    store: VerifiedStore
    settings: Settings
    folder: Path
    server: StorageServer | None

    def file(self, size: int, seed: int = 0) -> tuple[str, Path, str]:
        """Return the key, path and hash of a new file."""
        data = random.Random(f"{seed} {size}").randbytes(size)
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.folder / sha256
        path.write_bytes(data)
        return media_key(sha256, ".mp4"), path, sha256

    def put(self, size: int, seed: int = 0) -> tuple[str, Path, str]:
        key, path, sha256 = self.file(size, seed)
        self.store.put(key, path, sha256, Progress())
        return key, path, sha256

    def process(self, action: str, key: str, path: Path, sha256: str, kill_at: int = 0) -> list[int]:
        """Transfer in a process that may kill itself; return the bytes that it reported."""
        mongodb = self.settings.mongodb
        environment = {**os.environ, URI_VARIABLE: f"{mongodb.uri.get_secret_value()} {mongodb.database_name}"}
        command = [sys.executable, "-m", "vidpipe_tests.storage.transfer_process", action, str(self.settings.home)]
        command += [self.store.url, key, str(path), sha256, str(PART_BYTES), str(kill_at)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert (ended.returncode == -9) is bool(kill_at), ended.stderr[-2000:]
        return [int(line) for line in ended.stdout.split()]


@pytest.fixture
def room(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Room]:
    """The store that a test names, emptied afterwards."""
    url = request.param
    server = request.getfixturevalue(SERVERS[url]) if url in SERVERS else None
    if server is not None:
        server.use(monkeypatch)
    with opened_store(settings, url, PART_BYTES) as store:
        yield Room(store, settings, tmp_path, server)
        for stored in list(store.objects()):
            store.delete(stored.key)


#: Starting processes takes seconds.
KILLED = [
    "s3://films/library",
    *(pytest.param(url, marks=pytest.mark.soak) for url in (*QUICK, *SLOW) if url[:2] != "s3"),
]

killed = pytest.mark.parametrize("room", KILLED, indirect=True)
every_store = pytest.mark.parametrize("room", EVERY_STORE, indirect=True)


@pytest.mark.parametrize("room", SLOW, indirect=True)
def test_a_file_goes_to_the_emulators_and_comes_back(room: Room) -> None:
    key, path, sha256 = room.put(SIZES[-1])
    assert room.store.get(key, room.folder / "back", Progress()) == sha256
    assert (room.folder / "back").read_bytes() == path.read_bytes()


@every_store
@pytest.mark.parametrize("size", SIZES)
def test_what_was_put_is_found_read_listed_and_deleted(room: Room, size: int) -> None:
    store, (key, path, sha256) = room.store, room.put(size)
    found, data = store.stat(key), path.read_bytes()
    assert found is not None
    assert (found.key, found.size_bytes) == (key, size)
    assert found.sha256 in ("", sha256)
    assert found.modified_at is not None
    assert abs(found.modified_at - datetime.now(UTC)) < timedelta(hours=1)
    back = room.folder / "back"
    seen: list[tuple[int, int]] = []
    assert store.get(key, back, Progress(lambda done, total: seen.append((done, total)))) == sha256
    assert back.read_bytes() == data
    assert seen[-1:] == ([(size, size)] if size else [])
    assert store.read(key, 0, 10) == data[:10]
    assert store.read(key, max(size - 5, 0), 100) == data[-5:]
    assert store.read(key, size, 10) == b""
    store.put(key, path, sha256, Progress())  # nothing happens
    assert [(stored.key, stored.size_bytes) for stored in store.objects()] == [(key, size)]
    store.delete(key)
    store.delete(key)
    assert store.stat(key) is None
    assert list(store.objects()) == []


@every_store
def test_objects_are_listed_by_prefix(room: Room) -> None:
    keys = sorted(room.put(10 + seed, seed)[0] for seed in range(5))
    assert sorted(stored.key for stored in room.store.objects()) == keys
    assert [stored.key for stored in room.store.objects(keys[2][:30])] == [keys[2]]
    assert list(room.store.objects("packs/")) == []


@every_store
def test_bytes_with_another_hash_are_refused(room: Room) -> None:
    _, path, _ = room.file(2 * PART_BYTES + 7)
    other = hashlib.sha256(b"other").hexdigest()
    key = media_key(other, ".mp4")
    with pytest.raises(StoreError, match="was not stored: its bytes do not have the hash") as refused:
        room.store.put(key, path, other, Progress())
    assert refused.value.kind == "permanent"
    assert room.store.stat(key) is None
    assert list(room.store.objects()) == []
    with pytest.raises(StoreError, match="There is no file"):
        room.store.put(key, room.folder / "absent", other, Progress())


@every_store
def test_a_missing_object_is_named(room: Room) -> None:
    key = media_key("0" * 64, ".mp4")
    assert room.store.stat(key) is None
    with pytest.raises(NoSuchObject, match=key):
        room.store.get(key, room.folder / "back", Progress())
    with pytest.raises(NoSuchObject, match=key):
        room.store.read(key, 0, 1)


@every_store
def test_a_transfer_is_stopped_and_goes_on_later(room: Room) -> None:
    key, path, sha256 = room.file(SIZES[-1])
    stopped = Progress()
    stopped = Progress(lambda done, total: stopped.cancelled.set())
    with pytest.raises(FetchCancelled):
        room.store.put(key, path, sha256, stopped)
    assert room.store.stat(key) is None
    room.store.put(key, path, sha256, Progress())
    back = room.folder / "back"
    stopped.cancelled.clear()
    with pytest.raises(FetchCancelled):
        room.store.get(key, back, stopped)
    assert back.stat().st_size == PART_BYTES
    assert room.store.get(key, back, Progress()) == sha256
    back.write_bytes(bytes(SIZES[-1] + 5))  # longer than the object: its bytes are not those of it
    assert room.store.get(key, back, Progress()) != sha256


@killed
def test_a_killed_upload_shows_nothing_and_goes_on_later(room: Room) -> None:
    key, path, sha256 = room.file(SIZES[-1])
    room.process("put", key, path, sha256, kill_at=2 * PART_BYTES)
    assert room.store.stat(key) is None
    assert list(room.store.objects()) == []
    before = _uploaded(room)
    room.process("put", key, path, sha256)
    assert room.store.get(key, room.folder / "back", Progress()) == sha256
    if room.store.url in RESUMED:
        assert _uploaded(room) - before == 2  # of four parts


def _uploaded(room: Room) -> int:
    """Return how many parts with bytes the server received."""
    if room.store.url.startswith("s3"):
        return sum(method == "PUT" and "partNumber" in query for method, _, query, _ in room.server.server.requests)  # type: ignore[union-attr]
    if room.store.url.startswith("dropbox"):
        return sum(room.server.server.received_parts)  # type: ignore[union-attr]
    return 0


@killed
def test_a_killed_download_goes_on_where_it_ended(room: Room) -> None:
    key, _, sha256 = room.put(SIZES[-1])
    back = room.folder / "back"
    seen = room.process("get", key, back, sha256, kill_at=2 * PART_BYTES)
    assert seen[-1] == 2 * PART_BYTES
    kept = back.stat().st_size
    assert 0 < kept < SIZES[-1]
    room.process("get", key, back, sha256)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == sha256


@every_store
def test_two_uploads_of_the_same_file_both_succeed(room: Room) -> None:
    key, path, sha256 = room.file(SIZES[-1])
    begin = threading.Barrier(3)

    def put() -> None:
        begin.wait(10)
        room.store.put(key, path, sha256, Progress())

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(put) for _ in range(3)]:
            done.result(timeout=120)
    assert room.store.get(key, room.folder / "back", Progress()) == sha256
    assert [stored.key for stored in room.store.objects()] == [key]


@every_store
def test_a_damaged_object_is_replaced(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    key, path, sha256 = room.file(SIZES[-1])
    with monkeypatch.context() as patch:
        patch.setattr(VerifiedStore, "_holds", lambda self, key, file, sha256: self.stat(key) is not None)
        for cls in type(room.store).__mro__:
            if "_holds" in vars(cls) and cls is not VerifiedStore:
                patch.setattr(cls, "_holds", VerifiedStore._holds)
        damaged = room.folder / "damaged"
        damaged.write_bytes(b"damaged")
        room.store.put(key, damaged, hashlib.sha256(b"damaged").hexdigest(), Progress())
    room.store.put(key, path, sha256, Progress())
    assert room.store.get(key, room.folder / "back", Progress()) == sha256
    assert [stored.size_bytes for stored in room.store.objects()] == [SIZES[-1]]


MISSING = ["s3://absent/x", pytest.param("gs://absent/x", marks=pytest.mark.soak)]
MISSING.append(pytest.param("az://absent/x", marks=pytest.mark.soak))


@pytest.mark.parametrize("url", MISSING)
def test_a_missing_bucket_is_an_error(
    url: str, request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request.getfixturevalue(SERVERS[url.replace("absent/x", "films/library")]).use(monkeypatch)
    store, key = Stores(settings).of(url), media_key("0" * 64, ".mp4")
    (tmp_path / "file").write_bytes(b"x")
    for operation in (
        lambda: store.stat(key),
        lambda: store.put(key, tmp_path / "file", hashlib.sha256(b"x").hexdigest(), Progress()),
        lambda: store.get(key, tmp_path / "back", Progress()),
        lambda: store.delete(key),
        lambda: list(store.objects()),
    ):
        with pytest.raises(StoreError, match="there is no such bucket") as error:
            operation()
        assert (error.value.kind, error.value.hint) == ("permanent", "Create it, or correct [Storage] Media.")


def unreachable(port: int) -> dict[str, dict[str, str]]:
    url = f"http://127.0.0.1:{port}"
    return {
        "s3://films/x": {"AWS_ENDPOINT_URL_S3": url},
        "gs://films/x": {"STORAGE_EMULATOR_HOST": url},
        "az://films/x": {"AZURE_STORAGE_CONNECTION_STRING": azure_access(f"{url}/devstoreaccount1")},
    }


@pytest.mark.parametrize(
    "url", ["s3://films/x", *(pytest.param(url, marks=pytest.mark.soak) for url in unreachable(0) if url[:2] != "s3")]
)
def test_a_server_that_does_not_answer_may_answer_later(
    url: str, request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue(SERVERS[url.replace("films/x", "films/library")])
    server.use(monkeypatch, **unreachable(free_port())[url])
    settings = settings.model_copy(update={"download": settings.download.model_copy(update={"retries": 0})})
    with pytest.raises(StoreError, match="the storage is not available") as error:
        Stores(settings).of(url).stat(media_key("0" * 64, ".mp4"))
    assert error.value.transient


SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0"  # noqa: S105 - made up


WRONG = [
    ("dropbox://films/x", {"DROPBOX_ACCESS_TOKEN": SECRET}),
    ("az://films/x", {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=x;AccountKey={SECRET};unusable"}),
    ("az://films/x", {"AZURE_STORAGE_CONNECTION_STRING": ""}),  # the right form, with another key
]


@pytest.mark.parametrize(("url", "variables"), WRONG)
def test_wrong_credentials_are_a_lasting_error_that_does_not_quote_them(
    url: str,
    variables: dict[str, str],
    request: pytest.FixtureRequest,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = request.getfixturevalue(SERVERS[url.replace("films/x", "films/library")])
    server.use(monkeypatch, **{name: value or azure_access(server.url, SECRET) for name, value in variables.items()})
    with pytest.raises(StoreError, match="access is denied") as error:
        Stores(settings).of(url).stat(media_key("0" * 64, ".mp4"))
    assert error.value.kind == "permanent"
    assert error.value.hint.startswith("Check ")
    assert not any(secret in str(error.getrepr()) for secret in (SECRET, AZURE_KEY, TOKEN))


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (403, "AccessDenied", 401),
        (403, "SignatureDoesNotMatch", 401),
        (400, "ExpiredToken", 401),
        (404, "NoSuchBucket", 404),
        (404, "NoSuchUpload", 409),
        (503, "SlowDown", 503),
        (400, "InvalidRequest", 400),
    ],
)
def test_errors_of_s3_are_told_apart(status: int, code: str, means: int) -> None:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert fault(ClientError(response, "HeadObject")) == (means, code)


def test_a_full_disk_is_reported(
    dropbox_storage: StorageServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropbox_storage.use(monkeypatch)
    with opened_store(settings, "dropbox://films", PART_BYTES) as store:
        key, _, _ = Room(store, settings, tmp_path, dropbox_storage).put(PART_BYTES)
        with pytest.raises(StoreError, match="/dev/full cannot be written: ") as error:
            store.get(key, Path("/dev/full"), Progress())
        store.delete(key)
    assert error.value.kind == "permanent"


def test_dropbox_renews_its_token(
    dropbox_storage: StorageServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropbox_storage.use(
        monkeypatch, DROPBOX_REFRESH_TOKEN=REFRESH_TOKEN, DROPBOX_APP_KEY=APP_KEY, DROPBOX_APP_SECRET=APP_SECRET
    )
    monkeypatch.delenv("DROPBOX_ACCESS_TOKEN")
    with opened_store(settings, "dropbox://films", PART_BYTES) as store:
        room = Room(store, settings, tmp_path, dropbox_storage)
        key, path, sha256 = room.file(10)
        room.process("put", key, path, sha256)
    assert "/oauth2/token" in dropbox_storage.server.calls
    assert dropbox_storage.server.files.pop(f"/films/{key}") == path.read_bytes()


def test_dropbox_without_a_token_says_what_to_set(
    dropbox_storage: StorageServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropbox_storage.use(monkeypatch)
    monkeypatch.delenv("DROPBOX_ACCESS_TOKEN")
    with pytest.raises(StoreError, match="access is denied") as error:
        Stores(settings).of("dropbox://films")
    assert "DROPBOX_REFRESH_TOKEN" in error.value.hint


@pytest.mark.parametrize(
    ("url", "module"), [("gs://films", "gcsfs"), ("az://films", "adlfs"), ("dropbox://x", "dropbox")]
)
def test_a_missing_package_is_named(url: str, module: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=f"needs {module}, which is not installed") as error:
        Stores(settings).of(url)
    assert error.value.hint == "Install it: pip install 'vidpipe[cloud]'."


def test_parts_of_an_upload_to_s3_are_used_only_with_the_right_bytes(
    s3_storage: StorageServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_storage.use(monkeypatch)
    with opened_store(settings, "s3://films/library", PART_BYTES) as store:
        room = Room(store, settings, tmp_path, s3_storage)
        key, path, sha256 = room.file(SIZES[-1])
        at = {"Bucket": "films", "Key": f"library/{key}"}
        client = store._client  # type: ignore[attr-defined]
        upload = client.create_multipart_upload(**at)["UploadId"]
        client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x" * PART_BYTES)
        store.put(key, path, sha256, Progress())
        assert store.get(key, tmp_path / "back", Progress()) == sha256
        client.create_multipart_upload(**at)
        store.delete(key)
        assert "Uploads" not in client.list_multipart_uploads(Bucket="films", Prefix=at["Key"])
    assert PART_BYTES_IN_USE >= 5 << 20  # S3's minimum
