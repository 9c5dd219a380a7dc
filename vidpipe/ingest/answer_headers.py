"""The headers of an answer, as far as they make sense. A server may send anything; what is malformed is left out."""

from __future__ import annotations

import email.header
import email.message
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from vidpipe.ingest.urls import safe_file_name

_LONGEST_KEPT = 1024
_LONGEST_DISPOSITION = 8192
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTENT_RANGE = re.compile(
    r"bytes[\s=]+(?P<first>\d{1,18})\s*-\s*(?P<last>\d{1,18})\s*/\s*(?P<total>\d{1,18}|\*)", re.IGNORECASE | re.ASCII
)
_UNSATISFIED_RANGE = re.compile(r"bytes[\s=]+\*/(?P<total>\d{1,18})", re.IGNORECASE | re.ASCII)
_EXTENDED_NAME = re.compile(r";\s*filename\*[^=;]*=", re.IGNORECASE)
_PLAIN_NAME = re.compile(r";\s*filename\s*=\s*(?:\"(?:\\.|[^\"\\])*\"|[^;]*)", re.IGNORECASE)


def kept_value(header: str | None) -> str | None:
    """A header's value as it may be stored and sent back; None for one that is too long or holds control characters."""
    if header is None or len(header) > _LONGEST_KEPT or _CONTROL.search(header):
        return None
    return header.strip()


class ContentRange(NamedTuple):
    """Which bytes of the file a 206 holds, `first` and `last` included. total: None where the server states none."""

    first: int
    last: int
    total: int | None


def content_range(headers: Mapping[str, str]) -> ContentRange | None:
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if not found:
        return None
    first, last = int(found["first"]), int(found["last"])
    total = None if found["total"] == "*" else int(found["total"])
    return ContentRange(first, last, total) if first <= last and (total is None or last < total) else None


def unsatisfied_total(headers: Mapping[str, str]) -> int | None:
    """The size of the file in bytes that a 416 states."""
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    return int(found["total"]) if found else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of the body where the server states them; a chunked body has no length, whatever the header says."""
    stated = {text.strip() for text in headers.get("Content-Length", "").split(",")}
    text = stated.pop() if len(stated) == 1 else ""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) and "Transfer-Encoding" not in headers else None


def location(header: str) -> str:
    """A Location header as a URL reference. http.client reads headers as Latin-1, and most servers send UTF-8; other
    bytes are percent-escaped, as browsers do."""
    text = _as_text(header)
    return text if text != header else "".join(c if c.isascii() else f"%{ord(c):02X}" for c in header)


def _as_text(header: str) -> str:
    """A header's value in the encoding it was sent in: UTF-8 or else Latin-1."""
    try:
        return header.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return header


def disposition_name(header: str, scrub: Callable[[str], str] = str) -> str:
    """The file name of a Content-Disposition header (RFC 6266), made safe; empty where there is none that is usable.

    scrub: masks secrets in the name before it is shortened

    filename* has precedence over filename. In filename, encoded words (RFC 2047) and percent escapes are undone, as
    browsers do.
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
            name = safe_file_name(scrub(_unescaped(message.get_param("filename", "", "content-disposition"))))
        except Exception:  # noqa: S112 - the parser's errors are of many classes, and a name is not worth a download
            continue
        if name and "\ufffd" not in name:
            return name
    return ""


def _unescaped(given: str | tuple[str | None, str | None, str]) -> str:
    """given: the text of filename, or of filename* (charset, language, bytes as Latin-1). Errors: those of codecs."""
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
