"""Interprets ffprobe's description of a file: which stream is the video, what the others are, numbers and tags."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from vidpipe.media.facts import AudioStream, Chapter, SubtitleStream

Raw = Mapping[str, Any]

#: Text subtitle codecs; the others are bitmaps.
TEXT_CODECS = frozenset(
    {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "ttml", "microdvd", "mpl2", "jacosub", "sami",
     "realtext", "stl", "subviewer", "subviewer1", "vplayer", "pjs"}
)  # fmt: skip

#: Codecs of still pictures: a stream of one frame is a cover.
_STILL_CODECS = frozenset({"mjpeg", "png", "apng", "gif", "bmp", "webp", "tiff", "jpeg2000", "jpegls", "jpegxl"})
#: Values of `field_order` of interlaced video, whose field rate is twice the frame rate.
INTERLACED_ORDERS = frozenset({"tt", "bb", "tb", "bt"})

_MAX_TEXT_LENGTH = 1000
_MAX_CHAPTERS = 2000
_MAX_LISTED_STREAMS = 200
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_CLOCK = re.compile(r"^(\d{1,10}):(\d\d):(\d\d(?:\.\d+)?)$")
_FRACTION = re.compile(r"([0-9]{1,19})(?:[/:]([0-9]{1,19}))?")
#: No plausible number has more characters.
_MAX_NUMBER_LENGTH = 64
_MAX_INT = 2**63 - 1
#: Later times (317 years) are ignored: floating-point numbers do not represent them to the microsecond.
MAX_TIME_S = 1e10
#: One frame per day.
MIN_FRAME_RATE = Fraction(1, 86400)
#: Values that ffprobe prints for numbers the file does not state.
_NOT_STATED = frozenset({"None", "N/A", "", "0", "0/0", "0/1", "0:0", "0:1", "1:0"})
_MAX_SHOWN_LENGTH = 40


def video_streams(streams: Sequence[Raw]) -> list[Raw]:
    """Return the video streams without cover art and thumbnails."""
    return [
        stream
        for stream in streams
        if stream.get("codec_type") == "video"
        and not any(disposition(stream, name) for name in ("attached_pic", "timed_thumbnails", "still_image"))
    ]


def chosen_video(streams: Sequence[Raw]) -> Raw | None:
    """Return the stream that the ffmpeg program selects by default: the largest, with a bonus for the default flag.

    Source: `map_auto_video` in ffmpeg's fftools.
    """

    def score(stream: Raw) -> int:
        area = int(stream.get("width") or 0) * int(stream.get("height") or 0)
        return area + 5_000_000 * disposition(stream, "default")

    known = [stream for stream in video_streams(streams) if stream.get("codec_name") not in (None, "none", "unknown")]
    return max(known, key=score, default=None)


def is_cover(video: Raw, streams: Sequence[Raw], shown_s: float, file_s: float) -> bool:
    """Return whether a stream of one frame is an unmarked cover rather than a video.

    A still that is shown for most of the file's duration is a video.

    Args:
        video: The stream.
        streams: All streams of the file.
        shown_s: Duration of the frame, in seconds.
        file_s: Duration of the file with all its streams, in seconds.
    """
    has_others = any(
        stream is not video and (stream.get("codec_type") == "audio" or stream in video_streams(streams))
        for stream in streams
    )
    return has_others and file_s >= 1 and (video.get("codec_name") in _STILL_CODECS or shown_s < file_s / 2)


def audio_streams(streams: Sequence[Raw], empty: Collection[int] = ()) -> tuple[AudioStream, ...]:
    """Return the audio streams in the file's order.

    Args:
        streams: All streams.
        empty: Indexes of streams without packets.
    """
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
        for stream in streams[:_MAX_LISTED_STREAMS]
        if stream.get("codec_type") == "audio"
    )


def subtitle_streams(streams: Sequence[Raw]) -> tuple[SubtitleStream, ...]:
    """Return the subtitle streams in the file's order."""
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
        for stream in streams[:_MAX_LISTED_STREAMS]
        if stream.get("codec_type") == "subtitle"
    )


def chapters(listed: Sequence[Raw], offset_s: float) -> tuple[Chapter, ...]:
    """Return the chapters, in seconds from the first video frame.

    Args:
        listed: ffprobe's list of chapters.
        offset_s: Time of the first video frame in the file.
    """
    found = []
    for chapter in listed[:_MAX_CHAPTERS]:
        start, end = seconds(chapter.get("start_time")), seconds(chapter.get("end_time"))
        if start is not None and end is not None and end >= start:
            start_s, end_s = (round(max(0.0, time_s - offset_s), 6) for time_s in (start, end))
            found.append(Chapter(start_s=start_s, end_s=end_s, title=tag(chapter, "title")))
    return tuple(found)


def format_name(container: Raw) -> str:
    """Return the first of ffprobe's short names of the format: mov, matroska, avi."""
    return str(container.get("format_name", "")).split(",")[0]


def disposition(stream: Raw, name: str) -> bool:
    """Return whether a disposition flag (default, forced, attached_pic) of a stream is set."""
    return bool((stream.get("disposition") or {}).get(name))


def language(stream: Raw) -> str | None:
    """Return the language code in lower case; None if it is undetermined."""
    code = (tag(stream, "language") or "").lower()
    return code if code and code not in {"und", "unk", "mis", "zxx"} else None


def tag(described: Raw, name: str) -> str | None:
    """Return a tag of a stream, chapter or format as clean text; None if it is empty. Case-insensitive."""
    for key, value in (described.get("tags") or {}).items():
        if key.lower() == name:
            return clean_text(str(value)) or None
    return None


def clean_text(text: str) -> str:
    """Remove control characters from a text of the file, and limit it to 1000 characters."""
    return _CONTROLS.sub(" ", text).strip()[:_MAX_TEXT_LENGTH]


def seconds(value: Any) -> float | None:
    """Parse seconds as ffprobe prints them ("12.480000") or as in Matroska tags ("00:00:12.480000000").

    Returns:
        None if the value is not a number, or beyond `MAX_TIME_S`.
    """
    text = str(value or "")[:_MAX_NUMBER_LENGTH]
    try:
        if clock := _CLOCK.match(text):
            number = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        else:
            number = float(text)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < MAX_TIME_S else None


def fraction(value: Any) -> Fraction | None:
    """Parse a positive fraction as ffprobe prints it ("30000/1001", "8:9"); None for "0/0" and the like."""
    found = _FRACTION.fullmatch(str(value))
    numerator, denominator = (int(found[1]), int(found[2] or 1)) if found else (0, 0)
    return Fraction(numerator, denominator) if numerator and denominator else None


def frame_rate(value: Any) -> Fraction | None:
    """Parse a stated frame rate; None below `MIN_FRAME_RATE`."""
    rate = fraction(value)
    return rate if rate and rate >= MIN_FRAME_RATE else None


def positive_int(value: Any) -> int | None:
    """Parse a positive integer that MongoDB can store (63 bits); None for anything else."""
    try:
        number = int(str(value)[:_MAX_NUMBER_LENGTH])
    except ValueError:
        return None
    return number if 0 < number <= _MAX_INT else None


def ignored_numbers(described: Raw) -> Iterator[str]:
    """Yield a sentence for each stated but implausible number in ffprobe's description."""
    for described_part in (described["format"], *described["streams"]):
        index = described_part.get("index")
        named = "The file" if index is None else f"Stream {index}"
        for key, read in _NUMBERS.items():
            value = str(described_part.get(key, tag(described_part, key)))
            if value not in _NOT_STATED and read(value) is None:
                yield f"{named} states {key.lower()} {clean_text(value)[:_MAX_SHOWN_LENGTH]}, which was ignored."


def created(described: Raw) -> str | None:
    """Return the stated creation time as ISO 8601; None if there is none, or only the epoch of the format."""
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
