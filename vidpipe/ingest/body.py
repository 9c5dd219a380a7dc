"""The body of an answer: its bytes as they come, with an encoding undone where one is really there."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping

import requests
import urllib3

from vidpipe.ingest.containers import HEAD_BYTES, looks_like_video

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024


def content_encoding(headers: Mapping[str, str]) -> str:
    """The encodings that can be undone, in the order in which they were applied; empty where there are none.

    Others (aws-chunked, none, utf-8) are mistakes of the server's owner: the bytes are the file's own.
    """
    stated = re.split(r"[\s,]+", headers.get("Content-Encoding", "").lower())
    return ", ".join(name for name in stated if name in urllib3.HTTPResponse.CONTENT_DECODERS)


class _Peekable(io.BufferedIOBase):
    """The bytes that were sent, of which the first ones can be looked at before they are read."""

    def __init__(self, raw: urllib3.BaseHTTPResponse) -> None:
        self._raw = raw
        self._head = b""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (data := self._raw.read1(size, decode_content=False)):
            self._head += data
        return self._head

    def read1(self, size: int = -1, /) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._raw.read1(size, decode_content=False)


class Body:
    """encoded: the bytes that are sent are not the file's own, so that a Range would count others. Unless given, it is
    found out: servers announce an encoding of plain video files, too."""

    def __init__(self, response: requests.Response, shown: str, *, encoded: bool | None = None) -> None:
        self._source: _Peekable | urllib3.HTTPResponse = _Peekable(response.raw)
        encoding = content_encoding(response.headers)
        if encoded is None:
            encoded = bool(encoding) and not looks_like_video(self._source.peek(HEAD_BYTES))
        self.encoded = encoded
        if encoded:
            headers = {"Content-Encoding": encoding}
            self._source = urllib3.HTTPResponse(self._source, headers, preload_content=False, decode_content=True)
        elif encoding:
            log.info("%s: announced as %s, but a plain video file; its bytes are taken as they are.", shown, encoding)

    def read(self) -> bytes:
        """The next bytes; empty at the end. Errors: those of urllib3."""
        return self._source.read1(CHUNK_BYTES)
