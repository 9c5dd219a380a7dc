"""Measures times and counts on the packets of a file, without decoding: headers and tags are only hints."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vidpipe.media import memory, transport_stream
from vidpipe.media.container_layout import is_hidden_picture
from vidpipe.media.ffmpeg import ffprobe_command
from vidpipe.media.packet_list import ListedPacket, PacketList, described_packets, packets_of, printed_s
from vidpipe.media.programs import lines

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: 23 hours at 30 frames per second; a longer stream is described by its headers.
_MAX_PACKETS = 2_500_000
#: How far a clock may advance and go back (B-frames) before it counts as a jump, in seconds. As in the ffmpeg program:
#: the clocks of these containers may restart within a file (AVFMT_TS_DISCONT), and 30 hours are an error in any
#: container. A chained Ogg stream restarts at 0.
_MAX_STEP_S = 30 * 3600.0
_MAX_STEPS_S = {"mpegts": (10.0, 0.1), "mpeg": (10.0, 0.1), "ogg": (_MAX_STEP_S, 0.1)}
_DEFAULT_MAX_STEPS_S = (_MAX_STEP_S, _MAX_STEP_S)
#: Up to this many packets between two jumps that cancel each other out have damaged times.
_MAX_STRAY_PACKETS = 3
_MAX_GAPS_CHECKED = 100
_MAX_OTHER_TIMES, _OTHER_TIMES_INTERVAL_S = 10_000, 0.5
#: Timestamps in milliseconds, as in Matroska and FLV, are off by up to half a millisecond.
_ROUNDING_S = 0.001
_SAME_TIME_S = 1.5 * _ROUNDING_S
#: Packets decoded beyond the first key frame to find out which pictures before it can be shown.
_LEADING_PACKETS = 40
_MAX_LEADING_PACKETS = 3000


@dataclass(frozen=True)
class PacketFacts:
    """Facts measured on the packets of a file. Times are in seconds.

    Attributes:
        count: Number of pictures of the video stream: packets that are shown and decodable; two fields are one picture.
        times_s: Presentation times of the pictures in ascending order, without jumps of the clock; empty if unknown.
        durations_s: Durations stated by the packets of the pictures, 0 if not stated.
        clock_jumps: Number of jumps of the stream's clock.
        undecodable: Number of packets at the beginning whose references are missing; they are not counted.
        start_s: Start of the first packet of all streams; None without timestamps.
        ends_s: End of each stream's last packet by stream index (-inf without timestamps). A stream without an entry
            has no packets.
        keys_s: Presentation times of the key frames, as in `times_s`.
    """

    count: int
    times_s: Sequence[float]
    durations_s: Sequence[float]
    clock_jumps: int
    undecodable: int
    start_s: float | None
    ends_s: dict[int, float]
    keys_s: Sequence[float] = ()

    @property
    def end_s(self) -> float | None:
        """End of the last packet of all streams."""
        known = [end_s for end_s in self.ends_s.values() if math.isfinite(end_s)]
        return max(known, default=None)

    @property
    def length_s(self) -> float | None:
        """Duration from the first packet of all streams to the end of the last."""
        return self.end_s - self.start_s if self.end_s is not None and self.start_s is not None else None


def read_packets(
    path: Path,
    stream: int,
    container: str,
    *,
    field_s: float | None = None,
    delay: int = 0,
    codec: str = "",
    listed: PacketList | None = None,
) -> PacketFacts | None:
    """Measure every packet of a file without decoding it.

    Args:
        path: The file.
        stream: Index of the video stream.
        container: ffprobe's short name of the format.
        field_s: Duration of a field in seconds, if packets may hold single fields (interlaced video).
        delay: Number of pictures that are decoded ahead of their presentation, because of B-frames.
        codec: ffprobe's name of the codec.
        listed: The packets with their `PACKET_ENTRIES`; by default, the file is read.

    Returns:
        The facts, or None if there are too many packets to hold in memory.

    Raises:
        TimeLimitError: Reading took longer than a slow disk would need.
        MemoryLimitError: The index of the packets does not fit into ffprobe's memory limit.
    """

    def measured() -> PacketFacts | None:
        packets = described_packets(listed) if listed else packets_of(path)
        return _measured(path, stream, _VideoPackets(path, container, field_s, delay, codec), packets)

    return memory.retried(measured)


def _measured(path: Path, stream: int, video: _VideoPackets, packets: Iterable[ListedPacket]) -> PacketFacts | None:
    ends_s: dict[int, float] = {}
    start_s = math.inf
    for packet in packets:
        if packet.stream == stream:
            video.add(packet)
            if len(video.times) > _MAX_PACKETS:
                return None
        else:
            video.add_other(packet.time_s)
        end_s = packet.time_s + packet.duration_s
        known_s = ends_s.setdefault(packet.stream, -math.inf)
        if end_s > known_s:  # false for NaN
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
        keys_s=video.keys,
    )


class _StreamClock(NamedTuple):
    """Clock of the video stream: time of the last packet, latest time without jumps, and sum of all jumps."""

    last_s: float = math.nan
    latest_s: float = -math.inf
    offset_s: float = 0.0


@dataclass
class _VideoPackets:
    """The packets of the video stream that are not hidden by an edit list, in file order.

    Attributes:
        times: Presentation times in seconds, without jumps of the clock; NaN if missing.
        decoding_times: Decoding times, likewise.
        keys: Presentation times of the key frames.
        until_key: Number of packets, including hidden ones, before the first key frame; None without a key frame.
        other_times: The latest times of other streams' packets since the last jump, half a second apart.
    """

    path: Path
    container: str
    field_s: float | None
    delay: int
    codec: str
    times: array[float] = field(default_factory=lambda: array("d"))
    decoding_times: array[float] = field(default_factory=lambda: array("d"))
    durations: array[float] = field(default_factory=lambda: array("d"))
    keys: array[float] = field(default_factory=lambda: array("d"))
    until_key: int | None = None
    other_times: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_OTHER_TIMES))
    jumps: int = 0
    undecodable: int = 0
    _hidden: int = 0
    _gaps_checked: int = 0
    _step_s: float = 0.0
    _position: int = -1
    _clock: _StreamClock = field(default_factory=_StreamClock)
    #: The clock before its last step forward or back, and the number of packets until then.
    _before: tuple[_StreamClock, int] = field(default_factory=lambda: (_StreamClock(), 0))

    def add(self, packet: ListedPacket) -> None:
        """Add the next packet of the video stream."""
        self._follow_clock(packet)
        if packet.key and self.until_key is None:
            self.until_key = len(self.times) + self._hidden
        if self._follows_hidden_picture(packet):
            for column in (self.times, self.decoding_times, self.durations):
                column.pop()
        self._position = packet.position
        if packet.discarded:
            self._hidden += 1
            return
        self.times.append(packet.pts_s - self._clock.offset_s)
        if packet.key:
            self.keys.append(self.times[-1])
        self.decoding_times.append(packet.dts_s - self._clock.offset_s)
        self.durations.append(packet.duration_s)

    def add_other(self, time_s: float) -> None:
        """Add the time of a packet of another stream."""
        if not self.other_times or abs(time_s - self.other_times[-1]) > _OTHER_TIMES_INTERVAL_S:
            self.other_times.append(time_s)

    def _follows_hidden_picture(self, packet: ListedPacket) -> bool:
        """Return whether the previous packet, of the same time, is never shown but only referred to."""
        if self.codec not in ("vp8", "vp9") or not self.times or packet.time_s - self.times[-1] > _SAME_TIME_S:
            return False
        return is_hidden_picture(self.path, self._position, self.codec)

    def _follow_clock(self, packet: ListedPacket) -> None:
        now_s = packet.pts_s if math.isnan(packet.dts_s) else packet.dts_s
        if not math.isfinite(now_s):
            return
        ahead_s = now_s - self._clock.last_s - self._step_s
        furthest_s, back_s = _MAX_STEPS_S.get(self.container, _DEFAULT_MAX_STEPS_S)
        if ahead_s > furthest_s or now_s - self._clock.offset_s + back_s < self._clock.latest_s:
            self._handle_step(packet, now_s, ahead_s)
        if packet.duration_s:
            self._step_s = packet.duration_s
        offset_s = self._clock.offset_s
        self._clock = _StreamClock(now_s, max(self._clock.latest_s, now_s - offset_s), offset_s)

    def _handle_step(self, packet: ListedPacket, now_s: float, ahead_s: float) -> None:
        """Remove a jump of the clock, keep a gap, or discard the damaged times of the last few packets."""
        before, place = self._before
        furthest_s, back_s = _MAX_STEPS_S.get(self.container, _DEFAULT_MAX_STEPS_S)
        if len(self.times) - place <= _MAX_STRAY_PACKETS and -back_s < now_s - before.last_s < furthest_s:
            self._clock = before
            for stray in range(place, len(self.times)):
                self.times[stray] = self.decoding_times[stray] = math.nan
            self.jumps += 1
            return
        self._before = self._clock, len(self.times)
        if ahead_s < 0 or not self._is_gap(packet, now_s):
            self._clock = self._clock._replace(offset_s=self._clock.offset_s + ahead_s)
            self.jumps += 1
            self.other_times.clear()

    def _is_gap(self, packet: ListedPacket, now_s: float) -> bool:
        """Return whether the clock ran on while pictures were missing, judging by other streams or packet counters."""
        last_s = self._clock.last_s
        quarter_s = (now_s - last_s) / 4
        if any(last_s + quarter_s < time_s < now_s - quarter_s for time_s in reversed(self.other_times)):
            return True
        self._gaps_checked += 1
        return self._gaps_checked <= _MAX_GAPS_CHECKED and transport_stream.continues(self.path, packet.position)

    def leading(self) -> int:
        """Return the number of packets that precede the first key frame, in file order or in presentation order."""
        if self.until_key is None:
            return len(self.times)
        first = max(0, self.until_key - self._hidden)
        if self._hidden and not first:
            return 0  # decoding begins with hidden packets
        if first >= len(self.times):
            return first
        key_s, following = self.times[first], self.times[first + 1 : first + _LEADING_PACKETS]
        # in some containers, only the B-frames of MPEG video have a presentation time
        reordered = math.isnan(key_s) and bool(following) and not math.isnan(following[0])
        until_s = key_s + _ROUNDING_S if self.delay else key_s
        return first + reordered + sum(time_s < until_s for time_s in following)

    def pictures(self, first_decoded_s: float | None) -> tuple[Sequence[float], Sequence[float]]:
        """Return the times and durations of the pictures in presentation order, in seconds; times are NaN if unknown.

        Args:
            first_decoded_s: Time of the first decodable picture; None if all are decodable.
        """
        import numpy as np  # not loaded by commands that measure nothing

        places, durations = map(np.asarray, self._paired_fields())
        times = np.asarray(self.times)[places]
        if np.isinf(times).any():
            return [math.nan] * len(times), _compact(durations)
        if np.isnan(times).any():
            times = _times_by_decoding(times, np.asarray(self.decoding_times)[places], durations, self.delay)
            times = _times_before_the_first(times, durations)
        # in a stream with timestamps, a packet without one is a fragment of a picture
        order = np.flatnonzero(~np.isnan(times))
        if not len(order):
            return _compact(times), _compact(durations)
        order = order[np.argsort(times[order], kind="stable")]
        if first_decoded_s is not None:
            decodable = order[times[order] > first_decoded_s - _ROUNDING_S]
            simultaneous = int(np.count_nonzero(times[decodable] < first_decoded_s + _ROUNDING_S))
            decodable = decodable[max(0, simultaneous - 1) :]
            self.undecodable = len(order) - len(decodable)
            order = decodable
        return _compact(times[order]), _compact(durations[order])

    def _paired_fields(self) -> tuple[Sequence[int], Sequence[float]]:
        """Return the index of each picture's first packet, and its duration in seconds.

        A second field directly follows the first one, with the next timestamp or without any.
        """
        places, durations = array("q"), array("d")
        pending = False
        for place, (time_s, duration_s) in enumerate(zip(self.times, self.durations, strict=True)):
            is_field = self.field_s is not None and abs(duration_s - self.field_s) < _ROUNDING_S
            untimed = math.isnan(time_s) and math.isnan(self.decoding_times[place])
            is_next = pending and (untimed or abs(time_s - self.times[place - 1] - duration_s) < _ROUNDING_S)
            if is_field and is_next:
                durations[-1] += duration_s
                pending = False
                continue
            places.append(place)
            durations.append(duration_s)
            pending = is_field and not untimed
        return places, durations


def _compact(values: Values) -> Sequence[float]:
    return array("d", values.tobytes())


def _times_by_decoding(times: Values, decoding_times: Values, durations: Values, delay: int) -> Values:
    """Return presentation times if some packets have only decoding times, as in MPEG program streams and AVI.

    A picture is shown when the one `delay` packets later is decoded. NaN if a packet has neither time.
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
    """Complete the missing times before the first one: demuxers drop negative times of Matroska."""
    import numpy as np

    timed = ~np.isnan(times)
    first = int(np.argmax(timed))
    if not first:
        return times
    before = np.nanmin(times) - np.cumsum(durations[:first][::-1])[::-1]
    return np.concatenate([before, times[first:]])


def _first_decoded_s(path: Path, stream: int, video: _VideoPackets) -> float | None:
    """Return the time of the first decodable picture if some precede the first key frame; else None."""
    leading = video.leading()
    if not leading:
        return None
    count = min(leading + _LEADING_PACKETS, _MAX_LEADING_PACKETS)
    selected = ("-select_streams", str(stream), "-read_intervals", f"%+#{count}")
    command = ffprobe_command(path, *selected, show="frame=best_effort_timestamp_time")
    timeout_s = memory.current().time.whole_file_s(path)
    listed = lines(command, timeout_s=timeout_s, task="decoding the first pictures")
    times = (printed_s(line.strip().rstrip(b",")) for line in listed)
    return min((time_s for time_s in times if not math.isnan(time_s)), default=None)
