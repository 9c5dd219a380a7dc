"""Inspects the videos that messages of a queue name: AWS Lambda with SQS, and Google Pub/Sub push over HTTP.

A message is {"url": "https://…"}. Each result is one line of JSON on stdout, and an object `<sha256>.json` in the
store that QUEUE_HANDLER_OUTPUT names, if it is set. A permanent error (no video at that URL, a malformed message) is a
result, too: trying again would not help. A transient one (a busy server, a network) leaves the message in the queue.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.runner.single_video import inspect_video
from vidpipe.settings import Settings, load
from vidpipe.stages.events import NullObserver
from vidpipe.stages.registry import build_graph
from vidpipe.storage.object_store import Progress
from vidpipe.storage.stores import Stores

OUTPUT = "QUEUE_HANDLER_OUTPUT"
#: Keep a message below the limits of the queue; Pub/Sub's is 10 MB.
_MOST_BYTES = 16_000_000
#: Nothing may precede the scheme: spaces around an address are ignored later.
_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_LOCK = threading.Lock()


class TransientError(Exception):
    """Another attempt may succeed; the queue delivers the message again."""


def handle(message: str | bytes) -> dict[str, Any]:
    """Inspect the video that a message names, write the result, and return it.

    Raises:
        TransientError: Nothing was written.
    """
    try:
        url = json.loads(message)["url"]
        if not _REMOTE.match(url):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        return _write({"url": None, "error": {"message": 'The message is not {"url": "https://…"}.', "hint": ""}})
    with tempfile.TemporaryDirectory(prefix="vidpipe-") as name:
        folder = Path(name).resolve()
        settings = load(standalone=folder).settings
        try:
            found = inspect_video(url, settings, build_graph(settings), NullObserver(), cancelled=threading.Event())
        except VidpipeError as error:
            if getattr(error, "transient", isinstance(error, UnavailableError)):
                raise TransientError(str(error)) from error
            return _write({"url": url, "error": {"message": error.message, "hint": error.hint}})
        transient = [error["message"] for error in found["errors"].values() if error.get("transient")]
        if transient:
            raise TransientError(" ".join(transient))
        _upload(found, folder, settings)
        return _write({"url": url, **found})


def _write(result: dict[str, Any]) -> dict[str, Any]:
    with _LOCK:  # one line at a time
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return result


def _upload(found: Mapping[str, Any], folder: Path, settings: Settings) -> None:
    if output := os.environ.get(OUTPUT):
        file = folder / f"{found['video']['sha256']}.json"
        file.write_text(json.dumps(found), encoding="utf-8")
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        Stores(settings).of(output.rstrip("/")).put(file.name, file, sha256, Progress())


def _failed(error: Exception) -> None:
    sys.stderr.write(f"to be tried again: {error}\n")


def lambda_handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Handle a batch of SQS. Only the messages that failed for a transient reason return to the queue."""
    failures = []
    for record in event["Records"]:
        try:
            handle(record["body"])
        except Exception as error:  # a fault of the handler must not lose the message
            _failed(error)
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


class PushHandler(BaseHTTPRequestHandler):
    """Handles the messages that Pub/Sub pushes: 204 acknowledges one, 503 has it delivered again."""

    def do_POST(self) -> None:
        """Handle one message."""
        try:
            size_bytes = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
            envelope = json.loads(self.rfile.read(size_bytes))
            message = base64.b64decode(envelope["message"]["data"], validate=True)
        except (ValueError, KeyError, TypeError):
            message = b""  # not from Pub/Sub: reported, and acknowledged
        try:
            handle(message)
            self.send_response(204)
        except Exception as error:
            _failed(error)
            self.send_response(503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: results and errors are written elsewhere."""


def main() -> None:
    """Serve the port that PORT names, as Cloud Run expects."""
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), PushHandler).serve_forever()


if __name__ == "__main__":
    main()
