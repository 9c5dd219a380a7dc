"""What the packets of a file say, read without decoding: headers and tags are only hints."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidpipe.media import transport_stream
from vidpipe.media.ffmpeg import ffprobe_command, lines

#: The slowest disk that is waited for.
_BYTES_PER_SECOND = 20 << 20
#: 46 hours at 30 frames a second; a longer stream is described by its headers.
_MOST_PACKETS = 5_000_000
#: Containers whose clock may start again in mid-file (AVFMT_TS_DISCONT in libavformat).
_RESTARTING_CLOCKS = frozenset({"mpegts", "mpeg", "ogg"})
#: As in the ffmpeg program: a clock that advances by more has jumped, and so has one that goes back by more.
_FORWARD_JUMP_S, _BACKWARD_JUMP_S = 10.0, 0.1
_MOST_HOLES = 100
_MOST_OTHER_TIMES = 10_000
#: Times in milliseconds, as Matroska and FLV have them, are off by half of one.
_ROUNDING_S = 0.001
#: Packets decoded beyond the first key frame to see which pictures before it can be shown.
_LEADING_PACKETS = 40
_MOST_LEADING_PACKETS = 3000


@dataclass(frozen=True)
class PacketFacts:
    """What the packets of a file say.

    Attributes:
        count: Pictures of the video stream: packets that are shown and can be decoded, two fields being one picture.
        times_s: Their presentation times in ascending order, jumps of the clock taken out; empty without times.
        durations_s: Their durations as the packets state them, 0 where they do not.
        clock_jumps: How often the clock of the stream jumped.
        undecodable: Packets at the beginning whose references are missing; they are not counted.
        start_s: When the first packet of all streams starts; None without times.
        ends_s: Stream index to the end of its last packet, on the file's clock without jumps (-inf without times). A
            stream without an entry has no packets.
    """

    count: int
    times_s: Sequence[float]
    durations_s: Sequence[float]
    clock_jumps: int
    undecodable: int
    start_s: float | None
    ends_s: dict[int, float]

    @property
    def end_s(self) -> float | None:
        """When the last packet of all streams ends."""
        known = [end_s for end_s in self.ends_s.values() if math.isfinite(end_s)]
        return max(known, default=None)

    @property
    def length_s(self) -> float | None:
        """From the first packet of all streams to the end of the last."""
        return self.end_s - self.start_s if self.end_s is not None and self.start_s is not None else None


def reading_limit_s(path: Path) -> float:
    """How long reading `path` from end to end may take."""
    return 120 + os.stat(path).st_size / _BYTES_PER_SECOND


def read_packets(path: Path, stream: int, container: str, *, field_s: float | None = None) -> PacketFacts | None:
    """Reads every packet of a file without decoding them; None where there are too many to be held in memory.

    Args:
        path: The file.
        stream: Index of the video stream.
        container: ffprobe's short name of the format.
        field_s: How long one field lasts where packets may hold single fields (interlaced video).

    Raises:
        TimeLimitError: Reading took longer than even a slow disk needs.
    """
    video = _VideoPackets(path, restarting_clock=container in _RESTARTING_CLOCKS, field_s=field_s)
    ends_s: dict[int, float] = {}
    start_s = math.inf
    for packet in _packets(path):
        if packet.stream == stream:
            video.add(packet)
            if len(video.times) > _MOST_PACKETS:
                return None
        else:
            video.other_times.append(packet.time_s)
            del video.other_times[:-_MOST_OTHER_TIMES]
        end_s = packet.time_s + packet.duration_s - video.offset_s
        known_s = ends_s.setdefault(packet.stream, -math.inf)
        if end_s > known_s:  # never for NaN
            ends_s[packet.stream] = end_s
        start_s = min(start_s, packet.time_s - video.offset_s)
    pictures = video.pictures(_first_decoded_s(path, stream, video))
    return PacketFacts(
        count=len(pictures),
        times_s=array("d", (time_s for time_s, _ in pictures if not math.isnan(time_s))),
        durations_s=array("d", (duration_s for _, duration_s in pictures)),
        clock_jumps=video.jumps,
        undecodable=video.undecodable,
        start_s=start_s if math.isfinite(start_s) else None,
        ends_s=ends_s,
    )


@dataclass(frozen=True)
class _Packet:
    """Times in seconds, NaN where there is none. position: byte offset in the file, -1 where it is not known."""

    stream: int
    pts_s: float
    dts_s: float
    duration_s: float
    position: int
    key: bool
    discarded: bool

    @property
    def time_s(self) -> float:
        return self.dts_s if math.isnan(self.pts_s) else self.pts_s


def _packets(path: Path) -> Iterator[_Packet]:
    command = ffprobe_command(
        path, "-v", "quiet", "-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,pos,flags",
        "-of", "csv=p=0",
    )  # fmt: skip
    for line in lines(command, timeout_s=reading_limit_s(path)):
        fields = line.rstrip().split(b",")
        # side data is printed as empty fields and lines
        if len(fields) >= 6 and fields[0].isdigit():
            index, pts, dts, duration, position, flags = fields[:6]
            yield _Packet(
                int(index), _seconds(pts), _seconds(dts), max(0.0, _seconds(duration, 0.0)),
                int(position) if position.isdigit() else -1, b"K" in flags, b"D" in flags,
            )  # fmt: skip


def _seconds(text: bytes, missing: float = math.nan) -> float:
    try:
        return float(text)
    except ValueError:
        return missing


@dataclass
class _VideoPackets:
    """The packets of the video stream that are not hidden by an edit list, in the order of the file.

    Attributes:
        times, decoding_times: In seconds, jumps of the clock taken out; NaN where a packet has none.
        until_key: How many packets, hidden ones included, precede the first key frame; None without a key frame.
        other_times: Times of other streams' packets since the last packet of this one.
    """

    path: Path
    restarting_clock: bool
    field_s: float | None
    times: array[float] = field(default_factory=lambda: array("d"))
    decoding_times: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    until_key: int | None = None
    other_times: list[float] = field(default_factory=list)
    offset_s: float = 0.0
    jumps: int = 0
    undecodable: int = 0
    _hidden: int = 0
    _holes: int = 0
    _last_s: float = math.nan
    _latest_s: float = -math.inf
    _step_s: float = 0.0

    def add(self, packet: _Packet) -> None:
        if self.restarting_clock:
            self._follow_clock(packet)
            self.other_times.clear()
        if packet.key and self.until_key is None:
            self.until_key = len(self.times) + self._hidden
        if packet.discarded:
            self._hidden += 1
            return
        self.times.append(packet.pts_s - self.offset_s)
        self.decoding_times.append(packet.dts_s - self.offset_s)
        self.durations.append(packet.duration_s)

    def _follow_clock(self, packet: _Packet) -> None:
        now_s = packet.pts_s if math.isnan(packet.dts_s) else packet.dts_s
        if math.isnan(now_s):
            return
        expected_s = self._last_s + self._step_s
        jumped = now_s - expected_s > _FORWARD_JUMP_S and not self._is_hole(packet, now_s)
        if jumped or now_s - self.offset_s + _BACKWARD_JUMP_S < self._latest_s:
            self.offset_s += now_s - expected_s
            self.jumps += 1
        if packet.duration_s:
            self._step_s = packet.duration_s
        self._last_s = now_s
        self._latest_s = max(self._latest_s, now_s - self.offset_s)

    def _is_hole(self, packet: _Packet, now_s: float) -> bool:
        """Whether the clock ran on while pictures were missing: other streams or the packet counters tell."""
        quarter_s = (now_s - self._last_s) / 4
        if any(self._last_s + quarter_s < time_s < now_s - quarter_s for time_s in self.other_times):
            return True
        self._holes += 1
        return self._holes <= _MOST_HOLES and transport_stream.continues(self.path, packet.position)

    def leading(self) -> int:
        """How many packets come before the first key frame, in the file or in presentation."""
        if self.until_key is None:
            return len(self.times)
        first = max(0, self.until_key - self._hidden)
        if self._hidden and not first:
            return 0  # decoding begins with hidden packets
        key_s = self.times[first] if first < len(self.times) else math.nan
        return first + sum(time_s < key_s for time_s in self.times[first + 1 : first + _LEADING_PACKETS])

    def pictures(self, first_decoded_s: float | None) -> list[tuple[float, float]]:
        """(time, duration) of each picture in order of presentation; the time is NaN where it cannot be told.

        Args:
            first_decoded_s: When the first picture is shown that can be decoded; None: all of them can.
        """
        places, durations = self._paired_fields()
        times = [self.times[place] for place in places]
        if any(map(math.isnan, times)):
            times = _times_by_decoding(times, [self.decoding_times[place] for place in places])
            times = _times_before_the_first(times, durations)
        found = sorted(zip(times, durations, strict=True))
        # in a stream with times, what has none is a fragment of a picture
        timed = [picture for picture in found if not math.isnan(picture[0])]
        if timed and first_decoded_s is not None:
            decodable = [picture for picture in timed if picture[0] > first_decoded_s - _ROUNDING_S]
            self.undecodable = len(timed) - len(decodable)
            return decodable
        return timed or found

    def _paired_fields(self) -> tuple[list[int], list[float]]:
        """(place of each picture's first packet, its duration): a second field follows the first one at once, with the
        next time or with none."""
        places: list[int] = []
        durations: list[float] = []
        awaits_field = False
        for place, (time_s, duration_s) in enumerate(zip(self.times, self.durations, strict=True)):
            is_field = self.field_s is not None and abs(duration_s - self.field_s) < _ROUNDING_S
            untimed = math.isnan(time_s) and math.isnan(self.decoding_times[place])
            if (
                awaits_field
                and is_field
                and (untimed or abs(time_s - self.times[place - 1] - duration_s) < _ROUNDING_S)
            ):
                durations[-1] += duration_s
                awaits_field = False
                continue
            places.append(place)
            durations.append(duration_s)
            awaits_field = is_field and not untimed
        return places, durations


def _times_by_decoding(times: Sequence[float], decoding_times: Sequence[float]) -> list[float]:
    """Presentation times where some packets have that of decoding only, as in MPEG program streams: the times of
    decoding, moved to the first known presentation time. NaN where a packet has neither."""
    pairs = list(zip(times, decoding_times, strict=True))
    if not any(math.isnan(time_s) and not math.isnan(decoding_s) for time_s, decoding_s in pairs):
        return list(times)
    first_decoding_s = min(decoding_s for _, decoding_s in pairs if not math.isnan(decoding_s))
    first_s = min((time_s for time_s, _ in pairs if not math.isnan(time_s)), default=first_decoding_s)
    return [decoding_s + first_s - first_decoding_s for _, decoding_s in pairs]


def _times_before_the_first(times: Sequence[float], durations: Sequence[float]) -> list[float]:
    """Times of packets without one that precede those with one: demuxers drop negative times of Matroska."""
    first = next((place for place, time_s in enumerate(times) if not math.isnan(time_s)), 0)
    filled = list(times)
    earliest_s = min((time_s for time_s in times if not math.isnan(time_s)), default=math.nan)
    for place in reversed(range(first)):
        earliest_s -= durations[place]
        filled[place] = earliest_s
    return filled


def _first_decoded_s(path: Path, stream: int, video: _VideoPackets) -> float | None:
    """When the first picture is shown that decodes, where some come before the first key frame; else None."""
    leading = video.leading()
    if not leading:
        return None
    count = min(leading + _LEADING_PACKETS, _MOST_LEADING_PACKETS)
    command = ffprobe_command(
        path, "-v", "quiet", "-select_streams", str(stream), "-read_intervals", f"%+#{count}",
        "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0",
    )  # fmt: skip
    times = (_seconds(line.strip().rstrip(b",")) for line in lines(command, timeout_s=reading_limit_s(path)))
    return min((time_s for time_s in times if not math.isnan(time_s)), default=None)
