"""What a file holds: described by ffprobe, its times measured on the packets.

The command is the one of ffmpeg-python's `ffmpeg.probe` (-show_format -show_streams -of json), which itself can carry
neither the guard against hostile files nor a time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.media import boxes, memory, refusal, resolution, streams
from vidpipe.media.color import bit_depth, dynamic_range, is_perceptual_quantizer
from vidpipe.media.encryption import is_encrypted_stream
from vidpipe.media.facts import AudioStream, MediaInfo
from vidpipe.media.ffmpeg import (
    MOST_STREAMS,
    WITHOUT_METADATA,
    TimeLimitError,
    decodable_input,
    ffprobe_command,
    graph_command,
    graph_input,
    input_address,
    run,
)
from vidpipe.media.matroska import matroska_layout
from vidpipe.media.packets import reading_limit_s
from vidpipe.media.sniff import sniff
from vidpipe.media.stated_size import FileLayout
from vidpipe.media.subtitles import read_cues
from vidpipe.media.timing import Timing, measured_timing
from vidpipe.settings.operation import Limits

PROBE_LIMIT_S = 60.0
_MOST_COVERS = 8
#: A cover is one packet; the first packets of a video may be hidden by an edit list.
_FIRST_PACKETS = 64
#: Usually enough packets for two pictures of the video; where they are not, ffmpeg reads on.
_BEGINNING = (
    "-read_intervals", "%+#16", "-skip_frame", "nokey", "-show_packets", "-show_frames",
    "-show_entries", "packet=stream_index,flags:frame=stream_index,media_type",
)  # fmt: skip
#: A file may have hundreds of streams with something to say of each.
_MOST_NOTES = 50
_MOST_DESCRIPTION_BYTES = 16 << 20
#: The tags that are used; a file may hold megabytes of others.
_TAGS = "title,language,bps,number_of_frames,duration,creation_time,date,com.apple.quicktime.creationdate"
#: The type that HLS gives H.264 of which a part of each picture is encrypted, in an MPEG transport stream.
_SAMPLE_AES = "0x00db"


def probe(path: Path, *, name: str | None = None, limits: Limits | None = None) -> MediaInfo:
    """Everything that the container and the streams of a video file tell, times from the first video frame.

    name: how the file is called in errors; its own name when not given
    limits: on memory and picture size; the defaults when not given

    Raises MediaError that says what the file is instead, where it is no video; UnavailableError without ffprobe.
    """
    with _reading(name or path.name, limits):
        return _probe(path, name or path.name)


@contextlib.contextmanager
def _reading(name: str, limits: Limits | None) -> Iterator[None]:
    """Applies `limits` and makes errors name the file, also those about a program."""
    try:
        with memory.reading(memory.FileLimits(limits or Limits())):
            yield
    except MediaError as error:
        error.about(name)
        raise


def _probe(path: Path, name: str) -> MediaInfo:
    layout = _checked_layout(path, name)
    described = describe(path, name)
    container = described["format"]
    listed, video, times = _video(path, name, described, layout, measure=True)
    assert times is not None  # noqa: S101  (measured)
    mp4 = layout if isinstance(layout, boxes.Layout) else None
    audio, notes = streams.audio_streams(listed, times.empty_streams), []
    if mp4 and mp4.sound_encrypted:
        audio = ()
        notes.append("Its sound is encrypted and was left out.")
    subtitle_streams = streams.subtitle_streams(listed)
    read = read_cues(path, subtitle_streams, times.start_s)
    picture, picture_notes = _picture(path, video)
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
        video_bit_rate=streams.positive_int(video.get("bit_rate")) or _tagged_bit_rate(video),
        frame_rate=round(float(times.rate), 3) if times.rate else None,
        frame_rate_exact=_written(times.rate),
        nominal_frame_rate=_written(times.nominal_rate),
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
        faststart=mp4.faststart if mp4 else None,
        notes=tuple(notes[:_MOST_NOTES]),
        **picture,
    )


def check_decodable(path: Path, *, name: str | None = None, limits: Limits | None = None) -> str:
    """Check that `probe` will take a file, and that a picture of it decodes, without reading all of it.

    Args:
        path: The file.
        name: How the file is called in errors (its URL, say); its own name when not given.
        limits: On memory and picture size; the defaults when not given.

    Returns:
        The container, as in `MediaInfo`.

    Raises:
        MediaError: A sentence that says what the file is instead and what to do: empty, an HTML page, a picture, sound
            only, a playlist, cut off, encrypted, of an unknown codec, damaged from its first to its last picture.
        UnavailableError: ffmpeg or ffprobe is missing.
    """
    with _reading(name or path.name, limits):
        return _check_decodable(path, name or path.name)


def _check_decodable(path: Path, name: str) -> str:
    layout = _checked_layout(path, name)
    # starting a program takes longer than its work here, so a single one checks nearly every file
    try:
        described = describe(path, name, *_BEGINNING)
    except MediaError as error:
        # it is known to be something else, or ffprobe would take as long again; pictures alone may take much time
        if sniff(path) or isinstance(error, (memory.MemoryLimitError, TimeLimitError)):
            raise
        described = describe(path, name)
    beginning = described.pop("packets_and_frames", ())
    if _begins_with_a_picture(described["streams"], beginning):
        return streams.format_name(described["format"])
    _, video, _ = _video(path, name, described, layout, measure=False)
    picture = graph_input(path)[str(video["index"])].output(
        "pipe:1", format="framecrc", threads=1, **{"frames:v": 1, **WITHOUT_METADATA}
    )
    done = run(graph_command([picture]), timeout_s=PROBE_LIMIT_S, task="decoding the first picture")
    if not any(line and not line.startswith(b"#") for line in done.stdout.splitlines()):
        raise refusal.undecodable(name, str(video["codec_name"]), done.stderr)
    return streams.format_name(described["format"])


def describe(path: Path, name: str, *more: str) -> dict[str, Any]:
    """Ffprobe's own description of a file: `format`, `streams`, `chapters`; `too_large`, the size ("16384x8640") of a
    picture that was not decoded for it, or None. Raises MediaError as `probe` does.

    more: further arguments of ffprobe
    """
    _, address = decodable_input(path, name)
    command = ffprobe_command(
        path, "-v", "error", "-threads", "1", "-show_entries",
        f"format:stream:chapter:stream_disposition:stream_side_data:format_tags={_TAGS}:stream_tags={_TAGS}:chapter_tags=title",
        *more, "-of", "json",
    )  # fmt: skip
    done = run(
        command,
        timeout_s=PROBE_LIMIT_S,
        task="reading the headers",
        max_output_bytes=_MOST_DESCRIPTION_BYTES,
        processor_s=memory.current().settings.header_seconds,
    )
    if done.too_many_streams:
        raise refusal.too_many_streams(name, MOST_STREAMS)
    if done.returncode != 0:
        raise refusal.unreadable(path, name, done.stderr, done.refused_format)
    described: dict[str, Any] = json.loads(done.stdout.decode("utf-8", errors="replace"))
    described = {"format": {}, "streams": [], "chapters": [], **described}
    described["too_large"] = refusal.size_too_large(done.stderr)
    if address != input_address(path):  # what is read is another file, made of this one
        described["format"] = {**described["format"], "format_name": "webp", "format_long_name": "Animated WebP"}
        described["format"].pop("bit_rate", None)
        described["streams"] = [{**stream, "codec_name": "webp"} for stream in described["streams"]]
    return described


def _begins_with_a_picture(listed: Sequence[streams.Raw], beginning: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first packets and frames show a video stream of several pictures, one of which decodes."""
    video = streams.chosen_video(listed)
    if video is None or video.get("codec_tag") == _SAMPLE_AES or not (video.get("width") and video.get("height")):
        return False
    own = [entry for entry in beginning if entry.get("stream_index") == video["index"]]
    decoded = any(entry["type"] == "frame" and entry.get("media_type") == "video" for entry in own)
    return decoded and sum(entry["type"] == "packet" and _is_shown(entry.get("flags", "")) for entry in own) > 1


def _is_shown(flags: str) -> bool:
    """Whether a packet with these flags holds a picture that is not hidden by an edit list."""
    return "_" in flags and "D" not in flags


def _checked_layout(path: Path, name: str) -> FileLayout:
    """The layout of a file, if its format is one of those known here.

    Raises MediaError if the file's beginning shows that it cannot be used as a video, whatever ffprobe says: ffmpeg
    reads pictures as videos of one frame, and decodes what is encrypted to noise.
    """
    try:
        if os.stat(path).st_size == 0:
            raise refusal.unreadable(path, name, "")
        layout = boxes.layout(path) or matroska_layout(path)
        if layout.encrypted if layout else is_encrypted_stream(path):
            raise refusal.encrypted(name)
        content = sniff(path)
    except OSError as error:
        raise refusal.not_there(name, error) from None
    if layout and layout.piece:
        raise refusal.piece(name, layout.piece)
    if content and content.kind == "picture":
        raise refusal.is_other(name, content)
    return layout


def _video(
    path: Path, name: str, described: Mapping[str, Any], layout: FileLayout, *, measure: bool
) -> tuple[list[streams.Raw], streams.Raw, Timing | None]:
    """(the streams, covers marked as such whatever the file says; the chosen one; its timing).

    measure: always; otherwise only where the first packets do not tell a video from a cover
    """
    listed, container = described["streams"], described["format"]
    for _ in range(_MOST_COVERS):
        video = streams.chosen_video(listed)
        if video is None:
            break
        if video.get("codec_tag") == _SAMPLE_AES:
            raise refusal.encrypted(name)
        size = _checked_size(name, video, described.get("too_large"))
        memory.current().pixels = size
        if not measure and _has_several_pictures(path, video):
            return listed, video, None
        times = measured_timing(path, video, container, layout)
        lasts_s = streams.seconds(container.get("duration")) or 0.0
        if (times.frame_count or 1) > 1 or not streams.is_cover(video, listed, times.duration_s or 0.0, lasts_s):
            return listed, video, times
        listed = streams.with_cover(listed, video)
    raise refusal.no_video(path, name, listed, container)


def _checked_size(name: str, video: Mapping[str, Any], too_large: str | None) -> int:
    """The number of pixels of a picture. Raises MediaError if it is unknown or larger than allowed."""
    width, height = (streams.positive_int(video.get(side)) or 0 for side in ("width", "height"))
    if width * height > memory.current().settings.max_pixels:
        too_large = f"{width}x{height}"
    elif width * height:
        return width * height
    raise refusal.too_large(name, too_large) if too_large else refusal.no_picture_size(name, video)


def _has_several_pictures(path: Path, video: Mapping[str, Any]) -> bool:
    command = ffprobe_command(
        path, "-v", "quiet", "-select_streams", str(video["index"]), "-read_intervals", f"%+#{_FIRST_PACKETS}",
        "-show_entries", "packet=flags", "-of", "csv=p=0",
    )  # fmt: skip
    done = run(command, timeout_s=reading_limit_s(path), task="listing the first packets")
    return sum(map(_is_shown, done.stdout.decode(errors="replace").splitlines())) > 1


def _picture(path: Path, video: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What MediaInfo has of the picture, and notes on what was not believed."""
    coded_width, coded_height = int(video["width"]), int(video["height"])
    pixel_aspect = streams.fraction(video.get("sample_aspect_ratio")) or Fraction(1)
    notes = []
    if not resolution.is_plausible_aspect(pixel_aspect):
        notes.append(f"The pixel aspect ratio {_ratio(pixel_aspect)} was ignored: the pixels are taken as square.")
        pixel_aspect = Fraction(1)
    rotation, mirrored = _turn(video)
    width, height = resolution.displayed_size(coded_width, coded_height, pixel_aspect, rotation)
    return {
        "pixel_format": video.get("pix_fmt"),
        "bit_depth": bit_depth(video.get("pix_fmt"), video.get("bits_per_raw_sample")),
        "hdr": dynamic_range(video, _first_frame_side_data(path, video)),
        "color_transfer": video.get("color_transfer"),
        "field_order": video.get("field_order"),
        "coded_width": coded_width,
        "coded_height": coded_height,
        "rotation": rotation,
        "mirrored": mirrored,
        "pixel_aspect": _ratio(pixel_aspect),
        "width": width,
        "height": height,
        "orientation": resolution.orientation(width, height),
        "resolution": resolution.resolution_name(width, height),
    }, notes


def _ratio(fraction: Fraction) -> str:
    return f"{fraction.numerator}:{fraction.denominator}"


def _turn(video: Mapping[str, Any]) -> tuple[int, bool]:
    for data in video.get("side_data_list", ()):
        if data.get("side_data_type") == "Display Matrix":
            rows = [line.partition(":")[2].split() for line in str(data.get("displaymatrix", "")).strip().split("\n")]
            matrix = [int(number) for row in rows for number in row]
            return resolution.display_turn(matrix) if len(matrix) == 9 else (0, False)
    return 0, False


def _first_frame_side_data(path: Path, video: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not is_perceptual_quantizer(video):
        return []
    command = ffprobe_command(
        path, "-v", "error", "-select_streams", str(video["index"]), "-read_intervals", "%+#1", "-show_frames",
        "-show_entries", "frame=side_data_list", "-of", "json",
    )  # fmt: skip
    done = run(command, timeout_s=PROBE_LIMIT_S, task="reading the first frame")
    frames = json.loads(done.stdout or b"{}").get("frames", []) if done.returncode == 0 else []
    return [data for frame in frames for data in frame.get("side_data_list", [])]


def _tagged_bit_rate(video: Mapping[str, Any]) -> int | None:
    return streams.positive_int(streams.tag(video, "bps"))


def _bit_rate(container: Mapping[str, Any], size_bytes: int, times: Timing) -> int | None:
    stated = streams.positive_int(container.get("bit_rate"))
    if stated and times.file_duration_s is None:
        return stated
    duration_s = times.file_duration_s or times.duration_s
    return round(size_bytes * 8 / duration_s) if duration_s else None


def _notes(times: Timing, audio: Sequence[AudioStream]) -> Iterator[str]:
    if times.disbelieved_duration_s:
        yield f"The header states {times.disbelieved_duration_s:.2f} s, but the whole file holds less."
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


def _written(rate: Fraction | None) -> str | None:
    return f"{rate.numerator}/{rate.denominator}" if rate else None
