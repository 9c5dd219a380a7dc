"""Storage services on loopback: S3 (moto), Google Cloud Storage and Azure Blob (emulators), Dropbox (our own).

Each gives the environment with which the provider's own library finds it; a test sets it with `use`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moto.s3.models
import pytest

from vidpipe_tests.conftest import AZURITE_VARIABLE
from vidpipe_tests.library.certificates import Authority
from vidpipe_tests.sources.s3_server import KEY_ID, SECRET, S3Server
from vidpipe_tests.storage.dropbox_server import TOKEN, DropboxServer

#: Account and key that are built into Azurite, as its documentation publishes them.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_CREDENTIALS = ("AWS_", "AZURE_", "GOOGLE_", "GCLOUD_", "GCSFS_", "STORAGE_EMULATOR_", "DROPBOX_")


@dataclass(frozen=True)
class StorageServer:
    """A running service.

    url: its address; variables: the environment of a user who may use it; server: what runs in this process
    """

    url: str
    variables: Mapping[str, str]
    server: Any = None

    def use(self, monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
        """Set the environment, and nothing of the user's own; `others`: variables to set instead."""
        for name in [name for name in os.environ if name.startswith(_CREDENTIALS)]:
            monkeypatch.delenv(name)
        for name, value in {**self.variables, **others}.items():
            monkeypatch.setenv(name, value)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def s3_service(folder: Path) -> Iterator[StorageServer]:
    """S3 with the bucket `films`."""
    moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 256  # instead of the 5 MiB of the real one, so that files can be small
    with S3Server() as server:
        server.put("films", {})
        variables = {
            "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": server.url,
            "AWS_CONFIG_FILE": str(folder / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_DEFAULT_REGION": "us-east-1",
        }  # fmt: skip
        yield StorageServer(server.url, variables, server)


@contextlib.contextmanager
def gcs_service() -> Iterator[StorageServer]:
    """Google Cloud Storage (gcp-storage-emulator) with the bucket `films`; it checks no credentials."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="gcp-storage-emulator is not installed")
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="films")
    server.start()
    try:
        url = f"http://127.0.0.1:{port}"
        yield StorageServer(url, {"STORAGE_EMULATOR_HOST": url, "GOOGLE_CLOUD_PROJECT": "test"})
    finally:
        server.stop()


@contextlib.contextmanager
def dropbox_service(folder: Path) -> Iterator[StorageServer]:
    """A stand-in for Dropbox, over TLS; its SDK takes the names of the hosts from the environment."""
    client = pytest.importorskip("dropbox.dropbox_client", reason="the Dropbox SDK is not installed")
    authority = Authority(folder, "authority")
    with DropboxServer() as server, pytest.MonkeyPatch.context() as patch:
        server.encrypt(authority.certificate("server"))
        host = f"localhost:{server.port}"
        for name in ("API_HOST", "API_CONTENT_HOST"):  # the SDK has read the environment when it was imported
            patch.setattr(client, name, host)
        variables = {"DROPBOX_API_HOST": host, "DROPBOX_API_CONTENT_HOST": host, "DROPBOX_ACCESS_TOKEN": TOKEN}
        yield StorageServer(f"https://{host}", {**variables, "REQUESTS_CA_BUNDLE": str(authority.file)}, server)


def azurite_command(*, install: bool) -> list[str]:
    """Return the command of Azurite, installed with npm if that is allowed; the test is skipped without it."""
    cache = Path.home() / ".cache" / "vidpipe-tests" / "azurite"
    installed = cache / "node_modules" / ".bin" / "azurite-blob"
    named = os.environ.get(AZURITE_VARIABLE)
    if named or installed.is_file() or shutil.which("azurite-blob"):
        return [named or (str(installed) if installed.is_file() else "azurite-blob")]
    if install and shutil.which("npm"):
        subprocess.run(["npm", "install", "--silent", "--prefix", str(cache), "azurite"], check=False, timeout=300)
        if installed.is_file():
            return [str(installed)]
    pytest.skip(f"Azurite is not installed; name its azurite-blob in {AZURITE_VARIABLE}, or run the soak tests")


@contextlib.contextmanager
def azure_service(folder: Path, *, install: bool = False) -> Iterator[StorageServer]:
    """Azure Blob Storage (Azurite) with the container `films`."""
    blob = pytest.importorskip("azure.storage.blob", reason="azure-storage-blob is not installed")
    port = free_port()
    command = [*azurite_command(install=install), "--blobPort", str(port), "--silent"]
    command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, process)
        url = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
        access = azure_access(url)
        with blob.BlobServiceClient.from_connection_string(access) as client:
            client.create_container("films")
        yield StorageServer(url, {"AZURE_STORAGE_CONNECTION_STRING": access})
    finally:
        process.terminate()
        process.wait(timeout=20)


def azure_access(url: str, key: str = AZURE_KEY) -> str:
    """Return a connection string."""
    return f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={key};BlobEndpoint={url};"


def _wait_for(port: int, process: subprocess.Popen[Any], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            # its output is not needed from now on, and must not fill the pipe
            threading.Thread(target=_drain, args=(process,), daemon=True).start()
            return
        time.sleep(0.1)
    output = process.communicate(timeout=10)[0] if process.poll() is not None else b"(no answer)"
    pytest.fail(f"Azurite did not start: {output.decode(errors='replace')[-500:]}")


def _drain(process: subprocess.Popen[Any]) -> None:
    if process.stdout is not None:
        for _ in process.stdout:
            pass
