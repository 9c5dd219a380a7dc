"""The elements of Matroska and WebM files, read without decoding anything (RFC 8794, RFC 9559)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
_TRACK, _TRACK_TYPE, _ENCODINGS, _ENCODING, _ENCRYPTION = 0xAE, 0x83, 0x6D80, 0x6240, 0x5035
_VIDEO, _AUDIO = 1, 2
_MOST_ELEMENTS = 10_000
_MOST_TRACKS_BYTES = 16 << 20
#: Of a block: track number, time, flags.
_BLOCK_HEADER_BYTES = 4


@dataclass(frozen=True)
class MatroskaLayout:
    """How a Matroska or WebM file is laid out.

    encrypted: its pictures (without any: its sound) are stored encrypted
    piece:     "header" is a segmented stream's beginning without any of its segments, "segment" one of these alone
    stated_bytes: where its segment ends, perhaps beyond the file; None where that is not stated
    """

    encrypted: bool = False
    piece: Literal["header", "segment"] | None = None
    stated_bytes: int | None = None


def matroska_layout(path: Path) -> MatroskaLayout | None:
    """The layout of a Matroska or WebM file; None for any other file. Raises OSError."""
    size_bytes = os.stat(path).st_size
    position, tracks, end = 0, b"", None
    with path.open("rb") as file:
        for number in range(_MOST_ELEMENTS):
            file.seek(position)
            found = _header(file.read(12))
            if found is None:
                break
            kind, length, header = found
            if number == 0 and kind == _CLUSTER:
                return MatroskaLayout(piece="segment")
            if number == 0 and kind != _EBML:
                return None
            if kind == _CLUSTER:
                return MatroskaLayout(_is_encrypted(tracks), stated_bytes=end)
            if kind == _TRACKS and length is not None:
                file.seek(position + header)
                tracks = file.read(min(length, _MOST_TRACKS_BYTES))
            position += header
            if kind == _SEGMENT:
                end = None if length is None else position + length
            else:
                if length is None:
                    break
                position += length
    if not position:
        return None
    return MatroskaLayout(_is_encrypted(tracks), "header" if tracks and position == size_bytes else None)


def hides_picture(path: Path, position: int, codec: str) -> bool:
    """Whether the block whose content is at byte `position` holds a picture of VP8 or VP9 that is not shown: others
    refer to it (show_frame in RFC 6386, section 9.1, and in the VP9 bitstream specification, section 6.2).
    """
    with path.open("rb") as file:
        file.seek(max(0, position))
        content = file.read(_BLOCK_HEADER_BYTES + 1)
    if position < 0 or len(content) <= _BLOCK_HEADER_BYTES:
        return False
    head = content[_BLOCK_HEADER_BYTES]
    if codec == "vp8":
        return not head & 0x10
    # profile 3 has a bit more
    show_existing, shown = (0x04, 0x01) if head & 0x30 == 0x30 else (0x08, 0x02)
    return not head & (show_existing | shown)


def _is_encrypted(tracks: bytes) -> bool:
    encrypted: dict[int, list[bool]] = {}
    for track in _inside(tracks, _TRACK):
        kind = next((int.from_bytes(body[:8], "big") for body in _inside(track, _TRACK_TYPE)), 0)
        is_so = any(True for _ in _inside(track, _ENCODINGS, _ENCODING, _ENCRYPTION))
        encrypted.setdefault(kind, []).append(is_so)
    return all(encrypted.get(_VIDEO) or encrypted.get(_AUDIO) or [False])


def _inside(data: bytes, wanted: int, *deeper: int) -> Iterator[bytes]:
    """The contents of the elements that lie in one another as the identifiers say."""
    position = 0
    for _ in range(_MOST_ELEMENTS):
        kind, length, header = _header(data[position : position + 12]) or (0, None, 0)
        if length is None:
            return
        if kind == wanted:
            body = data[position + header : position + header + length]
            yield from _inside(body, *deeper) if deeper else [body]
        position += header + length


def _header(data: bytes) -> tuple[int, int | None, int] | None:
    """(identifier, length or None where it is not known, bytes of both); None where there is none."""
    identifier_bytes = _vint_bytes(data)
    length_bytes = _vint_bytes(data[identifier_bytes:])
    header = identifier_bytes + length_bytes
    if not identifier_bytes or not length_bytes or identifier_bytes > 4 or len(data) < header:
        return None
    length = int.from_bytes(data[identifier_bytes:header], "big") & ((1 << 7 * length_bytes) - 1)
    unknown = length == (1 << 7 * length_bytes) - 1
    return int.from_bytes(data[:identifier_bytes], "big"), None if unknown else length, header


def _vint_bytes(data: bytes) -> int:
    """How many bytes the variable-size integer takes that `data` begins with; 0 where none does."""
    return 9 - data[0].bit_length() if data and data[0] else 0
