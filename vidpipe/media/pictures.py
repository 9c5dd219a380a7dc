"""Picture formats that may hold moving pictures: whether another picture follows the first one.

GIF (GIF89a specification), PNG (APNG), WebP (RFC 9649), and JPEGs one after another, which are raw Motion JPEG.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

#: A photo is taken for one picture when no other follows within this: photos are large, and their folders as well.
_PHOTO_LOOK_BYTES = 1 << 20
# the end of an image and the start of the next, recorders pad in between
_NEXT_JPEG = re.compile(rb"\xff\xd9[\x00\xff]{0,64}?\xff\xd8\xff")


def several_pictures(start: bytes) -> bool | None:
    """Whether a file that begins with `start` holds more than one picture, to be shown one after another; None if more
    of it has to be read to decide.
    """
    for magic, look in _LOOKS:
        if start.startswith(magic):
            return look(start)
    return False


def is_animated_webp(start: bytes) -> bool:
    """Whether these are the first bytes of a WebP that says it is animated."""
    return start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8X" and len(start) > 20 and bool(start[20] & 0x02)


def _gif(data: bytes) -> bool | None:
    position, images = 13 + _color_table(data, 10), 0
    while position < len(data):
        introducer = data[position]
        if introducer == 0x2C:
            images += 1
            if images == 2:
                return True
            position += 11 + _color_table(data, position + 9)  # image descriptor, its colours, LZW code size
        elif introducer == 0x21:
            position += 2
        else:  # 0x3B: the end; anything else is damage
            return False
        while position < len(data) and data[position]:
            position += 1 + data[position]
        position += 1
    return None


def _color_table(data: bytes, flags_at: int) -> int:
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _png(data: bytes) -> bool | None:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            return bool(struct.unpack_from(">I", data, position + 8)[0] > 1)
        if kind == b"IDAT":
            return False
        position += 12 + length
    return None


def _webp(data: bytes) -> bool | None:
    if data[8:12] != b"WEBP":
        return False
    if len(data) > 20 and not is_animated_webp(data):
        return False
    position, frames = 12, 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        frames += kind == b"ANMF"
        if frames == 2:
            return True
        position += 8 + length + length % 2
    return None


def _jpeg(data: bytes) -> bool | None:
    position, photo = 2, False
    while position + 4 <= len(data):
        mark, marker, length = struct.unpack_from(">BBH", data, position)
        if mark != 0xFF:
            return False
        body = position + 4
        if marker == 0xE2 and data.startswith(b"MPF\0", body):
            return False  # a photo with its preview, depth or brightness in a second JPEG (CIPA DC-007)
        photo = photo or (marker == 0xE1 and data.startswith(b"Exif\0", body))
        position += 2 + length
        if marker == 0xDA:
            if _NEXT_JPEG.search(data, position):
                return True
            return False if photo and len(data) >= _PHOTO_LOOK_BYTES else None
    return None


_LOOKS: tuple[tuple[bytes, Callable[[bytes], bool | None]], ...] = (
    (b"GIF8", _gif),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"\xff\xd8\xff", _jpeg),
)
