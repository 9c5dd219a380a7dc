"""HTTP responses: headers, which may be malformed in any way; versions of a file; and the body."""

from __future__ import annotations

import email.header
import email.message
import io
import logging
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import unquote_to_bytes

import urllib3
from pydantic import BaseModel

from vidpipe.network.retry import http_date

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 1024
_LONGEST_KEPT = 1024
_LONGEST_DISPOSITION = 8192
#: Seconds after which the first bytes of a body are not waited for any longer.
_LONGEST_AHEAD_S = 60.0
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTENT_RANGE = re.compile(
    r"bytes[\s=]+(?P<first>\d{1,18})\s*-\s*(?P<last>\d{1,18})\s*/\s*(?P<total>\d{1,18}|\*)", re.IGNORECASE | re.ASCII
)
_UNSATISFIED_RANGE = re.compile(r"bytes[\s=]+\*/(?P<total>\d{1,18})", re.IGNORECASE | re.ASCII)
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]+"')
#: A file that was last modified this long before the response is not written twice within that second, even if the
#: clocks of the server's machines differ a little.
_SETTLED = timedelta(seconds=60)
_EXTENDED_NAME = re.compile(r";\s*filename\*[^=;]*=", re.IGNORECASE)
_PLAIN_NAME = re.compile(r";\s*filename\s*=\s*(?:\"(?:\\.|[^\"\\])*\"|[^;]*)", re.IGNORECASE)


def kept_value(header: str | None) -> str | None:
    """Return a header's value if it may be stored and sent back; None if it is too long or has control characters."""
    if header is None or len(header) > _LONGEST_KEPT or _CONTROL.search(header):
        return None
    return header.strip()


class ContentRange(NamedTuple):
    """Which bytes of the file a 206 response contains.

    Attributes:
        first: Offset of the first byte.
        last: Offset of the last byte.
        total: Size of the file in bytes; None if the server does not state it.
    """

    first: int
    last: int
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    """Return the Content-Range of a 206 response; None if it is missing or malformed."""
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if not found:
        return None
    first, last = int(found["first"]), int(found["last"])
    total = None if found["total"] == "*" else int(found["total"])
    return ContentRange(first, last, total) if first <= last and (total is None or last < total) else None


def unsatisfied_total(headers: Mapping[str, str]) -> int | None:
    """Return the size of the file in bytes that a 416 response states."""
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    return int(found["total"]) if found else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the stated size of the body in bytes; a chunked body has none, whatever the header says."""
    stated = {text.strip() for text in headers.get("Content-Length", "").split(",")}
    text = stated.pop() if len(stated) == 1 else ""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) and "Transfer-Encoding" not in headers else None


def location(header: str) -> str:
    """Return a Location header as a URL reference.

    http.client decodes headers as Latin-1, but most servers send UTF-8; other bytes are percent-encoded, as browsers
    do.
    """
    text = _as_text(header)
    return text if text != header else "".join(c if c.isascii() else f"%{ord(c):02X}" for c in header)


def _as_text(header: str) -> str:
    """Return a header's value in the encoding it was sent in: UTF-8 or else Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def disposition_name(header: str, make_safe: Callable[[str], str]) -> str:
    """Return the file name of a Content-Disposition header (RFC 6266); empty if there is no usable one.

    filename* has precedence over filename. In filename, encoded words (RFC 2047) and percent escapes are decoded, as
    browsers do.

    Args:
        header: The header's value.
        make_safe: Makes a plain file name of what the server sent; empty if it cannot.
    """
    if len(header) > _LONGEST_DISPOSITION:
        return ""
    text = _as_text(header)
    forms = [text]
    if "filename*" in text.lower():
        forms = [_PLAIN_NAME.sub("", text), _EXTENDED_NAME.sub(";x=", text)]
    for form in forms:
        try:
            message = email.message.Message()
            message["Content-Disposition"] = form
            name = make_safe(_unescaped(message.get_param("filename", "", "content-disposition")))
        except Exception:  # noqa: S112 - the parser's errors are of many classes, and a name is not worth a download
            continue
        if name and "\ufffd" not in name:
            return name
    return ""


def _unescaped(given: str | tuple[str | None, str | None, str]) -> str:
    """Decode the text of filename, or of filename* (charset, language, bytes as Latin-1)."""
    if isinstance(given, tuple):
        return given[2].encode("latin-1").decode(given[0] or "utf-8")
    name = given.strip()
    if name.startswith("=?") and name.endswith("?="):
        name = str(email.header.make_header(email.header.decode_header(name)))
    escaped = unquote_to_bytes(name) if name.isascii() else b""
    try:
        return name if escaped.isascii() else escaped.decode("utf-8")
    except UnicodeError:
        return name


class Validators(BaseModel, frozen=True, extra="ignore"):
    """The server's names of a version of the file (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def if_range(self) -> str | None:
        """The value of If-Range (RFC 9110, 13.1.5): a strong ETag or, if there is no ETag at all, Last-Modified.

        None: parts that this server sends cannot be joined.
        """
        if self.etag is not None:
            return self.etag if _STRONG_ETAG.fullmatch(self.etag) else None
        return self.last_modified if http_date(self.last_modified) else None

    def vouches_for(self, part: Validators) -> bool:
        """Whether a response with these validators contains a part of the version that has the validators `part`.

        It must repeat what If-Range named, and nothing else may contradict it: some servers ignore If-Range.
        """
        if part.if_range is None or self.etag != part.etag:
            return False
        if self.last_modified == part.last_modified:
            return True
        return part.etag is not None and None in (self.last_modified, part.last_modified)

    def conditional_headers(self) -> dict[str, str]:
        """Return the request headers that ask for the file only if it is another version."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": None if self.etag else self.last_modified}
        return {name: value for name, value in headers.items() if value}


class PartialState(Validators):
    """The version that an incomplete file belongs to; written beside its bytes, before the first of them.

    Attributes:
        total_bytes: Size of the complete file, if known.
        encoding: Content-Encoding as announced, although the bytes are plain.
        file: Which of a page's videos it is; empty: the one that the source's URL itself gives.
    """

    total_bytes: int | None = None
    encoding: str = ""
    file: str = ""

    @classmethod
    def of(
        cls, validators: Validators, responded_at: datetime, *, total_bytes: int | None, encoding: str = ""
    ) -> PartialState:
        """Return the state of a response; its parts can be joined if its validators are strong.

        Last-Modified is strong if it is some time before the response (RFC 9110, 8.8.2.2): a file that was just written
        may be written again within the same second.
        """
        modified = http_date(validators.last_modified)
        if validators.etag is None and (modified is None or responded_at - modified < _SETTLED):
            validators = Validators()
        return cls(**validators.model_dump(), total_bytes=total_bytes, encoding=encoding)

    def joined(self, held: ContentRange | None, offset: int, validators: Validators, encoding: str) -> Self | None:
        """Return the state after a 206 response with the bytes `held`; None if it must not be joined to the file.

        The response may begin before the requested `offset`, at the start of a block.
        """
        if held is None or not held.first <= offset <= held.last:
            return None
        totals = {total for total in (self.total_bytes, held.total) if total is not None}
        if len(totals) > 1 or encoding != self.encoding or not validators.vouches_for(self):
            return None
        return self.model_copy(update={"total_bytes": next(iter(totals), None)})


def content_encoding(headers: Mapping[str, str]) -> str:
    """Return the encodings that can be decoded, in the order in which they were applied; empty if there are none.

    Others (aws-chunked, none, utf-8) are mistakes of the server: the bytes are the file's own.
    """
    stated = re.split(r"[\s,]+", headers.get("Content-Encoding", "").lower())
    return ", ".join(name for name in stated if name in urllib3.HTTPResponse.CONTENT_DECODERS)


class _Peekable(io.BufferedIOBase):
    """The bytes that were sent; the first ones can be inspected before they are read."""

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


class ResponseBody:
    """The body of a response as it arrives, decoded if it really is encoded.

    Attributes:
        encoded: The bytes that are sent are not the file's own, so a Range would count others.
    """

    def __init__(
        self, response: requests.Response, display_url: str, is_plain: Callable[[bytes], bool] | None, head_bytes: int
    ) -> None:
        """Open the body.

        Args:
            response: The response, streamed.
            display_url: Its URL without secrets, for the log.
            is_plain: Whether the first bytes are those of a file that is not encoded: servers announce an encoding of
                plain video files, too. None: the body is not encoded.
            head_bytes: How many bytes `is_plain` needs.
        """
        self._ahead = bytearray()
        self._error: Exception | None = None
        self._source: _Peekable | urllib3.HTTPResponse = _Peekable(response.raw)
        encoding = content_encoding(response.headers)
        self.encoded = bool(encoding) and is_plain is not None and not is_plain(self._source.peek(head_bytes))
        if self.encoded:
            headers = {"Content-Encoding": encoding}
            self._source = urllib3.HTTPResponse(self._source, headers, preload_content=False, decode_content=True)
        elif encoding:
            log.info("%s: announced as %s, but a plain video file; stored as it is.", display_url, encoding)

    def ahead(self, size_bytes: int, on_bytes: Callable[[int], None]) -> bytes | None:
        """Return the first bytes, which `read` returns again.

        Args:
            size_bytes: How many; there are fewer at the end, or if they take longer than a minute.
            on_bytes: Called with the number of bytes that were received.

        Returns:
            The bytes; None if the connection broke: `read` returns what came and then raises the error.
        """
        end = time.monotonic() + _LONGEST_AHEAD_S
        try:
            while (
                len(self._ahead) < size_bytes and time.monotonic() < end and (data := self._source.read1(CHUNK_BYTES))
            ):
                self._ahead += data
                on_bytes(len(data))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._error = error
            return None
        return bytes(self._ahead[:size_bytes])

    def read(self) -> bytes:
        """Return the next bytes; empty at the end. Raises urllib3's errors."""
        data, self._ahead = bytes(self._ahead), bytearray()
        if not data and self._error:
            raise self._error
        return data or self._source.read1(CHUNK_BYTES)
