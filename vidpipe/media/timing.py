"""How long a video stream is, how many frames it has and how fast they follow one another."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.media import streams
from vidpipe.media.packets import PacketFacts, read_packets
from vidpipe.media.stated_size import FileLayout, asf_duration_s, stated_bytes

#: Intervals that differ from the usual one by more are another rate: containers round times to 1 ms.
_JITTER_S = 0.0015
_JITTER_SHARE = 0.02
#: Cameras drop a frame now and then, and broadcasts lose a few at once: the rate is still constant.
_STRAY_INTERVALS, _LOST_FRAMES = 0.01, 0.05
#: How far a gap may be from a whole number of intervals where frames were lost.
_GAP_JITTER = 0.1
#: Error of a mean of `n` intervals whose ends are rounded to 1 ms, and of times that are printed in microseconds.
_ROUNDING_S, _PRINTED_S = 0.0011, 2e-6
_BROADCAST_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
_LARGEST_DENOMINATOR = 1001


@dataclass(frozen=True)
class FrameRate:
    """What the times of pictures say of their rate.

    Attributes:
        interval_s: The usual time between two pictures.
        constant: All pictures keep to it, but for a stray one.
        average: Pictures a second; exact (30000/1001) where the rate is constant.
    """

    interval_s: float
    constant: bool
    average: Fraction


def measured_rate(times_s: Sequence[float], stated: Iterable[Fraction | None], end_s: float) -> FrameRate | None:
    """The rate of pictures at `times_s`; None where fewer than two times differ.

    Args:
        times_s: In seconds, in ascending order.
        stated: Rates that headers state, the most trusted first: one that agrees with the times is the exact rate.
        end_s: The end of the last picture.
    """
    import numpy as np  # here: commands that measure nothing need not load it

    intervals = np.diff(np.asarray(times_s, float))
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return None
    middle = (len(intervals) - 1) // 2
    usual_s = float(np.partition(intervals, middle)[middle])
    is_regular = np.abs(intervals - usual_s) <= max(_JITTER_S, usual_s * _JITTER_SHARE)
    regular = intervals[is_regular]
    mean_s = statistics.fmean(regular)
    gaps = intervals[~is_regular] / mean_s
    lost = int((np.rint(gaps) - 1).sum())
    stray = int(np.count_nonzero((gaps < 1.5) | (np.abs(gaps - np.rint(gaps)) > _GAP_JITTER)))
    constant = stray <= len(intervals) * _STRAY_INTERVALS and lost <= max(1, len(intervals) * _LOST_FRAMES)
    if not constant:
        average = Fraction(len(times_s) / (end_s - times_s[0]))
        return FrameRate(usual_s, constant, average.limit_denominator(_LARGEST_DENOMINATOR))
    return FrameRate(mean_s, constant, _exact(mean_s, len(regular), stated))


def _exact(interval_s: float, count: int, stated: Iterable[Fraction | None]) -> Fraction:
    """The rate whose interval is the mean of `count` intervals: a stated one, a usual one, or as measured."""
    measured = Fraction(1 / interval_s)
    whole = Fraction(max(1, round(measured)))
    slow = Fraction(1, max(1, round(interval_s)))
    tolerance_s = _ROUNDING_S / count + _PRINTED_S
    for rate in (*stated, whole, *_BROADCAST_RATES, slow):
        if rate and abs(float(1 / rate) - interval_s) <= tolerance_s:
            return rate
    return measured.limit_denominator(_LARGEST_DENOMINATOR)


#: Containers whose header states how long the whole file is; the others' duration is ffprobe's own reading.
_STATED_DURATIONS = frozenset({"mov", "matroska", "flv", "avi", "asf", "mxf", "gxf", "nut", "rm"})
#: A rate that is only stated and above this is that of a clock (1000, 90,000).
_FASTEST_STATED = 240
#: What ffmpeg takes for a raw stream that states none.
_ASSUMED_RATE = Fraction(25)
#: A packet's duration is believed where it agrees with the time to the next one.
_AGREES = 0.1
#: Less than this, or this share, is missing at the end of whole files.
_MISSING_S, _MISSING_SHARE = 1.0, 0.1
#: More is a placeholder of programs that do not know it.
_LONGEST_S = 7 * 24 * 3600.0
#: Headers round to a frame of sound or to a tenth of a second.
_LEAST_MISSING_S = 0.1


@dataclass(frozen=True)
class Timing:
    """Times and rates of the video stream.

    Sources: packets; header (not measured); rate (counted, at the stated or an assumed rate, as no packet has a time).

    Attributes:
        start_s: Time of the first frame in the file.
        duration_s: From the first frame to the end of the last.
        rate: Frames a second: exact where the rate is constant, else the average.
        announced_duration_s: What the header of a file that was cut short announces.
        disbelieved_duration_s: What the header announces although the file is whole and holds less.
        file_duration_s: Of all streams together, where the header's cannot be right.
        empty_streams: Indexes of streams without a packet.
    """

    start_s: float
    duration_s: float | None
    frame_count: int | None
    source: str
    rate: Fraction | None
    nominal_rate: Fraction | None
    variable: bool
    clock_jumps: int = 0
    undecodable: int = 0
    announced_duration_s: float | None = None
    disbelieved_duration_s: float | None = None
    file_duration_s: float | None = None
    empty_streams: frozenset[int] = frozenset()


def _stated_timing(video: Mapping[str, Any]) -> Timing:
    """The timing as the headers of the stream state it, which is only a hint."""
    nominal, average = _stated_rates(video)
    duration_s = streams.seconds(video.get("duration"))
    return Timing(
        start_s=streams.seconds(video.get("start_time")) or 0.0,
        duration_s=duration_s if duration_s and duration_s > 0 else None,
        frame_count=streams.positive_int(video.get("nb_frames")),
        source="header",
        rate=average or nominal,
        nominal_rate=nominal,
        variable=False,
    )


def measured_timing(path: Path, video: Mapping[str, Any], container: Mapping[str, Any], layout: FileLayout) -> Timing:
    """The timing of a video stream, read from its packets: the whole file is read once, nothing is decoded.

    Args:
        path: The file.
        video: ffprobe's description of the stream.
        container: ffprobe's description of the format.
        layout: Of the file.

    Raises:
        TimeLimitError: Reading took longer than even a slow disk needs.
    """
    stated = _stated_timing(video)
    nominal, average = _stated_rates(video)
    field_s = float(1 / average / 2) if average and video.get("field_order") in streams.INTERLACED_ORDERS else None
    packets = read_packets(
        path,
        int(video["index"]),
        streams.format_name(container),
        field_s=field_s,
        delay=streams.positive_int(video.get("has_b_frames")) or 0,
        codec=str(video.get("codec_name")),
    )
    if packets is None:
        return stated
    empty = frozenset(range(int(container.get("nb_streams") or 0))) - packets.ends_s.keys()
    times_s = packets.times_s
    rate = measured_rate(times_s, (average, nominal), times_s[-1] + packets.durations_s[-1]) if times_s else None
    if not times_s or (rate and rate.average < streams.SLOWEST_RATE):
        return _untimed(stated, packets.count, empty)
    duration_s = times_s[-1] + _last_duration_s(packets, rate) - times_s[0]
    if not duration_s and average:
        duration_s = float(packets.count / average)
    size = stated_bytes(path, layout)
    is_cut = size is None or size > os.stat(path).st_size
    announced_s = _announced_duration_s(path, video, container, packets, duration_s)
    if announced_s is None and is_cut and size and streams.format_name(container) == "mov":
        announced_s = _announced_by_track_s(video, packets, duration_s)
    file_duration_s = duration_s if packets.clock_jumps else packets.length_s if announced_s else None
    exact = rate.average if rate else _rate_of_one(duration_s, average, nominal)
    return Timing(
        start_s=times_s[0],
        duration_s=duration_s or None,
        frame_count=packets.count,
        source="packets",
        rate=exact,
        nominal_rate=exact if rate is None or rate.constant else _possible(nominal, rate),
        variable=rate is not None and not rate.constant,
        clock_jumps=packets.clock_jumps,
        undecodable=packets.undecodable,
        announced_duration_s=announced_s if is_cut else None,
        disbelieved_duration_s=None if is_cut else announced_s,
        file_duration_s=file_duration_s,
        empty_streams=empty,
    )


def _untimed(stated: Timing, count: int, empty: frozenset[int]) -> Timing:
    """Of a raw stream, whose packets carry no times: the stated rate is all there is, unless it is a clock's."""
    if not count:
        return replace(stated, duration_s=None, frame_count=None, source="none", rate=None, empty_streams=empty)
    rate = stated.rate if stated.rate and stated.rate <= _FASTEST_STATED else _ASSUMED_RATE
    return replace(
        stated,
        duration_s=float(count / rate),
        frame_count=count,
        source="rate",
        rate=rate,
        nominal_rate=rate,
        empty_streams=empty,
    )


def _stated_rates(video: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    return streams.frame_rate(video.get("r_frame_rate")), streams.frame_rate(video.get("avg_frame_rate"))


def _last_duration_s(packets: PacketFacts, rate: FrameRate | None) -> float:
    """How long the last picture is shown: as its packet states, unless the durations of all do not fit the times.

    Demuxers make durations up from a tick rate where the container has none, and Matroska names none of most packets.
    """
    last_s = packets.durations_s[-1]
    if rate is None:
        return last_s
    import numpy as np  # here: commands that measure nothing need not load it

    usual_s = float(np.median(packets.durations_s))
    invented = len(packets.times_s) > 2 and abs(usual_s - rate.interval_s) > _AGREES * rate.interval_s
    if not last_s or (rate.constant and invented):
        last_gap_s = packets.times_s[-1] - packets.times_s[-2]
        return rate.interval_s if rate.constant else last_gap_s
    return last_s


def _rate_of_one(duration_s: float, *stated: Fraction | None) -> Fraction | None:
    """The rate of a single picture: a stated one that agrees with how long it is shown."""
    for rate in stated:
        if rate and abs(float(1 / rate) - duration_s) <= _AGREES * duration_s:
            return rate
    return None


def _possible(nominal: Fraction | None, rate: FrameRate) -> Fraction | None:
    """The stated rate of a stream of variable rate, unless it is that of a clock."""
    return nominal if nominal and float(1 / nominal) > rate.interval_s * (1 - _AGREES) else None


def _announced_duration_s(
    path: Path, video: Mapping[str, Any], container: Mapping[str, Any], packets: PacketFacts, held_s: float
) -> float | None:
    """The duration that the header announces; None where one of the streams, perhaps the sound, reaches that end."""
    kind = streams.format_name(container)
    announced_s = streams.seconds(container.get("duration"))
    frames, rate = streams.positive_int(video.get("nb_frames")), streams.frame_rate(video.get("avg_frame_rate"))
    if kind == "avi" and frames and rate:
        announced_s = float(frames / rate)  # ffprobe's own duration is what the file's size leaves of it
    elif kind == "asf":
        announced_s = asf_duration_s(path)
    if kind not in _STATED_DURATIONS or not announced_s or announced_s >= _LONGEST_S or packets.end_s is None:
        return None
    end_s = packets.end_s - min(0.0, packets.times_s[0])
    return announced_s if _is_short(end_s, announced_s, held_s / packets.count) else None


def _announced_by_track_s(video: Mapping[str, Any], packets: PacketFacts, held_s: float) -> float | None:
    """The duration that the track of the video announces, where it holds less: in MP4 each has its own."""
    announced_s = streams.seconds(video.get("duration"))
    return announced_s if announced_s and _is_short(held_s, announced_s, held_s / packets.count) else None


def _is_short(held_s: float, announced_s: float, interval_s: float) -> bool:
    return announced_s - held_s > max(min(_MISSING_S, announced_s * _MISSING_SHARE), 3 * interval_s, _LEAST_MISSING_S)
