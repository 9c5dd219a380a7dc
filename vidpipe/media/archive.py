"""Archival copies: FFV1 and FLAC in Matroska, checked to decode to exactly what the source decodes to."""

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg, programs
from vidpipe.media.decode_plan import frame_times
from vidpipe.media.probe import describe

_STREAMS = "stream=index,codec_type,codec_name,pix_fmt,sample_fmt:stream_disposition=attached_pic"
#: Sound of more than the 24 bits of ffmpeg's FLAC; stored as it is.
_LARGE_SAMPLES = ("pcm_s32", "pcm_s64", "pcm_f")
#: What Matroska holds as it is.
_SUBTITLES = ("subrip", "ass", "ssa", "webvtt", "dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle")
#: ffprobe's description of a stream.
Stream = dict[str, Any]


def archive(path: Path, destination: Path, timeout_s: float, cancelled: threading.Event) -> tuple[int, list[str]]:
    """Write an archival copy, and compare its pictures and sound with those of the source.

    Args:
        path: The source.
        destination: The copy; incomplete if an error is raised.
        timeout_s: Time limit of each pass, in seconds.
        cancelled: Stops the work, with a MediaError.

    Returns:
        The number of frames, and the streams that Matroska cannot hold.

    Raises:
        MediaError: It cannot be made, or something in it differs.
    """
    streams: list[Stream] = describe(path, path.name, show=_STREAMS)["streams"]
    kept = [stream for stream in streams if _stream_options(stream, 0)]
    options = ["-map_metadata", "0", "-map_chapters", "0", *frame_times("passthrough")]
    for place, stream in enumerate(kept):
        options += ["-map", f"0:{stream['index']}", *_stream_options(stream, place)]
    options += ["-progress", "pipe:1", "-f", "matroska", f"file:{destination}"]
    said = dict(line.strip().partition("=")[::2] for line in _run(path, options, timeout_s, cancelled))
    compared = [(place, one) for place, one in enumerate(kept) if _is_picture(one) or one["codec_type"] == "audio"]
    sources = ((path, ((one["index"], _raw(one, copied=False)) for _, one in compared)),
               (destination, ((place, _raw(one, copied=True)) for place, one in compared)))  # fmt: skip
    hashes = [list(_hashes(file, wanted, timeout_s, cancelled)) for file, wanted in sources]
    if hashes[0] != hashes[1]:
        hint = "Its decoder may not give the same twice (`vidpipe check`), or FFV1 lacks its pixel format."
        raise MediaError("The archival copy was not kept: its pictures or sound differ from the source's.", hint)
    left_out = [stream for stream in streams if stream not in kept]
    names = [f"{stream.get('codec_type')} {stream.get('codec_name', '')}".strip() for stream in left_out]
    return int(said.get("frame") or 0), names


def _hashes(
    path: Path, streams: Iterable[tuple[int, list[str]]], timeout_s: float, cancelled: threading.Event
) -> Iterator[str]:
    """Yield a line with the hash of all that each stream, given with its options, decodes to."""
    options = frame_times("passthrough")
    for place, (number, raw) in enumerate(streams):
        options += ["-map", f"0:{number}", *(f"{one}:{place}" if one.startswith("-") else one for one in raw)]
    if len(options) > len(frame_times("passthrough")):
        yield from _run(path, [*options, "-f", "streamhash", "-hash", "md5", "pipe:1"], timeout_s, cancelled)


def _raw(stream: Stream, *, copied: bool) -> list[str]:
    """Return how a stream, or its copy, is decoded to what is compared."""
    if not _is_picture(stream):
        return ["-c", "pcm_s24le"]
    form = str(stream.get("pix_fmt"))
    both = ["-pix_fmt", "bgra"] if form == "pal8" else []
    return ["-c", "rawvideo", *(both or ([] if form.startswith("yuvj") or not copied else ["-pix_fmt", form]))]


def _run(path: Path, output: Iterable[str], timeout_s: float, cancelled: threading.Event) -> Iterator[str]:
    """Yield the lines that ffmpeg writes."""
    done = programs.CompletedProgram(0, b"", "")
    command = ffmpeg.ffmpeg_command("-y", "-v", "error", *ffmpeg.input_arguments(path), *output)

    def program() -> Generator[bytes, None, None]:
        nonlocal done
        done = yield from programs.lines(command, timeout_s=timeout_s, task="archiving")

    with closing(program()) as found:
        for line in found:
            if cancelled.is_set():
                raise MediaError("Stopped.")
            yield line.decode(errors="replace")
    if done.returncode:
        reason = next(iter(done.stderr.splitlines()), f"ffmpeg ended with code {done.returncode}")
        raise MediaError(f"No archival copy could be made: {reason}.", "`--to playable` needs less of the file.")


def _is_picture(stream: Stream) -> bool:
    return stream.get("codec_type") == "video" and not (stream.get("disposition") or {}).get("attached_pic")


def _stream_options(stream: Stream, place: int) -> list[str]:
    """Return how a stream is stored as the stream with the number `place`; nothing if it cannot be."""
    kind, codec, form = (str(stream.get(name)) for name in ("codec_type", "codec_name", "pix_fmt"))
    if _is_picture(stream):
        options = [f"-c:{place}", "ffv1", f"-level:{place}", "3", f"-slicecrc:{place}", "1"]
        if form.startswith("yuvj"):  # the same samples; without this, their range would be converted
            options += [f"-filter:{place}", "scale=out_range=full", f"-pix_fmt:{place}", form.replace("j", "", 1)]
            options += [f"-color_range:{place}", "pc"]
        return options
    if kind == "audio" and not codec.startswith(_LARGE_SAMPLES):
        small = str(stream.get("sample_fmt")).rstrip("p") in ("u8", "s16")
        return [f"-c:{place}", "flac", f"-sample_fmt:{place}", "s16" if small else "s32"]
    if kind in ("audio", "video", "attachment") or codec in _SUBTITLES:
        return [f"-c:{place}", "copy"]
    return [f"-c:{place}", "subrip"] if codec == "mov_text" else []
