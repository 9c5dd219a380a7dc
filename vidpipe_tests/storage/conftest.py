"""Storage services on loopback, started once per process when a test needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vidpipe_tests.storage.servers import StorageServer, azure_service, dropbox_service, gcs_service, s3_service


@pytest.fixture(scope="session")
def s3_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """S3 with the bucket `films`."""
    with s3_service(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def dropbox_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageServer]:
    """A stand-in for Dropbox."""
    with dropbox_service(tmp_path_factory.mktemp("dropbox")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs_storage() -> Iterator[StorageServer]:
    """Google Cloud Storage with the bucket `films`."""
    with gcs_service() as server:
        yield server


@pytest.fixture(scope="session")
def azure_storage(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[StorageServer]:
    """Azure Blob Storage with the container `films`; installed with npm only in soak runs."""
    soak = "not soak" not in (request.config.getoption("-m") or "")
    with azure_service(tmp_path_factory.mktemp("azurite"), install=soak) as server:
        yield server
