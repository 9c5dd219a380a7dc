"""ffprobe's description of the streams, read: which one is the video, what the others are."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from vidpipe.media.facts import AudioStream, Chapter, SubtitleStream

Raw = Mapping[str, Any]

#: Subtitle codecs that hold text; the others are pictures.
TEXT_CODECS = frozenset(
    {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "ttml", "microdvd", "mpl2", "jacosub", "sami",
     "realtext", "stl", "subviewer", "subviewer1", "vplayer", "pjs"}
)  # fmt: skip

#: Codecs of single pictures: covers, where a stream has one frame.
_PICTURE_CODECS = frozenset({"mjpeg", "png", "apng", "gif", "bmp", "webp", "tiff", "jpeg2000", "jpegls", "jpegxl"})
#: Values of `field_order` of interlaced video, whose fields come at twice the rate of frames.
INTERLACED_ORDERS = frozenset({"tt", "bb", "tb", "bt"})

_LONGEST_TEXT = 1000
_MOST_CHAPTERS = 2000
_MOST_STREAMS = 200
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CLOCK = re.compile(r"^(\d{1,10}):(\d\d):(\d\d(?:\.\d+)?)$")
_FRACTION = re.compile(r"([0-9]{1,19})(?:[/:]([0-9]{1,19}))?")
#: Characters; no plausible number is longer.
_LONGEST_NUMBER = 64
_LARGEST_INT = 2**63 - 1
#: Later times are ignored: floating-point numbers do not hold them to the microsecond.
LATEST_S = 1e10
#: One picture a day.
SLOWEST_RATE = Fraction(1, 86400)
#: What ffprobe writes for numbers that the file does not state.
_NOT_STATED = frozenset({"None", "N/A", "", "0", "0/0", "0/1", "0:0", "0:1", "1:0"})
_SHOWN = 40


def video_streams(streams: Sequence[Raw]) -> list[Raw]:
    """The streams that hold moving pictures: no cover art, no thumbnails."""
    return [
        stream
        for stream in streams
        if stream.get("codec_type") == "video"
        and not any(disposition(stream, name) for name in ("attached_pic", "timed_thumbnails", "still_image"))
    ]


def chosen_video(streams: Sequence[Raw]) -> Raw | None:
    """The stream that the ffmpeg program takes when not told which: the largest; a default one before others.

    Source: `map_auto_video` in ffmpeg's fftools.
    """

    def score(stream: Raw) -> int:
        area = int(stream.get("width") or 0) * int(stream.get("height") or 0)
        return area + 5_000_000 * disposition(stream, "default")

    known = [stream for stream in video_streams(streams) if stream.get("codec_name") not in (None, "none", "unknown")]
    return max(known, key=score, default=None)


def is_cover(video: Raw, streams: Sequence[Raw], shown_s: float, file_s: float) -> bool:
    """Whether a stream of one frame is the cover of something longer, although nothing marks it as one.

    shown_s: how long the frame is shown; file_s: how long the file lasts, other streams included. A still that is shown
    for most of the sound was made as a video.
    """
    beside = any(
        stream is not video and (stream.get("codec_type") == "audio" or stream in video_streams(streams))
        for stream in streams
    )
    return beside and file_s >= 1 and (video.get("codec_name") in _PICTURE_CODECS or shown_s < file_s / 2)


def with_cover(streams: Sequence[Raw], cover: Raw) -> list[Raw]:
    """`streams`, in which `cover` is marked as cover art."""
    return [{**stream, "disposition": {"attached_pic": 1}} if stream is cover else stream for stream in streams]


def audio_streams(streams: Sequence[Raw], empty: Collection[int] = ()) -> tuple[AudioStream, ...]:
    """Every audio stream, in the file's order. empty: indexes of streams without a packet."""
    return tuple(
        AudioStream(
            index=int(stream["index"]),
            codec=str(stream.get("codec_name", "unknown")),
            channels=positive_int(stream.get("channels")),
            channel_layout=stream.get("channel_layout"),
            sample_rate_hz=positive_int(stream.get("sample_rate")),
            bit_rate=positive_int(stream.get("bit_rate")),
            language=language(stream),
            title=tag(stream, "title"),
            default=disposition(stream, "default"),
            empty=int(stream["index"]) in empty,
        )
        for stream in streams[:_MOST_STREAMS]
        if stream.get("codec_type") == "audio"
    )


def subtitle_streams(streams: Sequence[Raw]) -> tuple[SubtitleStream, ...]:
    """Every subtitle stream, in the file's order."""
    return tuple(
        SubtitleStream(
            index=int(stream["index"]),
            codec=str(stream.get("codec_name", "unknown")),
            language=language(stream),
            title=tag(stream, "title"),
            default=disposition(stream, "default"),
            forced=disposition(stream, "forced"),
            text=stream.get("codec_name") in TEXT_CODECS,
        )
        for stream in streams[:_MOST_STREAMS]
        if stream.get("codec_type") == "subtitle"
    )


def chapters(listed: Sequence[Raw], offset_s: float) -> tuple[Chapter, ...]:
    """The chapters, in seconds from the first video frame, which is at `offset_s` of the file's own time."""
    found = []
    for chapter in listed[:_MOST_CHAPTERS]:
        start, end = seconds(chapter.get("start_time")), seconds(chapter.get("end_time"))
        if start is not None and end is not None and end >= start:
            found.append(
                Chapter(
                    start_s=round(max(0.0, start - offset_s), 6),
                    end_s=round(max(0.0, end - offset_s), 6),
                    title=tag(chapter, "title"),
                )
            )
    return tuple(found)


def format_name(container: Raw) -> str:
    """Ffprobe's short name of the format, the first of its list: mov, matroska, avi."""
    return str(container.get("format_name", "")).split(",")[0]


def disposition(stream: Raw, name: str) -> bool:
    return bool((stream.get("disposition") or {}).get(name))


def language(stream: Raw) -> str | None:
    """The language code as the file has it, in lower case; None where it is undetermined."""
    code = (tag(stream, "language") or "").lower()
    return code if code and code not in {"und", "unk", "mis", "zxx"} else None


def tag(described: Raw, name: str) -> str | None:
    """A tag of a stream, chapter or format, whatever the case of its name, in clean text; None where it is empty."""
    for key, value in (described.get("tags") or {}).items():
        if key.lower() == name:
            return clean_text(str(value)) or None
    return None


def clean_text(text: str) -> str:
    """`text` from a file, without control characters, at most 1000 characters."""
    return _CONTROLS.sub(" ", text).strip()[:_LONGEST_TEXT]


def seconds(value: Any) -> float | None:
    """Seconds as ffprobe writes them ("12.480000") or as Matroska tags do ("00:00:12.480000000"); None from 317 years
    on.
    """
    text = str(value or "")[:_LONGEST_NUMBER]
    try:
        if clock := _CLOCK.match(text):
            number = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        else:
            number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < LATEST_S else None


def fraction(value: Any) -> Fraction | None:
    """A positive fraction as ffprobe writes it ("30000/1001", "8:9"); None for "0/0" and the like."""
    found = _FRACTION.fullmatch(str(value))
    above, below = (int(found[1]), int(found[2] or 1)) if found else (0, 0)
    return Fraction(above, below) if above and below else None


def frame_rate(value: Any) -> Fraction | None:
    """A stated frame rate; None below `SLOWEST_RATE`."""
    rate = fraction(value)
    return rate if rate and rate >= SLOWEST_RATE else None


def positive_int(value: Any) -> int | None:
    """A whole number above 0 that MongoDB can hold (63 bits), or None."""
    try:
        number = int(str(value)[:_LONGEST_NUMBER])
    except ValueError:
        return None
    return number if 0 < number <= _LARGEST_INT else None


def ignored_numbers(described: Raw) -> Iterator[str]:
    """A sentence for each number in ffprobe's description that is stated but implausible."""
    for described_part in (described["format"], *described["streams"]):
        index = described_part.get("index")
        named = "The file" if index is None else f"Stream {index}"
        for key, read in _NUMBERS.items():
            value = str(described_part.get(key, tag(described_part, key)))
            if value not in _NOT_STATED and read(value) is None:
                yield f"{named} states {key.lower()} {clean_text(value)[:_SHOWN]}, which was ignored."


def created(described: Raw) -> str | None:
    """When the file says it was made, ISO 8601; None where it says nothing, or only the epoch of its format."""
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        try:
            moment = datetime.fromisoformat(tag(described, name) or "")
        except ValueError:
            continue
        if moment.year not in (1904, 1970):
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    return None


_NUMBERS: Mapping[str, Callable[[Any], object]] = {
    "duration": seconds, "start_time": seconds, "bit_rate": positive_int, "nb_frames": positive_int,
    "sample_rate": positive_int, "r_frame_rate": frame_rate, "avg_frame_rate": frame_rate,
    "bps": positive_int, "number_of_frames": positive_int,
}  # fmt: skip
