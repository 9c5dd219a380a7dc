"""s3://bucket/key and s3://bucket/folder/: objects of S3 and of services that speak its API, through boto3.

boto3 finds credentials, region and endpoint in its usual places (environment, profile, instance role) and signs a URL
for each attempt; the download itself is that of any other URL, with its limits, address policy and resumption.
A signed URL is a secret while it is valid: it is never stored.
"""

import re
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.network.addresses import AddressPolicy
from vidpipe.network.fetch_errors import TRANSIENT_STATUS, FetchError
from vidpipe.network.retry import parse_retry_after
from vidpipe.network.s3_client import ACCESS, no_access, s3_client
from vidpipe.settings import Settings
from vidpipe.settings.operation import Download
from vidpipe.sources.fetchers.fetcher import Attempts, FetchTask, ListedFile
from vidpipe.sources.fetchers.http import Transfer
from vidpipe.sources.fetchers.remote_file import RemoteFile
from vidpipe.sources.urls import SourceUrl

SCHEME = "s3://"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VALID_S = 3600
_MOST_READ_BYTES = 64 * 1024
_FIELD = re.compile(rb"<(Code|Message|Region)>([^<>]{1,1000})</")
_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class S3Address:
    """An object or folder of S3.

    Attributes:
        bucket: Name of the bucket.
        key: Unescaped; a folder if it is empty or ends with a slash.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "S3Address":
        """Parse an s3:// URL.

        Raises:
            VidpipeError: It is malformed or cannot be requested over HTTP. The message reveals nothing of `text`.
        """
        bucket, _, key = text[len(SCHEME) :].partition("/")
        if "@" in bucket:
            raise VidpipeError(
                "the s3:// URL contains a user name or password.",
                "Remove it: credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE).",
            )
        if not _BUCKET.fullmatch(bucket):
            raise VidpipeError("the bucket's name is not valid.", "Write it as s3://bucket/folder/file.mp4.")
        unusual = key.startswith("/") or any(part in (".", "..") for part in key.split("/"))
        if unusual or _CONTROL.search(key) or len(key.encode("utf-8", "replace")) > 1024:
            raise VidpipeError(
                "this key cannot be requested over HTTP.",
                "Keys must have at most 1024 bytes and no control characters, leading slash, or parts . and ..",
            )
        return cls(bucket, key)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return not self.key or self.key.endswith("/")

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


class S3Clients:
    """boto3 clients as the environment configures them, one per region, created when needed. Thread-safe.

    Attributes:
        signed: Whether credentials were found.
    """

    def __init__(self, settings: Download) -> None:
        self._settings = settings
        self._clients: dict[str | None, Any] = {}
        self._regions: dict[str, str] = {}
        self._lock = threading.Lock()
        self.signed = False

    def link(self, address: S3Address) -> tuple[str, str]:
        """Return a URL that gives the object for an hour, and the region it is signed for.

        Without credentials it is the plain URL, which works for public objects.

        Raises:
            UnavailableError: The environment's access to S3 is not usable.
        """
        client = self._client(address.bucket)
        url = _signed(client, "get_object", Bucket=address.bucket, Key=address.key)
        return url, str(client.meta.region_name)

    def remember_region(self, bucket: str, region: str) -> None:
        """Use this region for the bucket from now on."""
        with self._lock:
            self._regions[bucket] = region

    def keys(self, folder: S3Address) -> Iterator[tuple[str, str]]:
        """Yield every key below `folder` with its object's ETag, page by page.

        Raises:
            FetchError: The folder cannot be listed.
            UnavailableError: The environment's access to S3 is not usable.
        """
        try:
            yield from self._keys(folder)
        except VidpipeError as error:
            error.about(str(folder))
            raise

    def _keys(self, folder: S3Address) -> Iterator[tuple[str, str]]:
        client = self._client(folder.bucket)
        from botocore.exceptions import BotoCoreError, ClientError

        where = {"Bucket": folder.bucket, "Prefix": folder.key}
        url = _signed(client, "list_objects_v2", **where)  # boto3 itself is held to the address policy, too
        AddressPolicy(self._settings.allowed_private).check_host(url, proxied=self._settings.use_proxy)
        try:
            for page in client.get_paginator("list_objects_v2").paginate(**where):
                for item in page.get("Contents", ()):
                    yield str(item["Key"]), str(item.get("ETag", ""))
        except ClientError as error:
            details, status = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
            found = S3ErrorResponse(int(status.get("HTTPStatusCode", 0)), str(details.get("Code", "")))
            raise found.error(str(folder), bucket=folder.bucket, signed=self.signed, action="s3:ListBucket") from None
        except BotoCoreError as error:
            message = f"the storage at {urlsplit(url).hostname} is not reachable ({type(error).__name__})."
            raise FetchError(message, kind="transient") from error

    def _client(self, bucket: str) -> Any:
        with self._lock:
            region = self._regions.get(bucket)
            if region not in self._clients:
                self._clients[region], self.signed = s3_client(self._settings, region)
            return self._clients[region]


def _signed(client: Any, operation: str, **params: str) -> str:
    from botocore.exceptions import BotoCoreError

    try:
        return str(client.generate_presigned_url(operation, Params=params, ExpiresIn=_VALID_S))
    except (BotoCoreError, ValueError) as error:  # credentials that have to be renewed are renewed here
        raise no_access(error) from error


class S3Fetcher:
    """Brings in s3:// URLs."""

    def __init__(self, settings: Settings) -> None:
        self._clients = S3Clients(settings.download)

    def is_folder(self, url: str) -> bool:
        """Return whether a URL names a folder."""
        return S3Address.parse(url).is_folder

    def listing(self, url: SourceUrl, limit: int | None = None) -> Iterator[ListedFile]:
        """Yield all objects of a folder, whatever they contain."""
        folder = S3Address.parse(url.reveal())
        for key, version in self._clients.keys(folder):
            yield ListedFile(f"{SCHEME}{folder.bucket}/{key}", version)

    def open(self, task: FetchTask) -> Attempts:
        """Return the attempts to download an object."""
        return Transfer(S3Remote(task.url, self._clients), task)


class S3Remote(RemoteFile):
    """One object, as a download requests it."""

    def __init__(self, url: SourceUrl, clients: S3Clients) -> None:
        super().__init__(url)
        self._address = S3Address.parse(url.reveal())
        self._clients = clients
        self._region = ""
        self._last: tuple[requests.Response, S3ErrorResponse] | None = None

    def request_url(self) -> str:
        """Return a signed URL."""
        url, self._region = self._clients.link(self._address)
        return url

    def retry_url(self, response: requests.Response) -> str | None:
        """Return a URL signed for the bucket's region if the first one was signed for another."""
        if response.status_code not in (301, 307, 400):
            return None
        region = self._read(response).region
        if not region or region == self._region:
            return None
        self._clients.remember_region(self._address.bucket, region)
        return self.request_url()

    def error(self, response: requests.Response) -> VidpipeError:
        """Return the error for a final response that is neither the file nor a redirect."""
        return self._read(response).error(
            self.display_url, bucket=self._address.bucket, signed=self._clients.signed, action="s3:GetObject"
        )

    def stored_url(self, final_url: str) -> str:
        """Return the s3:// URL: the signed one is a secret."""
        return self.display_url

    def _read(self, response: requests.Response) -> "S3ErrorResponse":
        if self._last is None or self._last[0] is not response:
            self._last = (response, S3ErrorResponse.read(response))
        return self._last[1]


@dataclass(frozen=True)
class _ErrorCase:
    """Responses with the same meaning: these codes, or one of these statuses if no earlier case has the code.

    Attributes:
        message: What is wrong.
        hint: What to do.
        codes: Error codes of S3, separated by spaces.
        statuses: Statuses of HTTP.
        kind: `access`: the user's configuration is incomplete; a retry helps only after it was fixed.
    """

    message: str
    hint: str
    codes: str = ""
    statuses: Collection[int] = ()
    kind: Literal["permanent", "transient", "access"] = "permanent"


_ANONYMOUS = _ErrorCase(
    "it is not public, and no credentials were found",
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with an instance role.",
    statuses=(401, 403),
    kind="access",
)
_EXPIRED = "RequestExpired"
#: By the error codes of the S3 API and of services that speak it.
_CASES = (
    _ErrorCase(
        "there is no bucket named {bucket}",
        "Check its name; for another service than AWS, set AWS_ENDPOINT_URL_S3.",
        codes="NoSuchBucket InvalidBucketName",
    ),
    _ErrorCase(
        "the storage does not accept the credentials",
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the profile that AWS_PROFILE names; if they are "
        "temporary, sign in again.",
        codes="InvalidAccessKeyId SignatureDoesNotMatch InvalidToken ExpiredToken TokenRefreshRequired "
        "InvalidSecurity InvalidSecurityToken SecurityTokenExpired NotSignedUp",
        kind="access",
    ),
    _ErrorCase(
        "the storage rejects the time of the request",
        "Check the clock of this machine.",
        codes="RequestTimeTooSkewed RequestExpired",
        kind="access",
    ),
    _ErrorCase(
        "the bucket {bucket} is in another region{region}",
        "Set AWS_DEFAULT_REGION to the bucket's region, and AWS_ENDPOINT_URL_S3 if it is not on AWS.",
        codes="PermanentRedirect TemporaryRedirect AuthorizationHeaderMalformed "
        "AuthorizationQueryParametersError IllegalLocationConstraintException",
        kind="access",
    ),
    _ErrorCase(
        "the storage requires the bucket in the host name",
        "In ~/.aws/config, set addressing_style = virtual in the s3 part of the profile.",
        codes="SecondLevelDomainForbidden PathStyleDomainForbidden",
        kind="access",
    ),
    _ErrorCase("the object is archived", "Restore it in the storage first.", codes="InvalidObjectState"),
    _ErrorCase(
        "the storage is temporarily unavailable",
        "",
        codes="SlowDown RequestTimeout InternalError ServiceUnavailable Throttling",
        statuses=TRANSIENT_STATUS,
        kind="transient",
    ),
    _ErrorCase(
        "there is no object with this key",
        "Case and spaces matter; a folder ends with a slash.",
        codes="NoSuchKey",
        statuses=(404, 410),
    ),
    _ErrorCase(
        "the credentials do not permit this",
        "They need {action}; without s3:ListBucket, a missing object gives the same error.",
        statuses=(401, 403),
    ),
)
_OTHER = _ErrorCase("the storage rejected the request", "")


@dataclass(frozen=True)
class S3ErrorResponse:
    """An error response.

    Attributes:
        status: Of HTTP.
        code: Of S3; may be empty.
        region: Of the bucket; may be empty.
        retry_after_s: Seconds that the service asks to wait.
    """

    status: int
    code: str = ""
    region: str = ""
    retry_after_s: float | None = None

    @classmethod
    def read(cls, response: requests.Response) -> "S3ErrorResponse":
        """Read the beginning of the body, where the service names the error in XML."""
        body = response.raw.read(_MOST_READ_BYTES, decode_content=True)
        fields = {name.decode(): value.decode("utf-8", "replace") for name, value in _FIELD.findall(body)}
        code = fields.get("Code", "")
        region = response.headers.get("x-amz-bucket-region") or fields.get("Region", "")
        if code == "AccessDenied" and "expired" in fields.get("Message", ""):
            code = _EXPIRED
        return cls(
            response.status_code,
            code=code if _CODE.fullmatch(code) else "",
            region=region if _REGION.fullmatch(region) else "",
            retry_after_s=parse_retry_after(response.headers.get("Retry-After")),
        )

    def error(self, display_url: str, *, bucket: str, signed: bool, action: str) -> VidpipeError:
        """Return the error.

        Args:
            display_url: Of the object or folder.
            bucket: Its bucket.
            signed: Whether credentials were found.
            action: What they must permit (s3:GetObject).
        """
        cases = _CASES if signed else (*_CASES[:-1], _ANONYMOUS)
        case = next((case for case in cases if self.code in case.codes.split()), None)
        case = case or next((case for case in cases if self.status in case.statuses), _OTHER)
        region = f", {self.region}" if self.region else ""
        reason = case.message.format(bucket=bucket, region=region)
        message, hint = f"{display_url}: {reason} ({self.code or self.status}).", case.hint.format(action=action)
        if case.kind == "access":
            return UnavailableError(message, hint, depends_on=ACCESS)
        depends_on = ACCESS if case.kind == "permanent" else ()
        gone = case.codes == "NoSuchKey"
        return FetchError(
            message, hint, kind=case.kind, retry_after_s=self.retry_after_s, depends_on=depends_on, gone=gone
        )
