"""Recognizes files that are not videos by their first bytes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vidpipe.media.animated_pictures import has_several_pictures

_Kind = Literal["page", "text", "picture", "audio", "archive", "document", "playlist", "program", "subtitles", "empty"]

HEAD_BYTES = 4096
#: Steps in which a file that begins with a picture is read, until it is clear whether another picture follows.
_READ_STEPS_BYTES = (HEAD_BYTES, 1 << 20, 8 << 20)


@dataclass(frozen=True)
class Content:
    """Content that is not a video.

    Attributes:
        kind: Category of the content.
        name: Name with its article, for use in a sentence ("an HTML page").
    """

    kind: _Kind
    name: str


_MAGIC: tuple[tuple[bytes, Content], ...] = (
    (b"\xff\xd8\xff", Content("picture", "a JPEG picture")),
    (b"GIF8", Content("picture", "a GIF picture")),
    (b"\x89PNG\r\n\x1a\n", Content("picture", "a PNG picture")),
    (b"\xff\x0a", Content("picture", "a JPEG XL picture")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Content("picture", "a JPEG XL picture")),
    (b"II*\x00", Content("picture", "a TIFF picture")),
    (b"MM\x00*", Content("picture", "a TIFF picture")),
    (b"8BPS", Content("picture", "a Photoshop picture")),
    (b"%PDF-", Content("document", "a PDF document")),
    (b"PK\x03\x04", Content("archive", "a ZIP archive (or an Office document)")),
    (b"Rar!\x1a\x07", Content("archive", "a RAR archive")),
    (b"7z\xbc\xaf\x27\x1c", Content("archive", "a 7-Zip archive")),
    (b"\x1f\x8b", Content("archive", "a gzip archive")),
    (b"\xfd7zXZ\x00", Content("archive", "an xz archive")),
    (b"BZh", Content("archive", "a bzip2 archive")),
    (b"\x28\xb5\x2f\xfd", Content("archive", "a Zstandard archive")),
    (b"\x7fELF", Content("program", "a program (ELF)")),
    (b"MZ", Content("program", "a Windows program")),
    (b"SQLite format 3\x00", Content("document", "an SQLite database")),
)
#: Video formats that may begin with text only.
_TEXTUAL_VIDEOS = (b"YUV4MPEG2 ", b"nut/multimedia container")
_PICTURE_BRANDS = {b"avif": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIF"}
_HTML = re.compile(
    r"^(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body|script|meta|title)\b", re.I | re.S
)
_XML = re.compile(r"^<(?:\?xml|[a-z][\w:.-]*[\s/>])", re.I)
_TEXTS: tuple[tuple[_Kind, str, re.Pattern[str]], ...] = (
    ("page", "an HTML page", _HTML),
    ("text", "an XML text", _XML),
    ("subtitles", "a subtitle file", re.compile(r"^(?:WEBVTT\b|\d+\s*\n\d\d:\d\d:\d\d[,.]\d{3} --> )")),
    ("text", "a JSON text", re.compile(r'^[\[{]\s*["\[{\]}]')),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")


def sniff(path: Path) -> Content | None:
    """Recognize a file that is not a video.

    Reads 4 KiB; up to 8 MiB of a picture (JPEG, GIF, PNG, WebP), until it is clear whether another picture follows.

    Returns:
        The content, or None if the file may be a video.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        start = b""
        for limit in _READ_STEPS_BYTES:
            start += file.read(limit - len(start))
            content, certain = _recognize(start)
            if certain or len(start) < limit:
                break
        return content


def sniff_bytes(head: bytes) -> Content | None:
    """Recognize content that is not a video by its first bytes.

    Args:
        head: The first `HEAD_BYTES` of the file, or all of a smaller file.

    Returns:
        The content, or None if it may be a video, such as a picture that may be the first of several.
    """
    content, certain = _recognize(head)
    return content if certain or len(head) < HEAD_BYTES else None


def _recognize(start: bytes) -> tuple[Content | None, bool]:
    """Return the content, and whether that is certain whatever bytes follow."""
    if not start:
        return Content("empty", "an empty file (0 bytes)"), True
    head = start[:HEAD_BYTES]
    content = _playlist(head) or _binary(head) or _textual(head)
    if content is None or content.kind != "picture":
        return content, True
    is_animated = has_several_pictures(start)
    return None if is_animated else content, is_animated is not None


def _binary(head: bytes) -> Content | None:
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Content("picture", "a WebP picture")
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return Content("picture", "a BMP picture")
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS:
        return Content("picture", f"{_PICTURE_BRANDS[head[8:12]]} picture")
    if head[4:8] == b"jP  " and head[20:24] == b"jp2 ":  # Motion JPEG 2000 begins with the same box
        return Content("picture", "a JPEG 2000 picture")
    return next((content for magic, content in _MAGIC if head.startswith(magic)), None)


def _playlist(head: bytes) -> Content | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lowered = start[:512].lower()
    if start.startswith(b"#EXTM3U"):
        return Content("playlist", "an M3U8 playlist")
    if start.startswith(b"ffconcat version"):
        return Content("playlist", "an ffconcat script")
    if lowered.startswith(b"[playlist]"):
        return Content("playlist", "a PLS playlist")
    if lowered.startswith(b"v=0") and b"\nm=" in head:
        return Content("playlist", "an SDP session description")
    if lowered.startswith((b"<?xml", b"<mpd", b"<smoothstreamingmedia", b"<asx")) and re.search(
        rb"<(mpd|smoothstreamingmedia|asx|compositionplaylist)\b", head.lower()
    ):
        return Content("playlist", "a streaming manifest (XML)")
    return None


def _textual(head: bytes) -> Content | None:
    if head.startswith(_TEXTUAL_VIDEOS) or b"\0" in head:
        return None
    try:
        # the end of the head may cut a character in two
        text = head.decode("utf-8-sig", errors="strict" if len(head) < HEAD_BYTES else "ignore").lstrip()
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text) or len(text) < len(head) * 0.3:
        return None
    for kind, name, pattern in _TEXTS:
        if pattern.match(text):
            return Content(kind, name)
    return Content("text", "a text file")
