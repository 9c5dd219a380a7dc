"""gs:// and az:// objects are sources like any other, tried with emulators on loopback (see `storage/servers.py`).

Dropbox has no emulator: a small server speaks the few routes of its API that are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adlfs
import gcsfs.core
import pytest

from vidpipe.sources.fetchers.registry import Fetchers
from vidpipe.sources.urls import SourceUrl
from vidpipe_tests.sources.conftest import IngestHome, sha256_of
from vidpipe_tests.storage.servers import azure_service, dropbox_service, gcs_service

NAMES = ["a b ü+.mp4", "deep/er/b.mp4"]


class Bucket:
    """The bucket `films` of a service, seen from outside."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        if scheme == "gs":
            self._files: Any = gcsfs.core.GCSFileSystem(project="test", token="anon", use_listings_cache=False)  # noqa: S106
        else:
            self._files = adlfs.AzureBlobFileSystem(use_listings_cache=False)

    def put(self, name: str, content: bytes) -> None:
        self._files.pipe_file(f"films/{name}", content)

    def url(self, path: str = "") -> str:
        return f"{self.scheme}://films/{path}"


@pytest.fixture(params=["gs", pytest.param("az", marks=pytest.mark.soak)])
def bucket(  # noqa: PLR0917
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: IngestHome,
    clip: bytes,
    other_clip: bytes,
) -> Iterator[Bucket]:
    with gcs_service() if request.param == "gs" else azure_service(tmp_path) as service:
        service.use(monkeypatch, NO_GCE_CHECK="true")
        room.with_download(allowed_private=("127.0.0.1",))
        for kind in (gcsfs.core.GCSFileSystem, adlfs.AzureBlobFileSystem):
            kind.clear_instance_cache()  # of the services of other tests
        made = Bucket(request.param)
        made.put(NAMES[0], clip)
        made.put(NAMES[1], other_clip)
        made.put("notes.txt", b"x")
        yield made


def test_a_folder_gives_its_videos_and_each_only_once(
    room: IngestHome, bucket: Bucket, clip: bytes, other_clip: bytes
) -> None:
    outcomes = room.add(bucket.url(), settings=room.settings)
    assert {one.video: one.error for one in outcomes} == {sha256_of(clip): None, sha256_of(other_clip): None}
    versions = {
        one.url: one.version for one in Fetchers(room.settings).of(bucket.url()).listing(SourceUrl(bucket.url()))
    }
    assert all(versions[record.url] == record.etag for record in room.sources.records.values())
    assert {one.state for one in room.add(bucket.url(), settings=room.settings, refresh=True)} == {"unchanged"}
    bucket.put(NAMES[1], clip)
    (changed,) = room.add(bucket.url(NAMES[1]), refresh=True)
    assert (changed.video, changed.state) == (sha256_of(clip), "already stored")


@pytest.mark.soak
def test_missing_and_forbidden(room: IngestHome, bucket: Bucket) -> None:
    missing = room.add_one(bucket.url("none.mp4"))
    assert "no such file" in str(missing.error), missing.error
    room.with_download(allowed_private=())
    (listing,) = room.add(bucket.url(), settings=room.settings)
    for error in (listing.error, room.add_one(bucket.url(NAMES[0])).error):
        assert "loopback address" in str(error)


def test_dropbox(
    room: IngestHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip: bytes, other_clip: bytes
) -> None:
    with dropbox_service(tmp_path) as service:
        service.use(monkeypatch)
        room.with_download(allowed_private=("localhost",))
        service.server.files.update({"/films/A day.mp4": clip, "/films/b.mp4": other_clip, "/films/notes.txt": b"x"})
        outcomes = room.add("dropbox://films/", settings=room.settings)
        assert {one.video: one.error for one in outcomes} == {sha256_of(clip): None, sha256_of(other_clip): None}
        assert room.add_one("dropbox://films/A day.mp4", refresh=True).state == "unchanged"
        assert "no such file" in str(room.add_one("dropbox://films/none.mp4").error)
        room.with_download(allowed_private=())
        assert "loopback address" in str(room.add_one("dropbox://films/other.mp4").error)
    for name in service.variables:
        monkeypatch.delenv(name)
    unset = room.add_one("dropbox://films/other.mp4", retry=True)
    assert "DROPBOX_ACCESS_TOKEN is not set" in str(unset.error)
