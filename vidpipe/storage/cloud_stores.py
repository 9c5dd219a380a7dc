"""The stores of cloud providers: S3 through boto3, Google Cloud Storage and Azure Blob through fsspec, and Dropbox.

Uploads to S3 and Dropbox are resumed where an earlier one ended. Those to Google and Azure begin again, since their
fsspec file systems cannot resume them.
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC
from importlib import import_module
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError
from vidpipe.network.s3_client import s3_client
from vidpipe.network.session import authorities
from vidpipe.settings import Settings
from vidpipe.storage.object_store import Progress, StoredObject, StoreError
from vidpipe.storage.verified_store import PART_BYTES, VerifiedStore, or_none

_DROPBOX_HASHED_BYTES = 4 << 20


class CloudStore(VerifiedStore):
    """A folder of a bucket.

    Args:
        url: As in [Storage] Media.
        settings: Those in force.
        part_bytes: Bytes of one request.

    Raises:
        UnavailableError: A package is not installed.
        StoreError: The credentials in the environment are not usable.
    """

    def __init__(self, url: str, settings: Settings, part_bytes: int = PART_BYTES) -> None:
        self.url, self.part_bytes = url, part_bytes
        self.bucket, _, folder = url.partition("://")[2].partition("/")
        self.prefix = f"{folder}/" if folder else ""
        try:
            with self._explained():
                self._connect(settings)
        except ImportError as error:
            raise UnavailableError.without_package(f"{url} needs", error) from None

    def _connect(self, settings: Settings) -> None:
        """Create the client."""


class S3Store(CloudStore):
    """S3 and services that speak its API. Parts of an interrupted upload are used if they have the file's MD5."""

    access = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and AWS_ENDPOINT_URL_S3"

    def _connect(self, settings: Settings) -> None:
        self._client, _ = s3_client(settings.download)

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def _find(self, key: str) -> StoredObject | None:
        if head := or_none(lambda: self._client.head_object(**self._at(key))):
            return StoredObject(key, head["ContentLength"], head["Metadata"].get("sha256", ""), head["LastModified"])
        self._client.head_bucket(Bucket=self.bucket)
        return None

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        client, at, stated, parts = self._client, self._at(key), {"Metadata": {"sha256": sha256}}, []
        if file.stat().st_size <= self.part_bytes:
            for data in self._blocks(file, sha256, progress):
                client.put_object(**at, **stated, Body=data, ContentMD5=_base64(_md5(data)))
            return
        at["UploadId"] = next(self._uploads(key), "") or client.create_multipart_upload(**at, **stated)["UploadId"]
        pages = client.get_paginator("list_parts").paginate(**at)
        present = {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())}
        for number, data in enumerate(self._blocks(file, sha256, progress), 1):
            digest, tag = _md5(data), present.get(number, "")
            if tag.strip('"') != digest.hex():
                part = {"PartNumber": number, "Body": data, "ContentMD5": _base64(digest)}
                tag = client.upload_part(**at, **part)["ETag"]
            parts.append({"PartNumber": number, "ETag": tag})
        client.complete_multipart_upload(**at, MultipartUpload={"Parts": parts})

    def _uploads(self, key: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + key):
            yield from (found["UploadId"] for found in page.get("Uploads", ()) if found["Key"] == self.prefix + key)

    def _range(self, key: str, start: int, length: int) -> bytes:
        found = self._client.get_object(**self._at(key), Range=f"bytes={start}-{start + length - 1}")
        return bytes(found["Body"].read())

    def _delete(self, key: str) -> None:
        self._client.delete_object(**self._at(key))
        for upload in self._uploads(key):
            self._client.abort_multipart_upload(**self._at(key), UploadId=upload)

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self.prefix)
                yield StoredObject(key, item["Size"], modified_at=item["LastModified"])


class BucketStore(CloudStore):
    """Google Cloud Storage or Azure Blob Storage."""

    access = "GOOGLE_APPLICATION_CREDENTIALS (gs://) or AZURE_STORAGE_CONNECTION_STRING (az://)"

    def _connect(self, settings: Settings) -> None:
        # the class that fsspec has for "gs" speaks gRPC with some buckets, which emulators and proxies do not
        module, name = ("gcsfs.core", "GCSFileSystem") if self.url[:3] == "gs:" else ("adlfs", "AzureBlobFileSystem")
        options = {"use_listings_cache": False, "skip_instance_cache": True}
        try:
            self._files = getattr(import_module(module), name)(**options)
        except ValueError:  # quotes the connection string
            raise StoreError(f"{self.url}: access is denied.", f"Check {self.access}.", kind="permanent") from None

    def _path(self, key: str) -> str:
        return f"{self.bucket}/{self.prefix}{key}"

    def _find(self, key: str) -> StoredObject | None:
        if found := or_none(lambda: self._files.info(self._path(key))):
            return self._object(found) if found["type"] == "file" else None
        self._files.info(self.bucket)
        return None

    def _object(self, found: dict[str, Any]) -> StoredObject:
        key, sha256 = found["name"].removeprefix(self._path("")), (found.get("metadata") or {}).get("sha256", "")
        return StoredObject(key, found["size"], sha256, found.get("last_modified") or found.get("mtime"))

    def _holds(self, key: str, file: Path, sha256: str) -> bool:
        if not super()._holds(key, file, sha256):
            return False
        with self._explained(), file.open("rb") as opened:  # Google hashes what it receives
            md5 = self._files.info(self._path(key)).get("md5Hash")
            return md5 in (None, _base64(hashlib.file_digest(opened, "md5").digest()))

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        options = {"block_size": self.part_bytes, "metadata": {"sha256": sha256}}
        target = self._files.open(self._path(key), "wb", **options)
        try:
            for data in self._blocks(file, sha256, progress):
                target.write(data)
            target.close()
        finally:
            target.closed = True  # otherwise the object would be completed with what it has

    def _range(self, key: str, start: int, length: int) -> bytes:
        return bytes(self._files.cat_file(self._path(key), start=start, end=start + length))

    def _delete(self, key: str) -> None:
        if self._find(key):
            or_none(lambda: self._files.rm_file(self._path(key)))

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        self._files.info(self.bucket)
        folder = self._path(prefix.rpartition("/")[0]).rstrip("/")
        found = or_none(lambda: self._files.find(folder, detail=True)) or {}
        yield from (stored for stored in map(self._object, found.values()) if stored.key.startswith(prefix))


class DropboxStore(CloudStore):
    """A Dropbox, or the folder of an app. It keeps its own hash of each file, which is compared."""

    access = "DROPBOX_ACCESS_TOKEN, or DROPBOX_REFRESH_TOKEN, DROPBOX_APP_KEY and DROPBOX_APP_SECRET"

    def _connect(self, settings: Settings) -> None:
        import dropbox

        self._root, self._uploads = f"/{self.url.partition('://')[2]}".rstrip("/"), settings.data_directory / "run"
        names = ("access_token", "refresh_token", "app_key", "app_secret")
        access, refresh, key, secret = (os.environ.get(f"DROPBOX_{name.upper()}") for name in names)
        options = {"timeout": settings.download.read_timeout, "ca_certs": authorities() or None}
        tokens = {"oauth2_refresh_token": refresh, "app_key": key, "app_secret": secret}
        self._client, self._sdk = dropbox.Dropbox(access, **tokens, **options), dropbox.files

    def _metadata(self, key: str) -> Any:
        return or_none(lambda: self._client.files_get_metadata(f"{self._root}/{key}"))

    def _find(self, key: str) -> StoredObject | None:
        found = self._metadata(key)
        return self._object(key, found) if found else None

    def _object(self, key: str, entry: Any) -> StoredObject:
        return StoredObject(key, entry.size, modified_at=entry.server_modified.replace(tzinfo=UTC))

    def _holds(self, key: str, file: Path, sha256: str) -> bool:
        digest = hashlib.sha256()
        with self._explained(), file.open("rb") as opened:
            found = self._metadata(key)
            while block := opened.read(_DROPBOX_HASHED_BYTES):
                digest.update(hashlib.sha256(block).digest())
        return found is not None and found.content_hash == digest.hexdigest()

    def _send(self, key: str, file: Path, sha256: str, progress: Progress) -> None:
        kept = self._uploads / f"dropbox-{hashlib.sha256(f'{self.url} {key} {sha256}'.encode()).hexdigest()}"
        session, size, start = kept.read_text() if kept.is_file() else "", file.stat().st_size, 0
        done = self._received(session, size)
        if not done:
            session, done = self._client.files_upload_session_start(b"").session_id, 0
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(session)
        commit = self._sdk.CommitInfo(f"{self._root}/{key}", mode=self._sdk.WriteMode.overwrite, mute=True)
        for data in self._blocks(file, sha256, progress):
            missing, start = data[max(done - start, 0) :], start + len(data)
            cursor = self._sdk.UploadSessionCursor(session, start - len(missing))
            if start == size:
                self._client.files_upload_session_finish(missing, cursor, commit)
            elif missing:
                self._client.files_upload_session_append_v2(missing, cursor)
        kept.unlink(missing_ok=True)

    def _received(self, session: str, size: int) -> int:
        """Return how many bytes a session has; 0 if there is no such session."""
        try:
            cursor = self._sdk.UploadSessionCursor(session, size + 1)  # a wrong offset, which is corrected
            self._client.files_upload_session_append_v2(b"", cursor)
        except Exception as error:
            reason = getattr(error, "error", None)
            if not isinstance(reason, self._sdk.UploadSessionAppendError):
                raise
            return reason.get_incorrect_offset().correct_offset if reason.is_incorrect_offset() else 0
        return 0

    def _range(self, key: str, start: int, length: int) -> bytes:
        at = {"Range": f"bytes={start}-{start + length - 1}"}
        with contextlib.closing(self._client.files_download(f"{self._root}/{key}", extra_headers=at)[1]) as response:
            return bytes(response.content)

    def _delete(self, key: str) -> None:
        or_none(lambda: self._client.files_delete_v2(f"{self._root}/{key}"))

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        page = or_none(lambda: self._client.files_list_folder(self._root, recursive=True))
        while page:
            for entry in page.entries:
                key = (entry.path_display or "")[len(self._root) + 1 :]
                if isinstance(entry, self._sdk.FileMetadata) and key.startswith(prefix):
                    yield self._object(key, entry)
            page = self._client.files_list_folder_continue(page.cursor) if page.has_more else None


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


#: Scheme of the URL -> class.
CLOUD_STORES: Mapping[str, Callable[[str, Settings], VerifiedStore]] = {
    "s3": S3Store,
    "gs": BucketStore,
    "az": BucketStore,
    "dropbox": DropboxStore,
}
