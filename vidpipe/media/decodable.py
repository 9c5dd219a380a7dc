"""Is this a video that can be used? Asked before a file enters the store."""

from __future__ import annotations

from pathlib import Path

from vidpipe.media import boxes, refusal
from vidpipe.media.facts import MediaInfo
from vidpipe.media.ffmpeg import ffmpeg_command, input_arguments, run
from vidpipe.media.packets import reading_limit_s
from vidpipe.media.probe import probe

_PICTURE_CONTAINERS = frozenset({"gif", "apng", "mjpeg", "mjpeg_2000"})


def check_decodable(path: Path, *, name: str | None = None) -> MediaInfo:
    """Probe a file and decode its first picture; what `probe` found (without subtitle text) where that succeeds.

    name: how the file is called in errors (its URL, say); its own name when not given

    Raises MediaError with a sentence that says what the file is instead and what to do: empty, an HTML page, a picture,
    sound only, a playlist, cut off, encrypted, of an unknown codec, damaged from its first to its last picture.
    """
    name = name or path.name
    info = probe(path, name=name, subtitles=False)
    if info.container in _PICTURE_CONTAINERS and (info.frame_count or 0) <= 1:
        raise refusal.single_picture(name, info.container)
    layout = boxes.layout(path)
    # an encrypted picture often decodes, to noise
    if layout and layout.encrypted:
        raise refusal.encrypted(name)
    command = ffmpeg_command(
        "-v", "error", *input_arguments(path), "-map", f"0:{info.video_stream}", "-frames:v", "1",
        "-f", "framecrc", "pipe:1",
    )  # fmt: skip
    done = run(command, timeout_s=reading_limit_s(path))
    if not any(line and not line.startswith(b"#") for line in done.stdout.splitlines()):
        raise refusal.undecodable(name, info.video_codec, done.stderr)
    return info
