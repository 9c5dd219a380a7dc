"""s3://bucket/key and s3://bucket/folder/: objects of S3 and of services that speak its API, through boto3.

boto3 finds credentials, region and endpoint in its usual places (environment, profile, instance role) and signs a URL
for each attempt; the download itself is that of any other URL, with its limits, its address policy and its resumption.
A signed URL is a secret for as long as it is valid: it is asked for and kept nowhere.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.ingest.addresses import AddressPolicy
from vidpipe.ingest.faults import FetchError
from vidpipe.ingest.s3_faults import ACCESS, Refusal
from vidpipe.ingest.urls import redacted_url
from vidpipe.network.session import authorities
from vidpipe.settings.operation import Download

SCHEME = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VALID_S = 3600
#: Services that know a bucket by its host name only.
_VIRTUAL_HOSTS = (".aliyuncs.com", ".myqcloud.com")

for _name in ("botocore", "boto3"):  # at DEBUG they write signatures into the log
    logging.getLogger(_name).setLevel(logging.INFO)


@dataclass(frozen=True)
class S3Address:
    """A bucket, and in it a key or (empty, or with a slash at its end) a folder. Keys are as they are, not escaped."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> S3Address:
        """Errors: VidpipeError, which reveals nothing of `text`, if it is not an s3:// address or cannot be requested
        over HTTP."""
        bucket, _, key = text[len(SCHEME) :].partition("/")
        if "@" in bucket:
            raise VidpipeError(
                "an s3:// address holds a user or a password.",
                "Leave it out: credentials are taken from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE).",
            )
        if not _BUCKET.fullmatch(bucket):
            raise VidpipeError("the bucket's name is not valid.", "Write it as s3://bucket/folder/file.mp4.")
        unusual = key.startswith("/") or any(part in (".", "..") for part in key.split("/"))
        if unusual or _CONTROL.search(key) or len(key.encode("utf-8", "replace")) > 1024:
            raise VidpipeError(
                "this key cannot be requested over HTTP.",
                "Keys of at most 1024 bytes, without control characters, a leading slash and the parts . and .. can.",
            )
        return cls(bucket, key)

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


class Buckets:
    """The storage as the environment describes it. Nothing is looked up before it is needed; several threads may use
    one Buckets."""

    def __init__(self, settings: Download) -> None:
        self._settings = settings
        self._clients: dict[str | None, Any] = {}
        self._regions: dict[str, str] = {}
        self._lock = threading.Lock()
        self.signed = False

    def link(self, address: S3Address) -> tuple[str, str]:
        """(a URL that gives the object for an hour, the region it is signed for); where no credentials are found, the
        plain URL, which serves for public objects. Errors: UnavailableError."""
        client = self._client(address.bucket)
        url = _signed(client, "get_object", Bucket=address.bucket, Key=address.key)
        return url, str(client.meta.region_name)

    def remember_region(self, bucket: str, region: str) -> None:
        with self._lock:
            self._regions[bucket] = region

    def keys(self, folder: S3Address) -> Iterator[str]:
        """Every key below `folder`, page by page. Errors: FetchError, UnavailableError."""
        try:
            yield from self._keys(folder)
        except VidpipeError as error:
            error.about(str(folder))
            raise

    def _keys(self, folder: S3Address) -> Iterator[str]:
        client = self._client(folder.bucket)
        from botocore.exceptions import BotoCoreError, ClientError

        where = {"Bucket": folder.bucket, "Prefix": folder.key}
        host = self._check(_signed(client, "list_objects_v2", **where))
        try:
            for page in client.get_paginator("list_objects_v2").paginate(**where):
                for item in page.get("Contents", ()):
                    yield str(item["Key"])
        except ClientError as error:
            said, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            refusal = Refusal(int(status.get("HTTPStatusCode", 0)), str(said.get("Code", "")))
            raise refusal.error(str(folder), bucket=folder.bucket, signed=self.signed, action="s3:ListBucket") from None
        except BotoCoreError as error:
            said = f"the storage at {host} cannot be asked ({type(error).__name__})."
            raise FetchError(said, kind="transient") from error

    def _check(self, url: str) -> str:
        """The host of `url`, which boto3 is to ask: it is held to the same policy as a download's."""
        policy = AddressPolicy(self._settings.allowed_private)
        parts = urlsplit(url)
        host = parts.hostname or ""
        try:
            policy.check_url(url)
            policy.resolve(host, parts.port or (443 if parts.scheme == "https" else 80))
        except FetchError as error:
            if error.kind == "refused" or not self._settings.use_proxy:  # a proxy looks names up itself
                raise
        return host

    def _client(self, bucket: str) -> Any:
        with self._lock:
            region = self._regions.get(bucket)
            if region not in self._clients:
                self._clients[region] = self._new_client(region)
            return self._clients[region]

    def _new_client(self, region: str | None) -> Any:
        try:
            import boto3.session
            import botocore
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError:
            raise UnavailableError(
                "s3:// addresses need boto3, which is not installed.",
                "Install it: pip install 'vidpipe[s3]'.",
                depends_on=("module:boto3",),
            ) from None
        limits = self._settings
        try:
            session = boto3.session.Session()
            self.signed = session.get_credentials() is not None
            config = Config(
                signature_version="s3v4" if self.signed else botocore.UNSIGNED,
                connect_timeout=limits.connect_timeout,
                read_timeout=limits.read_timeout,
                retries={"total_max_attempts": limits.retries + 1, "mode": "standard"},
                proxies=None if limits.use_proxy else {},  # None: those of the environment
            )
            verify = authorities() or None
            client = session.client("s3", region_name=region, verify=verify, config=config)
            if (urlsplit(client.meta.endpoint_url).hostname or "").endswith(_VIRTUAL_HOSTS):
                config = config.merge(Config(s3={"addressing_style": "virtual"}))
                client = session.client("s3", region_name=region, verify=verify, config=config)
        except (BotoCoreError, ValueError) as error:
            raise _no_access(error) from error
        return client


def _signed(client: Any, operation: str, **params: str) -> str:
    from botocore.exceptions import BotoCoreError

    try:
        return str(client.generate_presigned_url(operation, Params=params, ExpiresIn=_VALID_S))
    except (BotoCoreError, ValueError) as error:  # credentials that have to be renewed are renewed here
        raise _no_access(error) from error


def _no_access(error: Exception) -> UnavailableError:
    return UnavailableError(
        f"The access to S3 that the environment describes cannot be used: {error}.".replace("..", "."),
        "Check AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_S3.",
        depends_on=ACCESS,
    )


class S3Remote:
    """One object, as a download asks for it (a `Remote`)."""

    def __init__(self, address: str, buckets: Buckets) -> None:
        self._address = S3Address.parse(address)
        self._buckets = buckets
        self._region = ""
        self._refusal: tuple[requests.Response, Refusal] | None = None
        self.shown = redacted_url(address)

    def link(self) -> str:
        url, self._region = self._buckets.link(self._address)
        return url

    def elsewhere(self, response: requests.Response) -> str | None:
        """A signature holds for one region: where the bucket lies in another one, the URL is signed anew for it."""
        if response.status_code not in (301, 307, 400):
            return None
        region = self._read(response).region
        if not region or region == self._region:
            return None
        self._buckets.remember_region(self._address.bucket, region)
        return self.link()

    def error(self, response: requests.Response) -> VidpipeError:
        return self._read(response).error(
            self.shown, bucket=self._address.bucket, signed=self._buckets.signed, action="s3:GetObject"
        )

    def kept(self, final_url: str) -> str:
        return self.shown

    def _read(self, response: requests.Response) -> Refusal:
        if self._refusal is None or self._refusal[0] is not response:
            self._refusal = (response, Refusal.read(response))
        return self._refusal[1]
