"""The sentences that say why a file is no video that can be used: what was found, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import MediaError
from vidpipe.media import boxes, streams
from vidpipe.media.sniff import Content, sniff

_HINTS = {
    "page": "The address probably leads to a page about the video, to a log-in or to an error message: "
            "give the address of the file itself.",
    "text": "Give the address of the file itself, not of an answer about it.",
    "picture": "vidpipe takes videos only.",
    "audio": "vidpipe takes videos only.",
    "archive": "Unpack it and add the videos inside.",
    "document": "vidpipe takes videos only.",
    "program": "vidpipe takes videos only.",
    "subtitles": "Add the video that it belongs to.",
    "playlist": "It names other files and is never followed; add the video files themselves, or join them into one "
                "file first (for example with ffmpeg or yt-dlp).",
    "empty": "The download broke off at once or the source is empty: fetch it again.",
}  # fmt: skip
_PLAYLISTS = {
    "hls": "an M3U8 playlist", "concat": "an ffconcat script", "dash": "a DASH manifest", "sdp": "an SDP description",
    "imf": "an IMF composition playlist", "webm_dash_manifest": "a WebM DASH manifest", "rtsp": "a streaming address",
}  # fmt: skip
_DECODER_MISSING = re.compile(r"Decoder \(codec ([^)]*)\) not found|[Uu]nknown decoder '([^']*)'")
_TOO_LARGE = re.compile(r"Picture size (\d+x\d+) exceeds specified max pixel count")
_PREFIX = re.compile(r"^\[[^]]*\] ")


def not_there(name: str, error: OSError) -> MediaError:
    return MediaError(f"{name} cannot be read: {error.strerror or error}.", "Check that the file is there.")


def unreadable(path: Path, name: str, stderr: str, refused_format: str | None = None) -> MediaError:
    """For a file that ffprobe does not open."""
    content = sniff(path)
    if content:
        return is_other(name, content)
    if size := size_too_large(stderr):
        return too_large(name, size)
    if refused_format in _PLAYLISTS:
        return is_other(name, Content("playlist", _PLAYLISTS[refused_format]))
    if refused_format:
        kind = refused_format.removesuffix("_pipe")
        return MediaError(
            f"{name} is in the format {kind}, which vidpipe does not open.",
            "Pictures and formats that name other files are refused; convert it to MP4 or Matroska.",
        )
    layout = boxes.layout(path)
    if layout and not layout.has_index:
        return MediaError(
            f"{name} is an MP4 or MOV file whose index (moov atom) is missing: it belongs at the end, so the download "
            "was cut off or the recording was not finished.",
            "Fetch it again; an unfinished recording can be mended with a tool such as untrunc.",
        )
    return MediaError(
        f"{name} is no video that ffmpeg can read ({_said(stderr, -1)}).", "Check the file or fetch it again."
    )


def no_video(path: Path, name: str, listed: Sequence[Mapping[str, Any]], container: Mapping[str, Any]) -> MediaError:
    """For a file that opens, but has no video stream that can be used."""
    if (content := sniff(path)) is not None:
        return is_other(name, content)
    unknown = streams.video_streams(listed)
    if unknown:
        return no_picture_size(name, unknown[0])
    audio = streams.audio_streams(listed)
    if audio:
        kept = [stream for stream in listed if stream.get("codec_type") == "video"]
        cover = " and a cover picture" if kept else ""
        return MediaError(f"{name} holds sound only ({audio[0].codec}){cover}, no video stream.", _HINTS["audio"])
    found = ", ".join(sorted({str(stream.get("codec_type", "unknown")) for stream in listed})) or "no streams"
    return MediaError(
        f"{name} has no video stream (format {container.get('format_name', 'unknown')}, found: {found}).",
        "It is damaged or was never a video: check the file or fetch it again.",
    )


def no_picture_size(name: str, video: Mapping[str, Any]) -> MediaError:
    """For a video stream whose codec is unknown, or whose picture size cannot be found out."""
    codec = video.get("codec_name")
    if codec in (None, "none", "unknown"):
        tag = str(video.get("codec_tag_string", ""))
        named = f" (its tag is {tag!r})" if tag and not tag.startswith("[0]") else ""
        return MediaError(f"{name} has a video stream of an unknown codec{named}.", _CONVERT)
    return MediaError(
        f"{name} has a video stream ({codec}) whose picture size cannot be found out; its beginning is damaged.",
        "Fetch it again.",
    )


def size_too_large(stderr: str) -> str | None:
    """The size ("16384x8640") of a picture that ffmpeg reports as larger than `[Limits] MaxPixels`."""
    found = _TOO_LARGE.search(stderr)
    return found[1] if found else None


def too_large(name: str, size: str) -> MediaError:
    """For pictures beyond `[Limits] MaxPixels`. size: "16384x8640" """
    return MediaError(
        f"{name} has pictures of {size} pixels, more than [Limits] MaxPixels allows.",
        "Add a smaller copy, or raise MaxPixels.",
        depends_on=("limits.max_pixels",),
    )


def too_many_streams(name: str, most: int) -> MediaError:
    return MediaError(f"{name} declares more than {most} streams.", "Add a copy with fewer streams.")


def encrypted(name: str) -> MediaError:
    return MediaError(f"{name} is encrypted (DRM) and cannot be decoded.", "Add a copy that is not protected.")


def piece(name: str, which: Literal["header", "segment"]) -> MediaError:
    """For one of the files that a segmented stream consists of."""
    what = "the header" if which == "header" else "a media segment"
    lacking = "its media segments" if which == "header" else "its header"
    return MediaError(
        f"{name} is {what} of a segmented (DASH or HLS) stream, without {lacking}.",
        "Join the header and all segments into one file first (for example with ffmpeg or yt-dlp); where it should be "
        "a whole video, fetch it again.",
    )


def undecodable(name: str, codec: str, stderr: str) -> MediaError:
    """For a video stream of which not one picture could be decoded."""
    if size := size_too_large(stderr):
        return too_large(name, size)
    if missing := _DECODER_MISSING.search(stderr):
        codec = missing[1] or missing[2]
        return MediaError(f"{name} has a video stream ({codec}) that this ffmpeg cannot decode.", _CONVERT)
    return MediaError(
        f"{name} has a video stream ({codec}) of which not one picture could be decoded ({_said(stderr, 0)}).",
        "The file is damaged: fetch it again.",
    )


_CONVERT = "Convert it to H.264 in MP4, or install a newer ffmpeg."


def is_other(name: str, content: Content) -> MediaError:
    return MediaError(f"{name} is {content.name}, not a video.", _HINTS[content.kind])


def _said(stderr: str, which: int) -> str:
    """The first (0) or last (-1) thing that ffmpeg said, without the address that it puts in front."""
    lines = [_PREFIX.sub("", line).strip() for line in stderr.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Last message repeated")]
    line = lines[which] if lines else "ffmpeg gave no reason"
    # "file:/home/.../x.mp4: Invalid data found when processing input"
    return (line.rpartition(": ")[2] if line.startswith("file:") else line)[:300].rstrip(".")
