"""ffprobe's list of the packets of a file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidpipe.media import memory
from vidpipe.media.ffmpeg import ffprobe_command
from vidpipe.media.programs import lines
from vidpipe.media.streams import MAX_TIME_S

_FIELDS = ("stream_index", "pts_time", "dts_time", "duration_time", "pos", "flags")
#: What ffprobe must print of packets.
PACKET_ENTRIES = f"packet={','.join(_FIELDS)}"
#: ffprobe's list of packets as JSON, in file order.
PacketList = Sequence[Mapping[str, Any]]


class ListedPacket(NamedTuple):
    """A packet in ffprobe's list.

    Times are in seconds, NaN if missing, infinite if absurd. `position` is the byte offset in the file, -1 if unknown.
    """

    stream: int
    pts_s: float
    dts_s: float
    duration_s: float
    position: int
    key: bool
    discarded: bool

    @property
    def time_s(self) -> float:
        """Presentation time or, without one, decoding time."""
        return self.dts_s if math.isnan(self.pts_s) else self.pts_s


def described_packets(listed: PacketList) -> Iterator[ListedPacket]:
    """Yield the packets of a description that ffprobe has printed."""
    return (_packet([str(packet.get(name, "")) for name in _FIELDS]) for packet in listed)


def packets_of(path: Path) -> Iterator[ListedPacket]:
    """Yield the packets of a file, which ffprobe lists.

    Raises:
        TimeLimitError: Reading took longer than a slow disk would need.
        MemoryLimitError: The index of the packets does not fit into ffprobe's memory limit.
    """
    command = ffprobe_command(path, show=PACKET_ENTRIES)
    limits = memory.current()
    timeout_s, header_s = limits.time.whole_file_s(path), limits.settings.header_seconds
    listed = lines(command, timeout_s=timeout_s, task="listing the packets", processor_s=header_s)
    for line in listed:
        fields = line.decode("ascii", errors="replace").rstrip().split(",")
        # side data is printed as empty fields and lines
        if len(fields) >= len(_FIELDS) and fields[0].isdigit():
            yield _packet(fields)


def _packet(row: Sequence[str]) -> ListedPacket:
    index, pts, dts, duration, position, flags = row[:6]
    duration_s = max(0.0, printed_s(duration, 0.0))
    place = int(position) if position.isdigit() else -1
    return ListedPacket(int(index), printed_s(pts), printed_s(dts), duration_s, place, "K" in flags, "D" in flags)


def printed_s(text: str | bytes, missing: float = math.nan) -> float:
    """Return a time that ffprobe has printed, in seconds; infinite beyond `MAX_TIME_S`."""
    try:
        seconds = float(text)
    except ValueError:
        return missing
    return seconds if abs(seconds) < MAX_TIME_S else math.inf
