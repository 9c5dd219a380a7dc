"""Describes a video file with ffprobe, and measures its times on the packets.

The command is that of ffmpeg-python's `ffmpeg.probe` (-show_format -show_streams -of json), which itself supports
neither the guard against hostile files nor a time limit.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.media import memory, refusal, streams
from vidpipe.media.container_layout import ContainerLayout, read_layout
from vidpipe.media.facts import AudioStream, MediaInfo
from vidpipe.media.ffmpeg import (
    MAX_STREAMS,
    WITHOUT_METADATA,
    decodable_input,
    ffprobe_command,
    graph_command,
    graph_input,
    input_address,
)
from vidpipe.media.memory import TimeLimits
from vidpipe.media.packet_list import PACKET_ENTRIES
from vidpipe.media.picture_format import picture_facts
from vidpipe.media.programs import TimeLimitError, run
from vidpipe.media.quick_check import QuickCheck
from vidpipe.media.sniff import sniff
from vidpipe.media.subtitles import read_cues
from vidpipe.media.timing import StreamTiming, measured_timing
from vidpipe.media.transport_stream import is_encrypted_stream
from vidpipe.settings.operation import Limits

_MAX_COVERS = 8
#: A cover is a single packet; the first packets of a video may be hidden by an edit list.
_FIRST_PACKETS = 64
#: Reads the first packets and frames. 16 packets are usually enough for two pictures; if not, ffmpeg reads on.
_READ_BEGINNING = ("-read_intervals", "%+#16", "-skip_frame", "nokey", "-show_packets", "-show_frames")
_BEGINNING_ENTRIES = ":packet=stream_index,flags:frame=stream_index,media_type"
#: A file may have hundreds of streams with notes.
_MAX_NOTES = 50
_MAX_DESCRIPTION_BYTES = 16 << 20
#: Up to this size, ffprobe takes longer to start than to list the packets, and the list fits into memory.
_SHORT_FILE_BYTES = 16 << 20
#: Tags in use; a file may hold megabytes of others.
_TAGS = "title,language,bps,number_of_frames,duration,creation_time,date,com.apple.quicktime.creationdate"
_ENTRIES = (
    f"format:stream:chapter:stream_disposition:stream_side_data:format_tags={_TAGS}:stream_tags={_TAGS}:"
    "chapter_tags=title"
)
#: Stream type of H.264 with partially encrypted pictures (HLS Sample-AES) in an MPEG transport stream.
_SAMPLE_AES = "0x00db"


def probe(
    path: Path, *, name: str | None = None, limits: Limits | None = None, time: TimeLimits | None = None
) -> MediaInfo:
    """Describe a video file: its container and streams, with times from the first video frame.

    Args:
        path: The file.
        name: Its name in errors; by default the file name.
        limits: Limits of memory and picture size.
        time: Time limits.

    Raises:
        MediaError: The file is not a usable video; the error states what it is instead.
        UnavailableError: ffprobe is missing.
    """
    name = name or path.name
    with _reading(name, limits, time):
        layout = _checked_layout(path, name)
        described = _describe_with_packets(path, name, layout)
        container = described["format"]
        listed, video, times = _video(path, name, described, layout, measure=True)
        assert times is not None  # noqa: S101  (measured)
        audio, notes = streams.audio_streams(listed, times.empty_streams), []
        if layout and layout.sound_encrypted:
            audio = ()
            notes.append("Its sound is encrypted and was left out.")
        subtitle_streams = streams.subtitle_streams(listed)
        read = read_cues(path, subtitle_streams, times.start_s)
        picture, picture_notes = picture_facts(path, video)
        notes = [*streams.ignored_numbers(described), *_notes(times, audio), *picture_notes, *notes, *read.notes]
        size_bytes = os.stat(path).st_size
        container_duration_s = times.file_duration_s or streams.seconds(container.get("duration"))
        return MediaInfo(
            container=streams.format_name(container),
            container_name=str(container.get("format_long_name", "")),
            duration_s=None if times.duration_s is None else round(times.duration_s, 6),
            container_duration_s=container_duration_s,
            duration_source=times.source if times.duration_s else "none",
            announced_duration_s=times.announced_duration_s,
            clock_jumps=times.clock_jumps,
            undecodable_packets=times.undecodable,
            size_bytes=size_bytes,
            bit_rate=_bit_rate(container, size_bytes, times),
            video_stream=int(video["index"]),
            video_streams=len(streams.video_streams(listed)),
            video_codec=str(video["codec_name"]),
            video_profile=video.get("profile"),
            video_bit_rate=streams.positive_int(video.get("bit_rate"))
            or streams.positive_int(streams.tag(video, "bps")),
            frame_rate=round(float(times.rate), 3) if times.rate else None,
            frame_rate_exact=_fraction_text(times.rate),
            nominal_frame_rate=_fraction_text(times.nominal_rate),
            variable_frame_rate=times.variable,
            frame_count=times.frame_count,
            frame_count_source="packets" if times.source == "rate" else times.source if times.frame_count else "none",
            audio=audio,
            subtitles=subtitle_streams,
            cues=read.cues,
            cues_truncated=read.truncated,
            chapters=streams.chapters(described.get("chapters", ()), times.start_s),
            title=streams.tag(container, "title"),
            created=streams.created(container) or streams.created(video),
            faststart=layout.faststart if layout else None,
            notes=tuple(notes[:_MAX_NOTES]),
            **picture,
        )


@contextlib.contextmanager
def _reading(name: str, limits: Limits | None, time: TimeLimits | None) -> Iterator[None]:
    """Apply limits within the block, and make errors name the file."""
    try:
        with memory.reading(memory.FileLimits(limits or Limits(), time=time or TimeLimits())):
            yield
    except MediaError as error:
        error.about(name)
        raise


def check_decodable(
    path: Path,
    *,
    name: str | None = None,
    limits: Limits | None = None,
    time: TimeLimits | None = None,
    quick: QuickCheck | None = None,
) -> str:
    """Check that `probe` accepts a file and that one of its pictures decodes, without reading all of it.

    Args:
        path: The file.
        name: Its name in errors, such as its URL; by default the file name.
        limits: Limits of memory and picture size.
        time: Time limits.
        quick: Checks most files, if there are many; programs started for the file alone check the others.

    Returns:
        The container, as in `MediaInfo`.

    Raises:
        MediaError: The file is not a usable video; the error states what it is instead (empty, an HTML page, a picture,
            audio only, a playlist, truncated, encrypted, of an unknown codec, damaged throughout) and what to do.
        UnavailableError: ffmpeg or ffprobe is missing.
    """
    name = name or path.name
    with _reading(name, limits, time):
        layout = _checked_layout(path, name)
        if quick and layout and (container := quick.container(path)):
            return container
        # starting a program takes longer than its work here, so a single one checks nearly all files
        try:
            described = describe(path, name, *_READ_BEGINNING, show=_ENTRIES + _BEGINNING_ENTRIES)
        except MediaError as error:
            # retry without decoding, which may take much time, unless the result is certain or as slow
            if sniff(path) or isinstance(error, (memory.MemoryLimitError, TimeLimitError)):
                raise
            described = describe(path, name)
        beginning = described.pop("packets_and_frames", ())
        if _begins_with_video(described["streams"], beginning):
            return streams.format_name(described["format"])
        _, video, _ = _video(path, name, described, layout, measure=False)
        picture = graph_input(path)[str(video["index"])].output(
            "pipe:1", format="framecrc", threads=1, **{"frames:v": 1, **WITHOUT_METADATA}
        )
        timeout_s = memory.current().time.headers_s
        done = run(graph_command([picture]), timeout_s=timeout_s, task="decoding the first picture")
        if not any(line and not line.startswith(b"#") for line in done.stdout.splitlines()):
            raise refusal.undecodable(name, str(video["codec_name"]), done.stderr)
        return streams.format_name(described["format"])


def describe(path: Path, name: str, *arguments: str, show: str = _ENTRIES) -> dict[str, Any]:
    """Return ffprobe's description of a file.

    Args:
        path: The file.
        name: Its name in errors.
        *arguments: Further arguments of ffprobe.
        show: The entries to print.

    Returns:
        `format`, `streams` and `chapters`; and `too_large`, the size ("16384x8640") of a picture that ffprobe did not
        decode for its size, or None.

    Raises:
        MediaError: As for `probe`.
    """
    _, address = decodable_input(path, name)
    limits = memory.current()
    done = run(
        ffprobe_command(path, "-threads", "1", *arguments, show=show, output="json=compact=1"),
        timeout_s=limits.time.headers_s,
        task="reading the headers",
        max_output_bytes=_MAX_DESCRIPTION_BYTES,
        processor_s=limits.settings.header_seconds,
    )
    if done.too_many_streams:
        raise refusal.too_many_streams(name, MAX_STREAMS)
    if done.returncode != 0:
        raise refusal.unreadable(path, name, done.stderr, done.refused_format)
    described: dict[str, Any] = json.loads(done.stdout.decode("utf-8", errors="replace"))
    described = {"format": {}, "streams": [], "chapters": [], **described}
    described["too_large"] = refusal.oversized_picture(done.stderr)
    if address != input_address(path):  # ffprobe read a converted file
        described["format"] = {**described["format"], "format_name": "webp", "format_long_name": "Animated WebP"}
        described["format"].pop("bit_rate", None)
        described["streams"] = [{**stream, "codec_name": "webp"} for stream in described["streams"]]
    return described


def _describe_with_packets(path: Path, name: str, layout: ContainerLayout | None) -> dict[str, Any]:
    """Return the description of a file, with all `packets` if a single start of ffprobe can print both.

    ffprobe prints the streams last. By then, those of fragmented and live files differ from what the headers state.
    """
    if layout and layout.stated_bytes and os.stat(path).st_size <= _SHORT_FILE_BYTES:
        with contextlib.suppress(MediaError):  # perhaps of the packets
            return describe(path, name, show=f"{_ENTRIES}:{PACKET_ENTRIES}")
    return describe(path, name)


def _begins_with_video(listed: Sequence[streams.Raw], beginning: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the first packets and frames show a video stream of several pictures, one of which decodes."""
    video = streams.chosen_video(listed)
    if video is None or video.get("codec_tag") == _SAMPLE_AES or not (video.get("width") and video.get("height")):
        return False
    own = [entry for entry in beginning if entry.get("stream_index") == video["index"]]
    decoded = any(entry["type"] == "frame" and entry.get("media_type") == "video" for entry in own)
    return decoded and sum(entry["type"] == "packet" and _is_shown(entry.get("flags", "")) for entry in own) > 1


def _is_shown(flags: str) -> bool:
    """Return whether a packet with these flags is a picture that is not hidden by an edit list."""
    return "_" in flags and "D" not in flags


def _checked_layout(path: Path, name: str) -> ContainerLayout | None:
    """Return the layout of a file, if it is MP4, MOV, Matroska or WebM.

    Raises:
        MediaError: The beginning of the file shows that it is not a usable video, whatever ffprobe reports: ffmpeg
            reads pictures as videos of one frame, and decodes encrypted video to noise.
    """
    try:
        if os.stat(path).st_size == 0:
            raise refusal.unreadable(path, name, "")
        layout = read_layout(path)
        if layout.encrypted if layout else is_encrypted_stream(path):
            raise refusal.encrypted(name)
        content = sniff(path)
    except OSError as error:
        raise refusal.missing_file(name, error) from None
    if layout and layout.piece:
        raise refusal.incomplete_stream(name, layout.piece)
    if content and content.kind == "picture":
        raise refusal.not_a_video(name, content)
    return layout


def _video(
    path: Path, name: str, described: Mapping[str, Any], layout: ContainerLayout | None, *, measure: bool
) -> tuple[list[streams.Raw], streams.Raw, StreamTiming | None]:
    """Choose the video stream.

    Args:
        path: The file.
        name: Its name in errors.
        described: ffprobe's description.
        layout: Its layout.
        measure: Whether to measure the timing even if the first packets distinguish a video from a cover.

    Returns:
        All streams, with unmarked covers marked as such; the chosen stream; its timing, if measured.
    """
    listed, container = described["streams"], described["format"]
    for _ in range(_MAX_COVERS):
        video = streams.chosen_video(listed)
        if video is None:
            break
        if video.get("codec_tag") == _SAMPLE_AES:
            raise refusal.encrypted(name)
        size = _checked_size(name, video, described.get("too_large"))
        memory.current().pixels = size
        if not measure and _has_several_pictures(path, video):
            return listed, video, None
        times = measured_timing(path, video, container, layout, described.get("packets"))
        file_s = streams.seconds(container.get("duration")) or 0.0
        if (times.frame_count or 1) > 1 or not streams.is_cover(video, listed, times.duration_s or 0.0, file_s):
            return listed, video, times
        listed = [{**one, "disposition": {"attached_pic": 1}} if one is video else one for one in listed]
    raise refusal.no_video(path, name, listed, container)


def _checked_size(name: str, video: Mapping[str, Any], too_large: str | None) -> int:
    """Return the number of pixels of a picture.

    Raises:
        MediaError: The size is unknown or larger than allowed.
    """
    width, height = (streams.positive_int(video.get(side)) or 0 for side in ("width", "height"))
    if width * height > memory.current().settings.max_pixels:
        too_large = f"{width}x{height}"
    elif width * height:
        return width * height
    raise refusal.too_large(name, too_large) if too_large else refusal.unknown_picture_size(name, video)


def _has_several_pictures(path: Path, video: Mapping[str, Any]) -> bool:
    selected = ("-select_streams", str(video["index"]), "-read_intervals", f"%+#{_FIRST_PACKETS}")
    command = ffprobe_command(path, *selected, show="packet=flags", log_level="quiet")
    timeout_s = memory.current().time.whole_file_s(path)
    done = run(command, timeout_s=timeout_s, task="listing the first packets")
    return sum(map(_is_shown, done.stdout.decode(errors="replace").splitlines())) > 1


def _bit_rate(container: Mapping[str, Any], size_bytes: int, times: StreamTiming) -> int | None:
    stated = streams.positive_int(container.get("bit_rate"))
    if stated and times.file_duration_s is None:
        return stated
    duration_s = times.file_duration_s or times.duration_s
    return round(size_bytes * 8 / duration_s) if duration_s else None


def _notes(times: StreamTiming, audio: Sequence[AudioStream]) -> Iterator[str]:
    if times.ignored_duration_s:
        yield f"The header states {times.ignored_duration_s:.2f} s, but the whole file holds less."
    if times.clock_jumps:
        often = "once" if times.clock_jumps == 1 else f"{times.clock_jumps} times"
        yield f"The clock of the stream jumps {often}; times continue without the jump."
    if times.undecodable:
        yield f"The stream begins between key frames: its first {times.undecodable} pictures cannot be decoded."
    if times.source == "rate":
        yield f"The stream carries no usable times; {float(times.rate or 0):.6g} frames a second are assumed."
    for stream in audio:
        if stream.empty:
            yield f"Audio stream {stream.index} ({stream.codec}) is declared but holds no packets."


def _fraction_text(rate: Fraction | None) -> str | None:
    return f"{rate.numerator}/{rate.denominator}" if rate else None
