"""Uploads by tus: they resume after a cut, are bounded, and become videos only if they are some."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from vidpipe.library.library import Library
from vidpipe.operations.retention import PruneReport
from vidpipe.operations.retention.home_tasks import delete_downloads
from vidpipe.settings import Settings
from vidpipe.stages.registry import build_graph
from vidpipe.web.app import create_app
from vidpipe.web.home import WebHome
from vidpipe_tests import clips

UPLOADS = "/api/v1/uploads"
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
def client(module_settings: Settings) -> Iterator[TestClient]:
    page = module_settings.library_page.model_copy(update={"max_upload_mb": 2, "upload_quota_mb": 3})
    home = WebHome(lambda: module_settings.model_copy(update={"library_page": page}))
    Library.open(module_settings, build_graph(module_settings)).close()
    yield TestClient(create_app(home), base_url="http://127.0.0.1:8000", client=("127.0.0.1", 5000))
    home.close()


@pytest.fixture(autouse=True)
def _no_uploads_left(client: TestClient, module_settings: Settings) -> Iterator[None]:
    yield
    for folder in module_settings.uploads_directory.glob("*"):
        client.delete(f"{UPLOADS}/{folder.name}", headers=TUS)


def begin(client: TestClient, length: int, name: str = "clip.mp4") -> Any:
    metadata = f"filetype dmlkZW8vbXA0,filename {b64encode(name.encode()).decode()}"
    return client.post(UPLOADS, headers={**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata})


def send(client: TestClient, address: str, offset: int, body: bytes) -> Any:
    headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    return client.patch(address, headers=headers, content=body)


def test_an_upload_that_was_cut_off_resumes_at_its_offset(
    client: TestClient, module_settings: Settings, tmp_path: Path
) -> None:
    data = clips.moving(tmp_path / "clip.mp4", seconds=1.0).read_bytes()
    begun = begin(client, len(data))
    address = begun.headers["Location"]
    assert begun.status_code == 201
    assert begun.headers["Tus-Resumable"] == "1.0.0"
    assert send(client, address, 0, data[:1000]).headers["Upload-Offset"] == "1000"

    assert send(client, address, 500, data[500:]).status_code == 409, "bytes at another offset would corrupt the file"
    where = client.head(address, headers=TUS)
    assert (where.headers["Upload-Offset"], where.headers["Upload-Length"]) == ("1000", str(len(data)))
    assert client.post("/api/v1/sources", json={"uploads": [address.rpartition("/")[2]]}).status_code == 409

    assert send(client, address, 1000, data[1000:]).headers["Upload-Offset"] == str(len(data))
    (stored,) = module_settings.uploads_directory.glob("*/clip.mp4")
    assert stored.read_bytes() == data


def test_a_file_that_is_no_video_is_refused_and_deleted(client: TestClient, module_settings: Settings) -> None:
    page = b"<html><script>alert(1)</script></html>"
    address = begin(client, len(page), "holiday.mp4").headers["Location"]
    refused = send(client, address, 0, page)
    assert refused.status_code == 415
    assert refused.json()["detail"] == "holiday.mp4 is an HTML page, not a video."
    assert client.head(address, headers=TUS).status_code == 404
    assert list(module_settings.uploads_directory.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\a.mp4", "a.mp4"),
        (".upload.json", "upload.json"),
        ("a\x00b\u202e.mp4", "ab.mp4"),
        ("", "upload"),
        ("ü" * 300 + ".mp4", "ü" * 75 + ".mp4"),
    ],
)
def test_names_cannot_leave_the_folder(client: TestClient, module_settings: Settings, given: str, kept: str) -> None:
    begin(client, 10, given)
    (folder,) = module_settings.uploads_directory.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted([".upload.json", kept])


def test_size_and_unfinished_uploads_are_limited(client: TestClient) -> None:
    assert begin(client, 2_000_001).status_code == 413
    first = begin(client, 2_000_000).headers["Location"]
    assert begin(client, 1_500_000).status_code == 413, "together they exceed UploadQuotaMB"
    assert send(client, first, 0, b"\0" * 2_000_001).status_code == 413, "longer than it said"
    assert client.delete(first, headers=TUS).status_code == 204
    assert begin(client, 1_500_000).status_code == 201


def test_the_protocol_is_stated_and_required(client: TestClient) -> None:
    offered = client.options(UPLOADS).headers
    assert (offered["Tus-Version"], offered["Tus-Extension"]) == ("1.0.0", "creation,termination")
    assert offered["Tus-Max-Size"] == "2000000"
    refused = client.post(UPLOADS, headers={"Upload-Length": "5"})
    assert refused.status_code == 412
    assert refused.headers["Tus-Version"] == "1.0.0"
    assert begin(client, 0).status_code == 422


def test_abandoned_uploads_are_deleted(client: TestClient, module_settings: Settings) -> None:
    begin(client, 10, "old.mp4"), begin(client, 10, "new.mp4")
    (old,) = module_settings.uploads_directory.glob("*/old.mp4")
    long_ago = time.time() - 8 * 86400
    for path in (old, old.with_name(".upload.json")):
        os.utime(path, (long_ago, long_ago))
    report = PruneReport("downloads")
    delete_downloads(module_settings, report, False)
    assert report.count == 1
    assert [path.name for path in module_settings.uploads_directory.glob("*/*.mp4")] == ["new.mp4"]
