"""What an S3 service says when it does not give an object, as sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import requests

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.ingest.faults import TRANSIENT_STATUS, FetchError, parse_retry_after

#: What decides whose storage is asked, and as whom.
ACCESS = tuple(
    f"variable:{name}"
    for name in (
        "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
    )
)  # fmt: skip
_MOST_READ_BYTES = 64 * 1024
_FIELD = re.compile(rb"<(Code|Message|Region)>([^<>]{1,1000})</")
_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")
_REGION = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class _Case:
    """Answers that mean the same: these codes, or one of these statuses where no earlier case knows the code.

    kind: access is what the user's set-up lacks: trying again at once is of no use, after it was mended it is
    """

    said: str
    hint: str
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    kind: Literal["permanent", "transient", "access"] = "permanent"


_ANONYMOUS = _Case(
    "it is not public, and no credentials were found",
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where an instance role is given.",
    statuses=frozenset({401, 403}),
    kind="access",
)
_EXPIRED = "RequestExpired"
#: By the error codes of the S3 API and of services that speak it.
_CASES = (
    _Case(
        "there is no bucket named {bucket}",
        "Check its name; another service than AWS is named by AWS_ENDPOINT_URL_S3.",
        codes=frozenset({"NoSuchBucket", "InvalidBucketName"}),
    ),
    _Case(
        "the storage does not accept the credentials",
        "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or the profile that AWS_PROFILE names; where they are "
        "temporary, sign in again.",
        codes=frozenset({
            "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired",
            "InvalidSecurity", "InvalidSecurityToken", "SecurityTokenExpired", "NotSignedUp",
        }),
        kind="access",
    ),
    _Case(
        "the storage finds the request too old or too new",
        "Set this machine's clock.",
        codes=frozenset({"RequestTimeTooSkewed", _EXPIRED}),
        kind="access",
    ),
    _Case(
        "the bucket {bucket} lies in another region{region}",
        "Set AWS_DEFAULT_REGION to the bucket's region, and AWS_ENDPOINT_URL_S3 where it is not on AWS.",
        codes=frozenset({
            "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
            "AuthorizationQueryParametersError", "IllegalLocationConstraintException",
        }),
        kind="access",
    ),
    _Case(
        "the storage wants the bucket in the host name",
        "In ~/.aws/config, set addressing_style = virtual in the s3 part of the profile.",
        codes=frozenset({"SecondLevelDomainForbidden", "PathStyleDomainForbidden"}),
        kind="access",
    ),
    _Case("the object is archived", "Restore it in the storage first.", codes=frozenset({"InvalidObjectState"})),
    _Case(
        "the storage cannot answer at the moment",
        "",
        codes=frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling"}),
        statuses=TRANSIENT_STATUS,
        kind="transient",
    ),
    _Case(
        "there is no object with this key",
        "Capitals and blanks count; a folder is written with a slash at its end.",
        codes=frozenset({"NoSuchKey"}),
        statuses=frozenset({404, 410}),
    ),
    _Case(
        "the credentials do not permit this",
        "They need {action}; without s3:ListBucket, a missing object is refused in the same way.",
        statuses=frozenset({401, 403}),
    ),
)  # fmt: skip
_OTHER = _Case("the storage refuses the request", "")


@dataclass(frozen=True)
class Refusal:
    """An answer that is not what was asked for; `code` and `region` may be empty."""

    status: int
    code: str = ""
    region: str = ""
    retry_after_s: float | None = None

    @classmethod
    def read(cls, response: requests.Response) -> Refusal:
        """Reads the beginning of the body, where the service names the fault in XML."""
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

    def error(self, shown: str, *, bucket: str, signed: bool, action: str) -> VidpipeError:
        """The sentence. signed: whether credentials were there; action: what they must permit (s3:GetObject)."""
        cases = _CASES if signed else (*_CASES[:-1], _ANONYMOUS)
        case = next((case for case in cases if self.code in case.codes), None)
        case = case or next((case for case in cases if self.status in case.statuses), _OTHER)
        region = f", {self.region}" if self.region else ""
        said = case.said.format(bucket=bucket, region=region)
        sentence, hint = f"{shown}: {said} ({self.code or self.status}).", case.hint.format(action=action)
        if case.kind == "access":
            return UnavailableError(sentence, hint, depends_on=ACCESS)
        depends_on = ACCESS if case.kind == "permanent" else ()
        return FetchError(sentence, hint, kind=case.kind, retry_after_s=self.retry_after_s, depends_on=depends_on)
