"""The boxes ("atoms") of MP4 and MOV files, read without decoding anything (ISO/IEC 14496-12, section 4.2)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

_MOST_BOXES = 100_000
_MOST_INDEX_BYTES = 64 << 20
#: Boxes that may stand first in an MP4 or MOV file.
_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"uuid",
                          b"moof", b"sidx", b"emsg", b"prft"})  # fmt: skip
#: Sample entries of tracks that are stored encrypted: ISO/IEC 23001-7, and Apple's FairPlay.
_PROTECTED = frozenset({b"encv", b"enca", b"drmi", b"drms"})
_MOST_FRAGMENT_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How an MP4 or MOV file is laid out.

    has_index: the moov box is there, whole
    faststart: it stands before the first media data, so that the file plays before it is whole; None without both
    encrypted: its pictures (without any: its sound) are stored encrypted
    sound_encrypted: all of its sound is, and perhaps its pictures
    piece:     "header" is a segmented stream's beginning without any of its segments, "segment" one of these alone
    stated_bytes: where the last box ends, perhaps beyond the file; None: there may be more of them (fragments)
    """

    has_index: bool
    faststart: bool | None
    encrypted: bool
    sound_encrypted: bool = False
    piece: Literal["header", "segment"] | None = None
    stated_bytes: int | None = None


@dataclass(frozen=True)
class _Track:
    kind: bytes
    samples: int
    encrypted: bool


def layout(path: Path) -> Layout | None:
    """The layout of an MP4 or MOV file; None for any other file. Raises OSError."""
    size_bytes = os.stat(path).st_size
    index_at: int | None = None
    media_at: int | None = None
    index = fragments = b""
    is_mp4 = fragmented = protected = False
    end = 0
    with path.open("rb") as file:
        for number, (kind, start, length, header) in enumerate(_boxes(file, size_bytes)):
            if number == 0 and kind not in _FIRST_BOXES:
                return None
            is_mp4 = True
            end = start + length
            if kind == b"moov" and start + length <= size_bytes:
                index_at = start
                file.seek(start + header)
                index = file.read(min(length - header, _MOST_INDEX_BYTES))
                protected = any(entry in index for entry in _PROTECTED)
            elif kind == b"mdat" and media_at is None:
                media_at = start
            elif kind == b"moof":
                fragmented = True
                if protected and len(fragments) < _MOST_FRAGMENT_BYTES:
                    file.seek(start)
                    fragments += file.read(min(length, 1 << 16))
    if not is_mp4:
        return None
    tracks = list(_tracks(index, fragments))
    header_only = bool(list(_inside(index, b"mvex"))) and not fragmented and not any(track.samples for track in tracks)
    pictures = [track.encrypted for track in tracks if track.kind == b"vide"]
    sounds = [track.encrypted for track in tracks if track.kind == b"soun"]
    return Layout(
        has_index=index_at is not None,
        faststart=index_at < media_at if index_at is not None and media_at is not None else None,
        encrypted=all(pictures or sounds or [False]),
        sound_encrypted=bool(sounds) and all(sounds),
        piece="header" if header_only else "segment" if fragmented and index_at is None else None,
        stated_bytes=None if fragmented else end,
    )


def _tracks(index: bytes, fragments: bytes) -> Iterator[_Track]:
    """The tracks that a moov box describes; `index` is its content, `fragments` that of moof boxes."""
    for track in _inside(index, b"trak"):
        handlers = [bytes(box[8:12]) for box in _inside(track, b"mdia", b"hdlr")]
        counts = [box[8:12] for box in _inside(track, b"mdia", b"minf", b"stbl", b"stsz")]
        counts += [box[8:12] for box in _inside(track, b"mdia", b"minf", b"stbl", b"stz2")]
        described = [box[8:] for box in _inside(track, b"mdia", b"minf", b"stbl", b"stsd")]
        entries = [entry for box in described for entry in _children(box)]
        yield _Track(
            handlers[0] if handlers else b"",
            sum(int.from_bytes(count, "big") for count in counts),
            _is_encrypted(entries, index, fragments),
        )


def _is_encrypted(entries: list[tuple[bytes, memoryview]], *parts: bytes) -> bool:
    protected = [bytes(body[:_MOST_FRAGMENT_BYTES]) for kind, body in entries if kind in _PROTECTED]
    if not protected:
        return False
    # by default clear (tenc's isProtected), or with a clear entry beside: then only where samples have their own data
    by_default = all(len(tail := body.partition(b"tenc")[2]) < 7 or tail[6] for body in protected)
    return (by_default and len(protected) == len(entries)) or any(
        mark in part for part in parts for mark in (b"senc", b"saiz", b"seig")
    )


def _inside(data: bytes | memoryview, *path: bytes) -> Iterator[memoryview]:
    """The contents of the boxes that lie in one another as `path` says."""
    for kind, body in _children(memoryview(data)):
        if kind == path[0]:
            yield from _inside(body, *path[1:]) if len(path) > 1 else [body]


def _children(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, content) of each box in `data`, whose lengths may be made up."""
    start = 0
    for _ in range(_MOST_BOXES):
        found = _header(data[start : start + 16], len(data) - start)
        if found is None:
            return
        kind, length, header = found
        yield kind, data[start + header : start + length]
        start += length


def _boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(kind, start, length, length of the header) of each top-level box."""
    start = 0
    for _ in range(_MOST_BOXES):
        if start >= size_bytes:  # a length made up by a hostile file may be beyond any file
            return
        file.seek(start)
        found = _header(file.read(16), size_bytes - start)
        if found is None:
            return
        kind, length, header = found
        yield kind, start, length, header
        start += length


def _header(data: bytes | memoryview, left: int) -> tuple[bytes, int, int] | None:
    """(kind, length, length of the header) of the box that `data` begins with; None where none does.

    left: bytes from the box to the end, which a length of 0 stands for
    """
    if len(data) < 8:
        return None
    length, kind = struct.unpack_from(">I4s", data)
    header = 8
    if length == 1 and len(data) >= 16:
        (length,), header = struct.unpack_from(">Q", data, 8), 16
    elif length == 0:
        length = left
    return (kind, length, header) if length >= header else None
