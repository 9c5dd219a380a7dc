"""MPEG transport and program streams and ASF files, packet by packet: continuity and encryption.

Transport and program streams: ISO/IEC 13818-1, sections 2.4.3 and 2.5.3. Encryption is detected without decoding,
because many encrypted streams would decode, to noise.
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

PACKET_BYTES = 188
#: Blu-ray puts a timestamp before each packet; some recorders append a checksum of 16 bytes.
_TIMESTAMP_BYTES = 4
_STEPS = (PACKET_BYTES, PACKET_BYTES + _TIMESTAMP_BYTES, PACKET_BYTES + 16)
_SYNC = 0x47
#: How far to search backwards for the previous packet of a stream.
_SEARCH_BYTES = 2 << 20
_PROBE_BYTES = 1 << 20
#: Five consecutive packets, by the distance between packets.
_FIVE_PACKETS = {step: re.compile(rb"\x47(?:.{%d}\x47){4}" % (step - 1), re.S) for step in _STEPS[:2]}
_TABLE_IDS = frozenset({*range(32), 0x1FFF})
#: A packet of video, audio or private data with the PES header of MPEG-2 (section 2.4.3.6).
_PES = re.compile(rb"\x00\x00\x01[\xbd\xc0-\xef]..([\x80-\xbf])", re.S)
#: Copy protection of DVDs leaves some of the packets clear.
_MIN_SCRAMBLED_SHARE = 0.1
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MAX_ASF_OBJECTS = 1000
#: GUIDs of the Content Encryption, Extended and Advanced Content Encryption Objects (ASF specification, section 10).
_ASF_ENCRYPTION = (
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
    bytes.fromhex("335805438169e6499b74ad12cb86d58c"),
)


def continues(path: Path, position: int) -> bool:
    """Return whether the clock of a transport stream continues at a packet.

    It does if the packet's continuity counter follows that of the previous packet of the same stream, and no
    discontinuity is signalled.

    Args:
        path: The file.
        position: Byte offset of the packet; negative if unknown.

    Returns:
        False if the position is unknown or the file is not a transport stream.

    Raises:
        OSError: The file cannot be read.
    """
    if position < 0:
        return False
    with path.open("rb") as file:
        start = max(0, position - _SEARCH_BYTES)
        file.seek(start)
        data = file.read(position - start + _TIMESTAMP_BYTES + PACKET_BYTES)
    place = position - start
    if not _is_packet(data, place):
        place += _TIMESTAMP_BYTES  # `position` is that of the timestamp
    step = next((step for step in _STEPS if _is_packet(data, place - step)), None)
    if step is None or not _is_packet(data, place) or _is_discontinuous(data, place):
        return False
    stream, counter = _stream_id(data, place), data[place + 3] & 0x0F
    before = place - step
    while _is_packet(data, before):
        carries_data = data[before + 3] & 0x10
        if _stream_id(data, before) == stream and carries_data:
            return (data[before + 3] + 1) & 0x0F == counter
        before -= step
    return False


def _is_packet(data: bytes, place: int) -> bool:
    return 0 <= place <= len(data) - PACKET_BYTES and data[place] == _SYNC


def _stream_id(data: bytes, place: int) -> int:
    return int.from_bytes(data[place + 1 : place + 3], "big") & 0x1FFF


def _is_discontinuous(data: bytes, place: int) -> bool:
    has_adaptation_field = data[place + 3] & 0x20
    return bool(has_adaptation_field and data[place + 4] and data[place + 5] & 0x80)


def is_encrypted_stream(path: Path) -> bool:
    """Return whether a transport stream, program stream (DVD) or ASF file is marked as encrypted.

    Reads at most 2 MiB.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        parts = [file.read(_PROBE_BYTES)]
        if parts[0].startswith(_ASF_HEADER):
            return _is_asf_encrypted(parts[0])
        middle = os.stat(path).st_size // 2
        if middle > _PROBE_BYTES:
            file.seek(middle)
            parts.append(file.read(_PROBE_BYTES))
    if parts[0].startswith(b"\x00\x00\x01\xba"):
        scrambled = [bool(packet[1][0] & 0x30) for part in parts for packet in _PES.finditer(part)]
        return sum(scrambled) > _MIN_SCRAMBLED_SHARE * len(scrambled)
    scrambled = [flag for part in parts for flag in _scrambling_flags(part)]
    return sum(scrambled) > len(scrambled) / 2


def _is_asf_encrypted(head: bytes) -> bool:
    position = 30
    for _ in range(_MAX_ASF_OBJECTS):
        if position + 24 > len(head):
            return False
        if head[position : position + 16] in _ASF_ENCRYPTION:
            return True
        length = struct.unpack_from("<Q", head, position + 16)[0]
        if length < 24:
            return False
        position += length
    return False


def _scrambling_flags(data: bytes) -> Iterator[bool]:
    """Yield whether each packet that carries payload is scrambled; nothing if `data` is not a transport stream."""
    for step, five_packets in _FIVE_PACKETS.items():
        if first := five_packets.search(data, 0, 6 * step):
            for position in range(first.start(), len(data) - 3, step):
                header = struct.unpack_from(">I", data, position)[0]
                if header >> 24 == _SYNC and header & 0x10 and (header >> 8 & 0x1FFF) not in _TABLE_IDS:
                    yield bool(header & 0x80)
            return
