"""What the packets of a file say, read without decoding: headers and tags are only hints."""

from __future__ import annotations

import math
import os
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidpipe.media import matroska, memory, transport_stream
from vidpipe.media.ffmpeg import ffprobe_command, lines
from vidpipe.media.streams import LATEST_S

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: The slowest disk that is waited for.
_BYTES_PER_SECOND = 20 << 20
#: 23 hours at 30 frames a second; a longer stream is described by its headers.
_MOST_PACKETS = 2_500_000
#: How far a clock advances and goes back (B-frames) without a jump. As in the ffmpeg program: the clocks of these
#: containers may start again in mid-file (AVFMT_TS_DISCONT), and 30 hours are a mistake in any. A chained Ogg stream
#: begins at 0 again.
_A_MISTAKE_S = 30 * 3600.0
_JUMPS_S = {"mpegts": (10.0, 0.1), "mpeg": (10.0, 0.1), "ogg": (_A_MISTAKE_S, 0.1)}
_ANY_JUMP_S = (_A_MISTAKE_S, _A_MISTAKE_S)
#: So many packets, after which the clock continues as before, have damaged times.
_MOST_STRAY = 3
_MOST_HOLES = 100
_MOST_OTHER_TIMES, _OTHER_TIMES_APART_S = 10_000, 0.5
#: Times in milliseconds, as Matroska and FLV have them, are off by half of one.
_ROUNDING_S = 0.001
_AT_ONCE_S = 1.5 * _ROUNDING_S
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
        ends_s: Stream index to the end of its last packet (-inf without times). A stream without an entry has no
            packets.
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


def read_packets(
    path: Path,
    stream: int,
    container: str,
    *,
    field_s: float | None = None,
    delay: int = 0,
    codec: str = "",
) -> PacketFacts | None:
    """Reads every packet of a file without decoding them; None where there are too many to be held in memory.

    Args:
        path: The file.
        stream: Index of the video stream.
        container: ffprobe's short name of the format.
        field_s: How long one field lasts where packets may hold single fields (interlaced video).
        delay: How many pictures are decoded ahead of their presentation, because of B-frames.
        codec: ffprobe's name of the codec.

    Raises:
        TimeLimitError: Reading took longer than even a slow disk needs.
        MemoryLimitError: The index of the packets does not fit into the memory that ffprobe may take.
    """
    return memory.retried(lambda: _read_packets(path, stream, _VideoPackets(path, container, field_s, delay, codec)))


def _read_packets(path: Path, stream: int, video: _VideoPackets) -> PacketFacts | None:
    ends_s: dict[int, float] = {}
    start_s = math.inf
    for packet in _packets(path):
        if packet.stream == stream:
            video.add(packet)
            if len(video.times) > _MOST_PACKETS:
                return None
        else:
            video.add_other(packet.time_s)
        end_s = packet.time_s + packet.duration_s
        known_s = ends_s.setdefault(packet.stream, -math.inf)
        if end_s > known_s:  # never for NaN
            ends_s[packet.stream] = end_s
        start_s = min(start_s, packet.time_s)
    times_s, durations_s = video.pictures(_first_decoded_s(path, stream, video))
    return PacketFacts(
        count=len(times_s),
        times_s=() if any(map(math.isnan, times_s)) else times_s,
        durations_s=durations_s,
        clock_jumps=video.jumps,
        undecodable=video.undecodable,
        start_s=start_s if math.isfinite(start_s) else None,
        ends_s=ends_s,
    )


class _Packet(NamedTuple):
    """Times in seconds, NaN where there is none, infinite where it is absurd. position: byte offset in the file, -1
    where it is not known.
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
        return self.dts_s if math.isnan(self.pts_s) else self.pts_s


def _packets(path: Path) -> Iterator[_Packet]:
    command = ffprobe_command(
        path, "-v", "error", "-show_entries", "packet=stream_index,pts_time,dts_time,duration_time,pos,flags",
        "-of", "csv=p=0",
    )  # fmt: skip
    header_s = memory.current().settings.header_seconds
    listed = lines(command, timeout_s=reading_limit_s(path), task="listing the packets", processor_s=header_s)
    for line in listed:
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
        seconds = float(text)
    except ValueError:
        return missing
    return seconds if abs(seconds) < LATEST_S else math.inf


class _Clock(NamedTuple):
    """Of the video stream: its time at the last packet, the latest without jumps, and by how much it has jumped."""

    last_s: float = math.nan
    latest_s: float = -math.inf
    offset_s: float = 0.0


@dataclass
class _VideoPackets:
    """The packets of the video stream that are not hidden by an edit list, in the order of the file.

    Attributes:
        times, decoding_times: In seconds, jumps of the clock taken out; NaN where a packet has none.
        until_key: How many packets, hidden ones included, precede the first key frame; None without a key frame.
        other_times: The latest times of other streams' packets on the present clock, half a second apart.
    """

    path: Path
    container: str
    field_s: float | None
    delay: int
    codec: str
    times: array[float] = field(default_factory=lambda: array("d"))
    decoding_times: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    until_key: int | None = None
    other_times: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_OTHER_TIMES))
    jumps: int = 0
    undecodable: int = 0
    _hidden: int = 0
    _holes: int = 0
    _step_s: float = 0.0
    _position: int = -1
    _clock: _Clock = field(default_factory=_Clock)
    #: The clock before it last went ahead or back, and how many packets there were.
    _before: tuple[_Clock, int] = field(default_factory=lambda: (_Clock(), 0))

    def add(self, packet: _Packet) -> None:
        self._follow_clock(packet)
        if packet.key and self.until_key is None:
            self.until_key = len(self.times) + self._hidden
        if self._only_refers(packet):
            for column in (self.times, self.decoding_times, self.durations):
                column.pop()
        self._position = packet.position
        if packet.discarded:
            self._hidden += 1
            return
        self.times.append(packet.pts_s - self._clock.offset_s)
        self.decoding_times.append(packet.dts_s - self._clock.offset_s)
        self.durations.append(packet.duration_s)

    def add_other(self, time_s: float) -> None:
        """Takes the time of a packet of another stream."""
        if not self.other_times or abs(time_s - self.other_times[-1]) > _OTHER_TIMES_APART_S:
            self.other_times.append(time_s)

    def _only_refers(self, packet: _Packet) -> bool:
        """Whether the packet before `packet`, at the same time, is never shown: it is for others to refer to."""
        if self.codec not in ("vp8", "vp9") or not self.times or packet.time_s - self.times[-1] > _AT_ONCE_S:
            return False
        return matroska.hides_picture(self.path, self._position, self.codec)

    def _follow_clock(self, packet: _Packet) -> None:
        now_s = packet.pts_s if math.isnan(packet.dts_s) else packet.dts_s
        if not math.isfinite(now_s):
            return
        ahead_s = now_s - self._clock.last_s - self._step_s
        furthest_s, back_s = _JUMPS_S.get(self.container, _ANY_JUMP_S)
        if ahead_s > furthest_s or now_s - self._clock.offset_s + back_s < self._clock.latest_s:
            self._leap(packet, now_s, ahead_s)
        if packet.duration_s:
            self._step_s = packet.duration_s
        offset_s = self._clock.offset_s
        self._clock = _Clock(now_s, max(self._clock.latest_s, now_s - offset_s), offset_s)

    def _leap(self, packet: _Packet, now_s: float, ahead_s: float) -> None:
        """Takes out a jump of the clock, leaves a hole, or finds the times of the last few packets to be damaged."""
        before, place = self._before
        furthest_s, back_s = _JUMPS_S.get(self.container, _ANY_JUMP_S)
        if len(self.times) - place <= _MOST_STRAY and -back_s < now_s - before.last_s < furthest_s:
            self._clock = before
            for stray in range(place, len(self.times)):
                self.times[stray] = self.decoding_times[stray] = math.nan
            self.jumps += 1
            return
        self._before = self._clock, len(self.times)
        if ahead_s < 0 or not self._is_hole(packet, now_s):
            self._clock = self._clock._replace(offset_s=self._clock.offset_s + ahead_s)
            self.jumps += 1
            self.other_times.clear()

    def _is_hole(self, packet: _Packet, now_s: float) -> bool:
        """Whether the clock ran on while pictures were missing: other streams or the packet counters tell."""
        last_s = self._clock.last_s
        quarter_s = (now_s - last_s) / 4
        if any(last_s + quarter_s < time_s < now_s - quarter_s for time_s in reversed(self.other_times)):
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
        if first >= len(self.times):
            return first
        key_s, following = self.times[first], self.times[first + 1 : first + _LEADING_PACKETS]
        # of MPEG video that is to be reordered only B-frames have a presentation time in some containers
        reordered = math.isnan(key_s) and bool(following) and not math.isnan(following[0])
        until_s = key_s + _ROUNDING_S if self.delay else key_s
        return first + reordered + sum(time_s < until_s for time_s in following)

    def pictures(self, first_decoded_s: float | None) -> tuple[Sequence[float], Sequence[float]]:
        """Times and durations of the pictures in order of presentation; times are NaN where none can be told.

        Args:
            first_decoded_s: When the first picture is shown that can be decoded; None: all of them can.
        """
        import numpy as np  # here: commands that measure nothing need not load it

        places, durations = map(np.asarray, self._paired_fields())
        times = np.asarray(self.times)[places]
        if np.isinf(times).any():
            return [math.nan] * len(times), _compact(durations)
        if np.isnan(times).any():
            times = _times_by_decoding(times, np.asarray(self.decoding_times)[places], durations, self.delay)
            times = _times_before_the_first(times, durations)
        # in a stream with times, what has none is a fragment of a picture
        order = np.flatnonzero(~np.isnan(times))
        if not len(order):
            return _compact(times), _compact(durations)
        order = order[np.argsort(times[order], kind="stable")]
        if first_decoded_s is not None:
            decodable = order[times[order] > first_decoded_s - _ROUNDING_S]
            at_once = int(np.count_nonzero(times[decodable] < first_decoded_s + _ROUNDING_S))
            decodable = decodable[max(0, at_once - 1) :]
            self.undecodable = len(order) - len(decodable)
            order = decodable
        return _compact(times[order]), _compact(durations[order])

    def _paired_fields(self) -> tuple[Sequence[int], Sequence[float]]:
        """(place of each picture's first packet, its duration): a second field follows the first one at once, with the
        next time or with none.
        """
        places, durations = array("q"), array("d")
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


def _compact(values: Values) -> Sequence[float]:
    return array("d", values.tobytes())


def _times_by_decoding(times: Values, decoding_times: Values, durations: Values, delay: int) -> Values:
    """Presentation times where some packets have that of decoding only, as in MPEG program streams and AVI: a picture
    is shown when the one `delay` packets later is decoded. NaN where a packet has neither.
    """
    import numpy as np

    untimed, decoded = np.isnan(times), ~np.isnan(decoding_times)
    if not (untimed & decoded).any():
        return times
    shown = np.sort(decoding_times[decoded])
    with np.errstate(invalid="ignore"):
        step_s = shown[-1] - shown[-2] if len(shown) > 1 else durations[-1]
        shown = np.concatenate([shown, shown[-1] + step_s * np.arange(1, delay + 1)])[delay:]
        first_s = shown[0] if untimed.all() else np.nanmin(times)
        shown -= max(0.0, shown[0] - first_s)
    return np.concatenate([shown, np.full(len(times) - len(shown), math.nan)])


def _times_before_the_first(times: Values, durations: Values) -> Values:
    """Times of packets without one that precede those with one: demuxers drop negative times of Matroska."""
    import numpy as np

    timed = ~np.isnan(times)
    first = int(np.argmax(timed))
    if not first:
        return times
    before = np.nanmin(times) - np.cumsum(durations[:first][::-1])[::-1]
    return np.concatenate([before, times[first:]])


def _first_decoded_s(path: Path, stream: int, video: _VideoPackets) -> float | None:
    """When the first picture is shown that decodes, where some come before the first key frame; else None."""
    leading = video.leading()
    if not leading:
        return None
    count = min(leading + _LEADING_PACKETS, _MOST_LEADING_PACKETS)
    command = ffprobe_command(
        path, "-v", "error", "-select_streams", str(stream), "-read_intervals", f"%+#{count}",
        "-show_entries", "frame=best_effort_timestamp_time", "-of", "csv=p=0",
    )  # fmt: skip
    listed = lines(command, timeout_s=reading_limit_s(path), task="decoding the first pictures")
    times = (_seconds(line.strip().rstrip(b",")) for line in listed)
    return min((time_s for time_s in times if not math.isnan(time_s)), default=None)
