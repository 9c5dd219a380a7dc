"""The handler of queue messages: a good video, a broken one, and a URL that nobody answers, from both queues."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from vidpipe_tests import clips
from vidpipe_tests.clone import module_of
from vidpipe_tests.storage.servers import free_port

_FILE = Path(__file__).parents[2] / "examples" / "queue_handler" / "queue_handler.py"


@pytest.fixture(scope="module")
def handler() -> Any:
    return module_of(_FILE)


@pytest.fixture
def urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """URLs of a real server, and one of a port on which nothing listens."""
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_ALLOWEDPRIVATE", "127.0.0.1")
    monkeypatch.setenv("VIDPIPE_DOWNLOAD_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    clips.color_cuts(tmp_path / "good.mp4", ("red", "green"))
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 3000)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        away = f"http://127.0.0.1:{free_port()}/away.mp4"
        yield {"good": f"{base}/good.mp4", "broken": f"{base}/broken.mp4", "away": away}
        server.shutdown()


@contextlib.contextmanager
def _queue() -> Iterator[tuple[Any, str]]:
    """A client of SQS (moto), and the URL of a queue."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    sqs = boto3.client(
        "sqs", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106
    )  # fmt: skip
    try:
        yield sqs, sqs.create_queue(QueueName="videos")["QueueUrl"]
    finally:
        server.stop()


def test_a_batch_of_sqs_returns_what_is_to_be_tried_again(
    handler: Any, urls: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with _queue() as (sqs, queue):
        for body in (*({"url": urls[name]} for name in ("good", "broken", "away")), {}):
            sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))
        taken = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)["Messages"]
        # as Lambda passes them on, and deletes what did not fail
        event = {
            "Records": [{"messageId": one["MessageId"], "body": one["Body"], "eventSource": "aws:sqs"} for one in taken]
        }
        failures = {one["itemIdentifier"] for one in handler.lambda_handler(event)["batchItemFailures"]}
        for one in taken:
            if one["MessageId"] not in failures:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
        left = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(one["Body"])["url"] for one in left] == [urls["away"]]
    good, broken, malformed = map(json.loads, capsys.readouterr().out.splitlines())
    assert (good["url"], good["errors"], len(good["scenes"])) == (urls["good"], {}, 2)
    assert "is not a video" in broken["error"]["message"]
    assert malformed["url"] is None


def test_local_files_are_never_read(handler: Any) -> None:
    for url in ("file:///etc/hostname", " file:///etc/hostname", "FILE:///etc/hostname", "/etc/hostname", 7):
        assert handler.handle(json.dumps({"url": url}))["url"] is None


def test_pub_sub_gets_a_status_for_each_message(
    handler: Any, urls: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler.PushHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        statuses = {}
        for name, url in urls.items():
            data = base64.b64encode(json.dumps({"url": url}).encode()).decode()
            envelope = {"message": {"data": data, "messageId": name, "attributes": {}}, "subscription": "videos"}
            connection = HTTPConnection("127.0.0.1", server.server_port, timeout=120)
            connection.request("POST", "/", json.dumps(envelope), {"Content-Type": "application/json"})
            statuses[name] = connection.getresponse().status
            connection.close()
        server.shutdown()
    assert statuses == {"good": 204, "broken": 204, "away": 503}
    assert len(capsys.readouterr().out.splitlines()) == 2
