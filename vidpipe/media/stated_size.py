"""What headers say of the whole file: a file of as many bytes as they state is whole, whatever duration they state."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

from vidpipe.media.boxes import Layout
from vidpipe.media.matroska import MatroskaLayout

_HEAD_BYTES = 1 << 16
#: OpenDML files have one part a gigabyte.
_MOST_PARTS = 10_000
_NOT_STATED = (0, 0xFFFFFFFF)
_FLV_SIZE = b"\x00\x08filesize\x00"
#: The GUID of ASF's file properties.
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


#: Of a file that is MP4, MOV, Matroska or WebM; None for any other.
FileLayout = Layout | MatroskaLayout | None


def stated_bytes(path: Path, layout: FileLayout) -> int | None:
    """How many bytes the file has according to its header; None where that does not say. Raises OSError."""
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
    """The duration that the header of an ASF file states, which ffmpeg does not tell where the file is cut short."""
    with path.open("rb") as file:
        properties = _asf_properties(file.read(_HEAD_BYTES))
    return properties[1] if properties else None


def _riff_bytes(file: BinaryIO) -> int | None:
    end = 0
    for _ in range(_MOST_PARTS):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or not head.startswith(b"RIFF"):
            break
        length = int.from_bytes(head[4:], "little")
        if length in _NOT_STATED:
            return None
        end += 8 + length
    return end


def _asf_properties(head: bytes) -> tuple[int, float] | None:
    """(bytes of the file, seconds)"""
    place = head.find(_ASF_PROPERTIES)
    if not 0 <= place <= len(head) - 88:
        return None
    (size,) = struct.unpack_from("<Q", head, place + 40)
    duration, _, preroll_ms = struct.unpack_from("<QQQ", head, place + 64)
    return size, round(duration / 1e7 - preroll_ms / 1e3, 6)
