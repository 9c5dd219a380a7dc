"""MPEG transport streams, packet by packet (ISO/IEC 13818-1, section 2.4.3)."""

from __future__ import annotations

from pathlib import Path

PACKET_BYTES = 188
#: Blu-ray puts a time stamp before each packet; some recorders append a checksum of 16 bytes.
_TIME_STAMP_BYTES = 4
_STEPS = (PACKET_BYTES, PACKET_BYTES + _TIME_STAMP_BYTES, PACKET_BYTES + 16)
_SYNC = 0x47
#: How far back the packet before is looked for.
_WINDOW_BYTES = 2 << 20


def continues(path: Path, position: int) -> bool:
    """Whether the stream's clock runs on at the packet at byte `position`: its continuity counter follows that of the
    packet before of the same stream, and no discontinuity is announced. False for other files. Raises OSError.
    """
    if position < 0:
        return False
    with path.open("rb") as file:
        start = max(0, position - _WINDOW_BYTES)
        file.seek(start)
        data = file.read(position - start + _TIME_STAMP_BYTES + PACKET_BYTES)
    place = position - start
    if not _is_packet(data, place):
        place += _TIME_STAMP_BYTES  # `position` is that of the time stamp
    step = next((step for step in _STEPS if _is_packet(data, place - step)), None)
    if step is None or not _is_packet(data, place) or _is_discontinuous(data, place):
        return False
    stream, counter = _stream(data, place), data[place + 3] & 0x0F
    before = place - step
    while _is_packet(data, before):
        carries_data = data[before + 3] & 0x10
        if _stream(data, before) == stream and carries_data:
            return (data[before + 3] + 1) & 0x0F == counter
        before -= step
    return False


def _is_packet(data: bytes, place: int) -> bool:
    return 0 <= place <= len(data) - PACKET_BYTES and data[place] == _SYNC


def _stream(data: bytes, place: int) -> int:
    return int.from_bytes(data[place + 1 : place + 3], "big") & 0x1FFF


def _is_discontinuous(data: bytes, place: int) -> bool:
    has_adaptation_field = data[place + 3] & 0x20
    return bool(has_adaptation_field and data[place + 4] and data[place + 5] & 0x80)
