"""The boxes ("atoms") of MP4 and MOV files, read without decoding anything (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_MOST_BOXES = 100_000
_MOST_INDEX_BYTES = 64 << 20
#: Boxes that may stand first in an MP4 or MOV file.
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"uuid"})


@dataclass(frozen=True)
class Layout:
    """How an MP4 or MOV file is laid out.

    has_index: the moov box is there, whole
    faststart: it stands before the first media data, so that the file plays before it is whole; None without both
    encrypted: a track is stored encrypted (sample entry "encv", ISO/IEC 23001-7)
    cut_off:   the last box is longer than what is left of the file
    """

    has_index: bool
    faststart: bool | None
    encrypted: bool
    cut_off: bool


def layout(path: Path) -> Layout | None:
    """The layout of an MP4 or MOV file; None for any other file. Raises OSError."""
    size_bytes = os.stat(path).st_size
    index_at: int | None = None
    media_at: int | None = None
    encrypted = False
    is_mp4 = cut_off = False
    with path.open("rb") as file:
        for number, (kind, start, length, header) in enumerate(_boxes(file, size_bytes)):
            if number == 0 and kind not in _FIRST_BOXES:
                return None
            is_mp4 = True
            cut_off = start + length > size_bytes
            if kind == b"moov" and start + length <= size_bytes:
                index_at = start
                file.seek(start + header)
                index = file.read(min(length - header, _MOST_INDEX_BYTES))
                encrypted = b"encv" in index and b"schm" in index
            elif kind == b"mdat" and media_at is None:
                media_at = start
    if not is_mp4:
        return None
    faststart = index_at < media_at if index_at is not None and media_at is not None else None
    return Layout(index_at is not None, faststart, encrypted, cut_off)


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(kind, start, length, length of the header) of each top-level box."""
    start = 0
    for _ in range(_MOST_BOXES):
        if start >= size_bytes:  # a length made up by a hostile file may be beyond any file
            return
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if length == 1 and len(head) == 16:
            length, header = struct.unpack(">Q", head[8:])[0], 16
        elif length == 0:
            length = size_bytes - start
        if length < header:
            return
        yield kind, start, length, header
        start += length
