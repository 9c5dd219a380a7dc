"""Layout of container files, read from their headers without decoding anything.

MP4 and MOV boxes: ISO/IEC 14496-12, section 4.2. Matroska and WebM elements: RFC 8794 and RFC 9559.
"""

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

_MAX_BOXES = 100_000
_MAX_INDEX_BYTES = 64 << 20
_MAX_FRAGMENT_BYTES = 1 << 20
#: Boxes that an MP4 or MOV file may begin with.
_FIRST_BOXES = frozenset(b"ftyp moov mdat wide free skip pnot styp uuid moof sidx emsg prft".split())
#: Sample entries of encrypted tracks: Common Encryption (ISO/IEC 23001-7) and Apple's FairPlay.
_PROTECTED = frozenset({b"encv", b"enca", b"drmi", b"drms"})

_EBML, _SEGMENT, _CLUSTER, _TRACKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B
_TRACK, _TRACK_TYPE, _ENCODINGS, _ENCODING, _ENCRYPTION = 0xAE, 0x83, 0x6D80, 0x6240, 0x5035
_VIDEO, _AUDIO = 1, 2
_MAX_ELEMENTS = 10_000
_MAX_TRACKS_BYTES = 16 << 20
#: Track number, time and flags of a Matroska block.
_BLOCK_HEADER_BYTES = 4

_HEAD_BYTES = 1 << 16
#: OpenDML (large AVI) files have one RIFF part per gigabyte.
_MAX_RIFF_PARTS = 10_000
_UNKNOWN_RIFF_SIZES = (0, 0xFFFFFFFF)
_FLV_SIZE = b"\x00\x08filesize\x00"
#: GUID of the ASF File Properties Object.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True)
class ContainerLayout:
    """Layout of an MP4, MOV, Matroska or WebM file.

    Attributes:
        has_index: Whether an MP4 or MOV file has a complete moov box; always true for Matroska.
        faststart: Whether the moov box precedes the media data, so that the file plays while it is being downloaded.
            None if either is missing, and for Matroska.
        encrypted: Whether all video tracks (without any: all audio tracks) are encrypted.
        sound_encrypted: Whether all audio tracks of an MP4 or MOV file are encrypted.
        piece: "header" for the initialization segment of a segmented stream, "segment" for a media segment without it;
            None for a complete file.
        stated_bytes: File size according to the header, which may exceed the actual size. None if it is not stated.
    """

    has_index: bool = True
    faststart: bool | None = None
    encrypted: bool = False
    sound_encrypted: bool = False
    piece: Literal["header", "segment"] | None = None
    stated_bytes: int | None = None


def read_layout(path: Path) -> ContainerLayout | None:
    """Read the layout of a file.

    Args:
        path: Any file.

    Returns:
        The layout, or None if the file is neither MP4, MOV, Matroska nor WebM.

    Raises:
        OSError: The file cannot be read.
    """
    return mp4_layout(path) or matroska_layout(path)


class _Mp4Track(NamedTuple):
    kind: bytes
    samples: int
    encrypted: bool


def mp4_layout(path: Path) -> ContainerLayout | None:
    """Read the layout of an MP4 or MOV file; None for any other file."""
    size_bytes = os.stat(path).st_size
    index_at: int | None = None
    media_at: int | None = None
    index = fragments = b""
    is_mp4 = fragmented = protected = False
    end = 0
    with path.open("rb") as file:
        for number, (kind, start, length, header_bytes) in enumerate(_top_level_boxes(file, size_bytes)):
            if number == 0 and kind not in _FIRST_BOXES:
                return None
            is_mp4 = True
            end = start + length
            if kind == b"moov" and end <= size_bytes:
                index_at = start
                file.seek(start + header_bytes)
                index = file.read(min(length - header_bytes, _MAX_INDEX_BYTES))
                protected = any(entry in index for entry in _PROTECTED)
            elif kind == b"mdat" and media_at is None:
                media_at = start
            elif kind == b"moof":
                fragmented = True
                if protected and len(fragments) < _MAX_FRAGMENT_BYTES:
                    file.seek(start)
                    fragments += file.read(min(length, 1 << 16))
    if not is_mp4:
        return None
    tracks = list(_mp4_tracks(index, fragments))
    is_fragmented_header = any(True for _ in _nested_boxes(index, b"mvex")) and not fragmented
    header_only = is_fragmented_header and not any(track.samples for track in tracks)
    videos = [track.encrypted for track in tracks if track.kind == b"vide"]
    sounds = [track.encrypted for track in tracks if track.kind == b"soun"]
    return ContainerLayout(
        has_index=index_at is not None,
        faststart=index_at < media_at if index_at is not None and media_at is not None else None,
        encrypted=all(videos or sounds or [False]),
        sound_encrypted=bool(sounds) and all(sounds),
        piece="header" if header_only else "segment" if fragmented and index_at is None else None,
        stated_bytes=None if fragmented else end,
    )


def _mp4_tracks(index: bytes, fragments: bytes) -> Iterator[_Mp4Track]:
    """Yield the tracks of a moov box, given its content and that of the moof boxes."""
    for track in _nested_boxes(index, b"trak"):
        handlers = [bytes(box[8:12]) for box in _nested_boxes(track, b"mdia", b"hdlr")]
        counts = [
            int.from_bytes(box[8:12], "big")
            for kind in (b"stsz", b"stz2")
            for box in _nested_boxes(track, b"mdia", b"minf", b"stbl", kind)
        ]
        described = _nested_boxes(track, b"mdia", b"minf", b"stbl", b"stsd")
        entries = [entry for box in described for entry in _child_boxes(box[8:])]
        encrypted = _is_mp4_track_encrypted(entries, index, fragments)
        yield _Mp4Track(handlers[0] if handlers else b"", sum(counts), encrypted)


def _is_mp4_track_encrypted(entries: list[tuple[bytes, memoryview]], *parts: bytes) -> bool:
    protected = [bytes(body[:_MAX_FRAGMENT_BYTES]) for kind, body in entries if kind in _PROTECTED]
    if not protected:
        return False
    # If samples are clear by default (isProtected in tenc), or some sample entry is clear, only those with auxiliary
    # data of their own are encrypted.
    by_default = all(len(tail := body.partition(b"tenc")[2]) < 7 or tail[6] for body in protected)
    return (by_default and len(protected) == len(entries)) or any(
        mark in part for part in parts for mark in (b"senc", b"saiz", b"seig")
    )


def _nested_boxes(data: bytes | memoryview, *path: bytes) -> Iterator[memoryview]:
    """Yield the contents of the boxes at a path of box types."""
    for kind, body in _child_boxes(memoryview(data)):
        if kind == path[0]:
            yield from _nested_boxes(body, *path[1:]) if len(path) > 1 else [body]


def _child_boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the type and content of each box in `data`, whose lengths are not to be trusted."""
    start = 0
    for _ in range(_MAX_BOXES):
        box = _box_header(data[start : start + 16], len(data) - start)
        if box is None:
            return
        kind, length, header_bytes = box
        yield kind, data[start + header_bytes : start + length]
        start += length


def _top_level_boxes(file: BinaryIO, size_bytes: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the type, start, length and header length of each top-level box, in bytes."""
    start = 0
    for _ in range(_MAX_BOXES):
        if start >= size_bytes:  # a hostile file may claim a length beyond what seek accepts
            return
        file.seek(start)
        box = _box_header(file.read(16), size_bytes - start)
        if box is None:
            return
        yield box[0], start, *box[1:]
        start += box[1]


def _box_header(data: bytes | memoryview, available_bytes: int) -> tuple[bytes, int, int] | None:
    """Parse the header of the box that `data` begins with.

    Args:
        data: The first 16 bytes of the box.
        available_bytes: Bytes from the start of the box to the end, which is what a length of 0 means.

    Returns:
        Type, length and header length in bytes, or None if there is no valid box.
    """
    if len(data) < 8:
        return None
    length, kind = struct.unpack_from(">I4s", data)
    header_bytes = 8
    if length == 1 and len(data) >= 16:
        (length,), header_bytes = struct.unpack_from(">Q", data, 8), 16
    elif length == 0:
        length = available_bytes
    return (kind, length, header_bytes) if length >= header_bytes else None


def matroska_layout(path: Path) -> ContainerLayout | None:
    """Read the layout of a Matroska or WebM file; None for any other file."""
    size_bytes = os.stat(path).st_size
    position, tracks, end = 0, b"", None
    with path.open("rb") as file:
        for number in range(_MAX_ELEMENTS):
            file.seek(position)
            element = _element_header(file.read(12))
            if element is None:
                break
            kind, length, header_bytes = element
            if number == 0 and kind == _CLUSTER:
                return ContainerLayout(piece="segment")
            if number == 0 and kind != _EBML:
                return None
            if kind == _CLUSTER:
                return ContainerLayout(encrypted=_is_matroska_encrypted(tracks), stated_bytes=end)
            if kind == _TRACKS and length is not None:
                file.seek(position + header_bytes)
                tracks = file.read(min(length, _MAX_TRACKS_BYTES))
            position += header_bytes
            if kind == _SEGMENT:
                end = None if length is None else position + length
            elif length is None:
                break
            else:
                position += length
    if not position:
        return None
    is_header = tracks and position == size_bytes
    return ContainerLayout(encrypted=_is_matroska_encrypted(tracks), piece="header" if is_header else None)


def is_hidden_picture(path: Path, position: int, codec: str) -> bool:
    """Return whether a Matroska block holds a VP8 or VP9 frame that is never shown, only referred to.

    See show_frame in RFC 6386, section 9.1, and in the VP9 bitstream specification, section 6.2.

    Args:
        path: The file.
        position: Byte offset of the block's content; negative if unknown.
        codec: "vp8" or "vp9".
    """
    with path.open("rb") as file:
        file.seek(max(0, position))
        content = file.read(_BLOCK_HEADER_BYTES + 1)
    if position < 0 or len(content) <= _BLOCK_HEADER_BYTES:
        return False
    head = content[_BLOCK_HEADER_BYTES]
    if codec == "vp8":
        return not head & 0x10
    # profile 3 has one bit more
    show_existing, shown = (0x04, 0x01) if head & 0x30 == 0x30 else (0x08, 0x02)
    return not head & (show_existing | shown)


def _is_matroska_encrypted(tracks: bytes) -> bool:
    encrypted: dict[int, list[bool]] = {}
    for track in _nested_elements(tracks, _TRACK):
        kind = next((int.from_bytes(body[:8], "big") for body in _nested_elements(track, _TRACK_TYPE)), 0)
        has_encryption = any(True for _ in _nested_elements(track, _ENCODINGS, _ENCODING, _ENCRYPTION))
        encrypted.setdefault(kind, []).append(has_encryption)
    return all(encrypted.get(_VIDEO) or encrypted.get(_AUDIO) or [False])


def _nested_elements(data: bytes, wanted: int, *deeper: int) -> Iterator[bytes]:
    """Yield the contents of the elements at a path of element identifiers."""
    position = 0
    for _ in range(_MAX_ELEMENTS):
        kind, length, header_bytes = _element_header(data[position : position + 12]) or (0, None, 0)
        if length is None:
            return
        if kind == wanted:
            body = data[position + header_bytes : position + header_bytes + length]
            yield from _nested_elements(body, *deeper) if deeper else [body]
        position += header_bytes + length


def _element_header(data: bytes) -> tuple[int, int | None, int] | None:
    """Parse the header of the element that `data` begins with.

    Returns:
        Identifier, length (None if unknown) and header length in bytes, or None if there is no valid element.
    """
    identifier_bytes = _vint_bytes(data)
    length_bytes = _vint_bytes(data[identifier_bytes:])
    header_bytes = identifier_bytes + length_bytes
    if not identifier_bytes or not length_bytes or identifier_bytes > 4 or len(data) < header_bytes:
        return None
    unknown = (1 << 7 * length_bytes) - 1
    length = int.from_bytes(data[identifier_bytes:header_bytes], "big") & unknown
    return int.from_bytes(data[:identifier_bytes], "big"), None if length == unknown else length, header_bytes


def _vint_bytes(data: bytes) -> int:
    """Return the size of the variable-size integer that `data` begins with; 0 if there is none."""
    return 9 - data[0].bit_length() if data and data[0] else 0


def stated_bytes(path: Path, layout: ContainerLayout | None) -> int | None:
    """Return the file size that the header states; a file of that size is complete, whatever duration it states.

    Args:
        path: The file.
        layout: Its layout, from `read_layout`.

    Returns:
        The size in bytes, or None if the header does not state it.

    Raises:
        OSError: The file cannot be read.
    """
    if layout:
        return layout.stated_bytes
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(b"RIFF"):
            return _riff_bytes(file)
    place = head.find(_FLV_SIZE)
    if head.startswith(b"FLV") and 0 <= place <= len(head) - len(_FLV_SIZE) - 8:
        (size,) = struct.unpack_from(">d", head, place + len(_FLV_SIZE))
        return int(size) if math.isfinite(size) and size > 0 else None
    properties = _asf_properties(head)
    return properties[0] or None if properties else None


def asf_duration_s(path: Path) -> float | None:
    """Return the duration in the header of an ASF file, which ffprobe does not report for a truncated file."""
    with path.open("rb") as file:
        properties = _asf_properties(file.read(_HEAD_BYTES))
    return properties[1] if properties else None


def _riff_bytes(file: BinaryIO) -> int | None:
    end = 0
    for _ in range(_MAX_RIFF_PARTS):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or not head.startswith(b"RIFF"):
            break
        length = int.from_bytes(head[4:], "little")
        if length in _UNKNOWN_RIFF_SIZES:
            return None
        end += 8 + length
    return end


def _asf_properties(head: bytes) -> tuple[int, float] | None:
    """Return the file size in bytes and the duration in seconds that an ASF header states."""
    place = head.find(_ASF_PROPERTIES)
    if not 0 <= place <= len(head) - 88:
        return None
    (size,) = struct.unpack_from("<Q", head, place + 40)
    duration, _, preroll_ms = struct.unpack_from("<QQQ", head, place + 64)
    return size, round(duration / 1e7 - preroll_ms / 1e3, 6)
