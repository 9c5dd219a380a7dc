"""Detects encrypted pictures without decoding them: many of them would decode, to noise."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

_LOOK_BYTES = 1 << 20
_MOST_HEADER_OBJECTS = 1000
#: Content Encryption, Extended and Advanced Content Encryption Object (ASF specification, section 10).
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_ENCRYPTION = frozenset({
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
    bytes.fromhex("335805438169e6499b74ad12cb86d58c"),
})  # fmt: skip
#: Five packets in succession, by the bytes from one to the next (192 on Blu-ray).
_TS_PACKETS = {step: re.compile(rb"\x47(?:.{%d}\x47){4}" % (step - 1), re.S) for step in (188, 192)}
_TS_TABLES = frozenset({*range(32), 0x1FFF})
# a packet of video, sound or private data with the header of MPEG-2 (ISO/IEC 13818-1, 2.4.3.6)
_PES = re.compile(rb"\x00\x00\x01[\xbd\xc0-\xef]..([\x80-\xbf])", re.S)
#: Copy protection of DVDs leaves a part of the packets clear.
_PES_SHARE = 0.1


def is_encrypted_stream(path: Path) -> bool:
    """Whether an MPEG transport stream, an MPEG program stream (DVD) or an ASF file says it is encrypted.

    Reads 2 MiB at most. Raises OSError.
    """
    with path.open("rb") as file:
        head = file.read(_LOOK_BYTES)
        if head.startswith(_ASF_HEADER):
            return _asf(head)
        middle = os.stat(path).st_size // 2
        if middle > _LOOK_BYTES:
            file.seek(middle)
            parts = [head, file.read(_LOOK_BYTES)]
        else:
            parts = [head]
    if head.startswith(b"\x00\x00\x01\xba"):
        marked = [bool(found[1][0] & 0x30) for part in parts for found in _PES.finditer(part)]
        return sum(marked) > _PES_SHARE * len(marked)
    marked = [scrambled for part in parts for scrambled in _transport_packets(part)]
    return sum(marked) > len(marked) / 2


def _asf(head: bytes) -> bool:
    position = 30
    for _ in range(_MOST_HEADER_OBJECTS):
        if position + 24 > len(head):
            return False
        if head[position : position + 16] in _ASF_ENCRYPTION:
            return True
        length = struct.unpack_from("<Q", head, position + 16)[0]
        if length < 24:
            return False
        position += length
    return False


def _transport_packets(data: bytes) -> Iterator[bool]:
    """Whether each packet with a payload of a programme is scrambled; none where `data` is no transport stream."""
    for step, five in _TS_PACKETS.items():
        if found := five.search(data, 0, 6 * step):
            for position in range(found.start(), len(data) - 3, step):
                header = struct.unpack_from(">I", data, position)[0]
                if header >> 24 == 0x47 and header & 0x10 and (header >> 8 & 0x1FFF) not in _TS_TABLES:
                    yield bool(header & 0x80)
            return
