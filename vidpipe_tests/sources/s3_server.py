"""A server on loopback that stands in for S3: moto's, which speaks the real protocol over real HTTP, with two things
added that moto leaves out: it holds signed requests to the one pair of keys it knows, by computing each signature
again, and it can answer wrongly on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote

import boto3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEY_ID, SECRET = "AKIAVIDPIPETEST00000", "s3cr3t/of+the/storage"  # made up
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class S3Server:
    """requests:  (method, path, query, Range) of each
    cut_at:    the next objects break off after so many bytes, one for each entry
    region_of: bucket -> the only region whose signatures it takes; AWS's answer to the others is a 301
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.port = self._server.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[tuple[str, str, str, str]] = []
        self.cut_at: list[int] = []
        self.region_of: dict[str, str] = {}

    def __enter__(self) -> S3Server:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, bucket: str, objects: dict[str, bytes], *, public: bool = False) -> None:
        """Makes `bucket` with `objects` (key -> bytes)."""
        client = boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET, config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        client.create_bucket(Bucket=bucket)
        for key, content in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=content, ACL="public-read" if public else "private")
        self.requests.clear()

    @property
    def signatures(self) -> list[str]:
        """Of the signed URLs that were asked for."""
        return [value for _, _, query, _ in self.requests for value in parse_qs(query).get("X-Amz-Signature", [])]

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path, query = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]
        path = path.encode("latin-1").decode()
        self.requests.append((method, path, query, environ.get("HTTP_RANGE", "")))
        signed = {name: values[0] for name, values in parse_qs(query).items()}
        if "X-Amz-Signature" in signed:
            bucket, region = path.split("/")[1], signed["X-Amz-Credential"].split("/")[2]
            wanted = self.region_of.get(bucket, region)
            if wanted != region:
                headers = [("x-amz-bucket-region", wanted)]
                return _fault(start_response, "301 Moved Permanently", "PermanentRedirect", headers)
            if not signed["X-Amz-Credential"].startswith(f"{KEY_ID}/"):
                return _fault(start_response, "403 Forbidden", "InvalidAccessKeyId")
            if signed["X-Amz-Signature"] != _signature(method, environ["HTTP_HOST"], path, signed):
                return _fault(start_response, "403 Forbidden", "SignatureDoesNotMatch")
        body = self._moto(environ, start_response)
        return _cut(body, self.cut_at.pop(0)) if self.cut_at and "X-Amz-Signature" in signed else body


def _cut(body: Iterable[bytes], at: int) -> Iterator[bytes]:
    yield b"".join(body)[:at]
    raise ConnectionAbortedError("cut on purpose")  # werkzeug closes the connection


def _fault(
    start_response: StartResponse, status: str, code: str, headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body))), *headers])
    return [body]


def _signature(method: str, host: str, path: str, signed: dict[str, str]) -> str:
    """The signature (AWS4-HMAC-SHA256) that this request has to bear."""
    region = signed["X-Amz-Credential"].split("/")[2]
    auth = S3SigV4QueryAuth(Credentials(KEY_ID, SECRET), "s3", region)
    params = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in signed.items()
        if name != "X-Amz-Signature"
    )
    request = AWSRequest(method=method, url=f"http://{host}{quote(path, safe='/~')}?{params}")
    request.context["timestamp"] = signed["X-Amz-Date"]
    request.headers["host"] = host
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))
