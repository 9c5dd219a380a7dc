"""How long a video stream is, how many frames it has and how fast they follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.media import streams
from vidpipe.media.packets import PacketFacts, read_packets

#: Average and nominal rate that differ by more may mean a variable rate (or fields): the packets' times tell.
_RATE_AGREES = Fraction(1, 100)


@dataclass(frozen=True)
class Timing:
    """start_s: time of the first frame in the file; rates in frames a second; sources: header, packets or none."""

    start_s: float
    duration_s: float | None
    duration_source: str
    frame_count: int | None
    frame_count_source: str
    average_rate: Fraction | None
    nominal_rate: Fraction | None
    variable: bool

    @property
    def exact_rate(self) -> Fraction | None:
        """The nominal rate where frames keep to it, else the average."""
        average, nominal = self.average_rate, self.nominal_rate
        return nominal if nominal and average and not self.variable and _agree(average, nominal) else average


def timing(path: Path, video: Mapping[str, Any]) -> Timing:
    """The timing of the stream that ffprobe describes as `video`.

    From the headers where they tell everything and agree with themselves; else the packets are read (not decoded),
    which costs reading the file once. Raises MediaError where that takes too long.
    """
    nominal = streams.fraction(video.get("r_frame_rate"))
    average = streams.fraction(video.get("avg_frame_rate"))
    duration_s = _stated_duration(video)
    # the second is mkvmerge's statistics tag
    stated_count = streams.positive_int(video.get("nb_frames")) or streams.positive_int(
        streams.tag(video, "number_of_frames")
    )
    doubtful = nominal is not None and average is not None and not _agree(average, nominal)
    packets: PacketFacts | None = None
    if duration_s is None or stated_count is None or average is None or doubtful:
        packets = read_packets(path, int(video["index"]))

    count = stated_count or (packets.count if packets else 0) or None
    variable = doubtful
    duration_source = "header"
    if packets:
        variable = doubtful if packets.constant is None else not packets.constant
        # more exact than Matroska's tag, which leaves out the last picture where its length is not named
        duration_s = packets.duration_s or duration_s or _duration_by_rate(count, average or nominal)
        duration_source = "packets"
    if count and duration_s and (average is None or variable):
        average = Fraction(count / duration_s).limit_denominator(1001)
    start_s = streams.seconds(video.get("start_time"))
    if start_s is None:
        start_s = (packets.start_s if packets else None) or 0.0
    return Timing(
        start_s=start_s,
        duration_s=duration_s,
        duration_source=duration_source if duration_s else "none",
        frame_count=count,
        frame_count_source="none" if count is None else "header" if stated_count else "packets",
        average_rate=average or nominal,
        nominal_rate=nominal,
        variable=variable,
    )


def _stated_duration(video: Mapping[str, Any]) -> float | None:
    duration_s = streams.seconds(video.get("duration"))
    if duration_s is None and (end_s := streams.seconds(streams.tag(video, "duration"))) is not None:
        # Matroska's statistics tag names the end, not the length
        duration_s = end_s - max(0.0, streams.seconds(video.get("start_time")) or 0.0)
    return duration_s if duration_s and duration_s > 0 else None


def _duration_by_rate(frame_count: int | None, rate: Fraction | None) -> float | None:
    return float(frame_count / rate) if frame_count and rate else None


def _agree(one: Fraction, other: Fraction) -> bool:
    return abs(one - other) <= one * _RATE_AGREES
