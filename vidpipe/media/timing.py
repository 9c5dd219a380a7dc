"""Duration, frame count and frame rate of a video stream."""

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.media import streams
from vidpipe.media.container_layout import ContainerLayout, asf_duration_s, stated_bytes
from vidpipe.media.packet_list import PacketList
from vidpipe.media.packets import PacketFacts, read_packets

#: Intervals that differ more than this from the usual one are irregular: containers round times to 1 ms.
_JITTER_S = 0.0015
_JITTER_SHARE = 0.02
#: Shares of stray intervals and lost frames at which the rate is still constant: cameras drop a frame now and then, and
#: broadcasts lose several at once.
_MAX_STRAY_SHARE, _MAX_LOST_SHARE = 0.01, 0.05
#: Deviation of a gap from a whole number of intervals if frames were lost.
_GAP_JITTER = 0.1
#: Errors of an interval whose ends are rounded to 1 ms, and of times printed in microseconds.
_ROUNDING_S, _PRINTED_S = 0.0011, 2e-6
_BROADCAST_RATES = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))
_MAX_DENOMINATOR = 1001


@dataclass(frozen=True)
class FrameRate:
    """Frame rate measured on presentation times.

    Attributes:
        interval_s: The usual interval between two pictures, in seconds.
        constant: Whether nearly all pictures keep to it.
        average: Pictures per second; exact (30000/1001) if the rate is constant.
    """

    interval_s: float
    constant: bool
    average: Fraction


def measured_rate(times_s: Sequence[float], stated: Iterable[Fraction | None], end_s: float) -> FrameRate | None:
    """Measure the frame rate.

    Args:
        times_s: Presentation times in seconds, in ascending order.
        stated: Rates stated by headers, the most trusted first. One that agrees with the times is the exact rate.
        end_s: End of the last picture, in seconds.

    Returns:
        The rate, or None if there are fewer than two distinct times.
    """
    import numpy as np  # not loaded by commands that measure nothing

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
    constant = stray <= len(intervals) * _MAX_STRAY_SHARE and lost <= max(1, len(intervals) * _MAX_LOST_SHARE)
    if not constant:
        average = Fraction(len(times_s) / (end_s - times_s[0]))
        return FrameRate(usual_s, constant, average.limit_denominator(_MAX_DENOMINATOR))
    return FrameRate(mean_s, constant, _exact_rate(mean_s, len(regular), stated))


def _exact_rate(interval_s: float, count: int, stated: Iterable[Fraction | None]) -> Fraction:
    """Return the stated or common rate that agrees with a mean of `count` intervals, else the measured rate."""
    measured = Fraction(1 / interval_s)
    whole = Fraction(max(1, round(measured)))
    slow = Fraction(1, max(1, round(interval_s)))
    tolerance_s = _ROUNDING_S / count + _PRINTED_S
    for rate in (*stated, whole, *_BROADCAST_RATES, slow):
        if rate and abs(float(1 / rate) - interval_s) <= tolerance_s:
            return rate
    return measured.limit_denominator(_MAX_DENOMINATOR)


#: Containers whose header states the duration of the complete file; for others, ffprobe estimates it.
_STATED_DURATIONS = frozenset({"mov", "matroska", "flv", "avi", "asf", "mxf", "gxf", "nut", "rm"})
#: A stated rate above this is a clock rate (1000, 90,000).
_MAX_STATED_RATE = 240
#: ffmpeg's default for raw streams without a stated rate.
_ASSUMED_RATE = Fraction(25)
#: Relative deviation of a packet's duration from the interval to the next one at which it is trusted.
_DURATION_TOLERANCE = 0.1
#: Seconds or share of the duration that may be missing at the end of complete files.
_MAX_MISSING_S, _MAX_MISSING_SHARE = 1.0, 0.1
#: A longer duration is a placeholder of programs that do not know it.
_MAX_DURATION_S = 7 * 24 * 3600.0
#: Headers round to an audio frame or to a tenth of a second.
_MIN_MISSING_S = 0.1


@dataclass(frozen=True)
class StreamTiming:
    """Times and rates of the video stream.

    Attributes:
        start_s: Time of the first frame in the file, in seconds.
        duration_s: Duration from the first frame to the end of the last, in seconds.
        frame_count: Number of frames.
        source: "packets"; "header" (not measured); "rate" (frames counted, at the stated or a default rate, because no
            packet has a timestamp); or "none".
        rate: Frames per second: exact if the rate is constant, else the average.
        nominal_rate: The exact rate; if it is variable, the stated rate unless that is a clock rate.
        variable: Whether the frame rate is variable.
        clock_jumps: Number of jumps of the stream's clock.
        undecodable: Number of packets at the beginning whose references are missing.
        announced_duration_s: Duration in the header of a truncated file.
        ignored_duration_s: Duration in the header of a file that is complete, but shorter.
        file_duration_s: Duration of all streams together, if the duration in the header cannot be right.
        empty_streams: Indexes of streams without packets.
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
    ignored_duration_s: float | None = None
    file_duration_s: float | None = None
    empty_streams: frozenset[int] = frozenset()


def _stated_timing(video: Mapping[str, Any]) -> StreamTiming:
    """Return the timing stated by the stream's headers, which is only a hint."""
    nominal, average = _stated_rates(video)
    duration_s = streams.seconds(video.get("duration"))
    return StreamTiming(
        start_s=streams.seconds(video.get("start_time")) or 0.0,
        duration_s=duration_s if duration_s and duration_s > 0 else None,
        frame_count=streams.positive_int(video.get("nb_frames")),
        source="header",
        rate=average or nominal,
        nominal_rate=nominal,
        variable=False,
    )


def measured_timing(
    path: Path,
    video: Mapping[str, Any],
    container: Mapping[str, Any],
    layout: ContainerLayout | None,
    listed: PacketList | None = None,
) -> StreamTiming:
    """Measure the timing of a video stream on its packets. Decodes nothing.

    Args:
        path: The file.
        video: ffprobe's description of the stream.
        container: ffprobe's description of the format.
        layout: The layout of the file.
        listed: The packets, as for `read_packets`; by default, the whole file is read.

    Raises:
        TimeLimitError: Reading took longer than a slow disk would need.
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
        listed=listed,
    )
    if packets is None:
        return stated
    empty = frozenset(range(int(container.get("nb_streams") or 0))) - packets.ends_s.keys()
    times_s = packets.times_s
    rate = measured_rate(times_s, (average, nominal), times_s[-1] + packets.durations_s[-1]) if times_s else None
    if not times_s or (rate and rate.average < streams.MIN_FRAME_RATE):
        return _timing_without_times(stated, packets.count, empty)
    duration_s = times_s[-1] + _last_duration_s(packets, rate) - times_s[0]
    if not duration_s and average:
        duration_s = float(packets.count / average)
    size = stated_bytes(path, layout)
    is_cut = size is None or size > os.stat(path).st_size
    announced_s = _announced_duration_s(path, video, container, packets, duration_s)
    if announced_s is None and is_cut and size and streams.format_name(container) == "mov":
        announced_s = _announced_track_duration_s(video, packets, duration_s)
    file_duration_s = duration_s if packets.clock_jumps else packets.length_s if announced_s else None
    exact = rate.average if rate else _still_rate(duration_s, average, nominal)
    return StreamTiming(
        start_s=times_s[0],
        duration_s=duration_s or None,
        frame_count=packets.count,
        source="packets",
        rate=exact,
        nominal_rate=exact if rate is None or rate.constant else _plausible_rate(nominal, rate),
        variable=rate is not None and not rate.constant,
        clock_jumps=packets.clock_jumps,
        undecodable=packets.undecodable,
        announced_duration_s=announced_s if is_cut else None,
        ignored_duration_s=None if is_cut else announced_s,
        file_duration_s=file_duration_s,
        empty_streams=empty,
    )


def _timing_without_times(stated: StreamTiming, count: int, empty: frozenset[int]) -> StreamTiming:
    """Return the timing of a raw stream, whose packets have no times: at the stated rate unless it is a clock rate."""
    if not count:
        return replace(stated, duration_s=None, frame_count=None, source="none", rate=None, empty_streams=empty)
    rate = stated.rate if stated.rate and stated.rate <= _MAX_STATED_RATE else _ASSUMED_RATE
    counted = replace(stated, frame_count=count, source="rate", empty_streams=empty)
    return replace(counted, duration_s=float(count / rate), rate=rate, nominal_rate=rate)


def _stated_rates(video: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    return streams.frame_rate(video.get("r_frame_rate")), streams.frame_rate(video.get("avg_frame_rate"))


def _last_duration_s(packets: PacketFacts, rate: FrameRate | None) -> float:
    """Return the duration of the last picture: as its packet states, unless stated durations contradict the times.

    Demuxers invent durations from a tick rate if the container has none, and Matroska omits most of them.
    """
    last_s = packets.durations_s[-1]
    if rate is None:
        return last_s
    import numpy as np  # not loaded by commands that measure nothing

    usual_s = float(np.median(packets.durations_s))
    invented = len(packets.times_s) > 2 and abs(usual_s - rate.interval_s) > _DURATION_TOLERANCE * rate.interval_s
    if not last_s or (rate.constant and invented):
        last_gap_s = packets.times_s[-1] - packets.times_s[-2]
        return rate.interval_s if rate.constant else last_gap_s
    return last_s


def _still_rate(duration_s: float, *stated: Fraction | None) -> Fraction | None:
    """Return the stated rate that agrees with the duration of a single picture."""
    for rate in stated:
        if rate and abs(float(1 / rate) - duration_s) <= _DURATION_TOLERANCE * duration_s:
            return rate
    return None


def _plausible_rate(nominal: Fraction | None, rate: FrameRate) -> Fraction | None:
    """Return the stated rate of a stream of variable rate, unless it is a clock rate."""
    return nominal if nominal and float(1 / nominal) > rate.interval_s * (1 - _DURATION_TOLERANCE) else None


def last_frame_s(frames: int, last_us: int, last_gap_us: int, nominal_s: float, expected_s: float | None) -> float:
    """Return the duration of the last frame, in seconds.

    It is the rest of the expected duration if that is about as long as a frame, else that of the frame before.

    Args:
        frames: Number of frames.
        last_us: Time of the last one, in microseconds from the first.
        last_gap_us: Interval between the last two, in microseconds; 0 if unknown.
        nominal_s: Interval at the average frame rate, in seconds.
        expected_s: Duration of the stream, in seconds, if known.
    """
    gap_s = last_gap_us / 1e6 or nominal_s
    if expected_s is not None:
        left_s = expected_s - last_us / 1e6
        if left_s > 0 and (frames == 1 or left_s <= 3 * max(gap_s, nominal_s)):
            return left_s
    return gap_s


def _announced_duration_s(
    path: Path, video: Mapping[str, Any], container: Mapping[str, Any], packets: PacketFacts, measured_s: float
) -> float | None:
    """Return the duration that the header announces; None if one of the streams, perhaps the audio, is as long."""
    kind = streams.format_name(container)
    announced_s = streams.seconds(container.get("duration"))
    frames, rate = streams.positive_int(video.get("nb_frames")), streams.frame_rate(video.get("avg_frame_rate"))
    if kind == "avi" and frames and rate:
        announced_s = float(frames / rate)  # ffprobe reduces the duration of a truncated file
    elif kind == "asf":
        announced_s = asf_duration_s(path)
    if kind not in _STATED_DURATIONS or not announced_s or announced_s >= _MAX_DURATION_S or packets.end_s is None:
        return None
    end_s = packets.end_s - min(0.0, packets.times_s[0])
    return announced_s if _is_short(end_s, announced_s, measured_s / packets.count) else None


def _announced_track_duration_s(video: Mapping[str, Any], packets: PacketFacts, measured_s: float) -> float | None:
    """Return the duration that the video track of an MP4 file announces, if the track is shorter."""
    announced_s = streams.seconds(video.get("duration"))
    interval_s = measured_s / packets.count
    return announced_s if announced_s and _is_short(measured_s, announced_s, interval_s) else None


def _is_short(measured_s: float, announced_s: float, interval_s: float) -> bool:
    tolerance_s = min(_MAX_MISSING_S, announced_s * _MAX_MISSING_SHARE)
    return announced_s - measured_s > max(tolerance_s, 3 * interval_s, _MIN_MISSING_S)
