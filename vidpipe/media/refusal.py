"""Error messages for files that are not usable videos: what was found, and what to do."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vidpipe.errors import MediaError
from vidpipe.media import streams
from vidpipe.media.container_layout import mp4_layout
from vidpipe.media.sniff import Content, sniff

_VIDEOS_ONLY = "vidpipe accepts videos only."
_HINTS = {
    "page": "The URL probably leads to a page about the video, a login page or an error page. Use the direct URL "
    "of the video file.",
    "text": "Use the direct URL of the video file, not of an API response.",
    "picture": _VIDEOS_ONLY,
    "audio": _VIDEOS_ONLY,
    "archive": "Unpack it and add the videos inside.",
    "document": _VIDEOS_ONLY,
    "program": _VIDEOS_ONLY,
    "subtitles": "Add the video that the subtitles belong to.",
    "playlist": "It refers to other files and is never followed. Add the video files themselves, or join them into one "
    "file first (for example with ffmpeg or yt-dlp).",
    "empty": "The download was interrupted or the source is empty. Fetch it again.",
}
_PLAYLISTS = {
    "hls": "an M3U8 playlist",
    "concat": "an ffconcat script",
    "dash": "a DASH manifest",
    "sdp": "an SDP description",
    "imf": "an IMF composition playlist",
    "webm_dash_manifest": "a WebM DASH manifest",
    "rtsp": "a streaming address",
}
_CONVERT = "Convert it to H.264 in MP4, or install a newer ffmpeg."
_DECODER_MISSING = re.compile(r"Decoder \(codec ([^)]*)\) not found|[Uu]nknown decoder '([^']*)'")
_TOO_LARGE = re.compile(r"Picture size (\d+x\d+) exceeds specified max pixel count")
_PREFIX = re.compile(r"^\[[^]]*\] ")


def missing_file(name: str, error: OSError) -> MediaError:
    """Return the error for a file that the operating system cannot open."""
    return MediaError(f"{name} cannot be read: {error.strerror or error}.", "Check that the file exists.")


def unreadable(path: Path, name: str, stderr: str, refused_format: str | None = None) -> MediaError:
    """Return the error for a file that ffprobe cannot open.

    Args:
        path: The file.
        name: Its name in errors.
        stderr: ffprobe's messages.
        refused_format: The demuxer that the content requires, if it is not allowed.
    """
    content = sniff(path)
    if content:
        return not_a_video(name, content)
    if size := oversized_picture(stderr):
        return too_large(name, size)
    if refused_format in _PLAYLISTS:
        return not_a_video(name, Content("playlist", _PLAYLISTS[refused_format]))
    if refused_format:
        kind = refused_format.removesuffix("_pipe")
        return MediaError(
            f"{name} has the format {kind}, which vidpipe does not open.",
            "Pictures and formats that refer to other files are rejected. Convert it to MP4 or Matroska.",
        )
    layout = mp4_layout(path)
    if layout and not layout.has_index:
        return MediaError(
            f"{name} is an MP4 or MOV file whose index (moov atom) is missing: the download is incomplete, or the "
            "recording was not finished.",
            "Fetch it again. An unfinished recording can be repaired with a tool such as untrunc.",
        )
    return MediaError(
        f"{name} is not a video that ffmpeg can read ({_ffmpeg_message(stderr, -1)}).",
        "Check the file, or fetch it again.",
    )


def no_video(path: Path, name: str, listed: Sequence[Mapping[str, Any]], container: Mapping[str, Any]) -> MediaError:
    """Return the error for a file that opens, but has no usable video stream.

    Args:
        path: The file.
        name: Its name in errors.
        listed: ffprobe's description of the streams.
        container: ffprobe's description of the format.
    """
    if (content := sniff(path)) is not None:
        return not_a_video(name, content)
    unknown = streams.video_streams(listed)
    if unknown:
        return unknown_picture_size(name, unknown[0])
    audio = streams.audio_streams(listed)
    if audio:
        has_cover = any(stream.get("codec_type") == "video" for stream in listed)
        cover = " and a cover picture" if has_cover else ""
        return MediaError(f"{name} holds sound only ({audio[0].codec}){cover}, no video stream.", _VIDEOS_ONLY)
    found = ", ".join(sorted({str(stream.get("codec_type", "unknown")) for stream in listed})) or "no streams"
    return MediaError(
        f"{name} has no video stream (format {container.get('format_name', 'unknown')}, found: {found}).",
        "It is damaged or was never a video. Check the file, or fetch it again.",
    )


def unknown_picture_size(name: str, video: Mapping[str, Any]) -> MediaError:
    """Return the error for a video stream of an unknown codec or picture size."""
    codec = video.get("codec_name")
    if codec in (None, "none", "unknown"):
        tag = str(video.get("codec_tag_string", ""))
        named = f" (codec tag {tag!r})" if tag and not tag.startswith("[0]") else ""
        return MediaError(f"{name} has a video stream of an unknown codec{named}.", _CONVERT)
    return MediaError(
        f"{name} has a video stream ({codec}) of unknown picture size; its beginning is damaged.",
        "Fetch it again.",
    )


def oversized_picture(stderr: str) -> str | None:
    """Return the size ("16384x8640") of a picture that ffmpeg reports to exceed `[Limits] MaxPixels`, or None."""
    found = _TOO_LARGE.search(stderr)
    return found[1] if found else None


def too_large(name: str, size: str) -> MediaError:
    """Return the error for pictures of a size ("16384x8640") beyond `[Limits] MaxPixels`."""
    return MediaError(
        f"{name} has pictures of {size} pixels, more than [Limits] MaxPixels allows.",
        "Add a smaller copy, or raise MaxPixels.",
        depends_on=("limits.max_pixels",),
    )


def too_many_streams(name: str, limit: int) -> MediaError:
    """Return the error for a file with more than `limit` streams."""
    return MediaError(f"{name} declares more than {limit} streams.", "Add a copy with fewer streams.")


def encrypted(name: str) -> MediaError:
    """Return the error for an encrypted file."""
    return MediaError(f"{name} is encrypted (DRM) and cannot be decoded.", "Add a copy without DRM.")


def incomplete_stream(name: str, piece: Literal["header", "segment"]) -> MediaError:
    """Return the error for one of the files of a segmented stream."""
    what, lacking = ("the header", "its media segments") if piece == "header" else ("a media segment", "its header")
    return MediaError(
        f"{name} is {what} of a segmented (DASH or HLS) stream, without {lacking}.",
        "Join the header and all segments into one file first (for example with ffmpeg or yt-dlp). If it should be a "
        "complete video, fetch it again.",
    )


def undecodable(name: str, codec: str, stderr: str) -> MediaError:
    """Return the error for a video stream without a single picture that decodes.

    Args:
        name: The file's name in errors.
        codec: ffprobe's name of the codec.
        stderr: ffmpeg's messages.
    """
    if size := oversized_picture(stderr):
        return too_large(name, size)
    if missing := _DECODER_MISSING.search(stderr):
        codec = missing[1] or missing[2]
        return MediaError(f"{name} has a video stream ({codec}) that this ffmpeg cannot decode.", _CONVERT)
    return MediaError(
        f"{name} has a video stream ({codec}) of which no picture could be decoded ({_ffmpeg_message(stderr, 0)}).",
        "The file is damaged. Fetch it again.",
    )


def not_a_video(name: str, content: Content) -> MediaError:
    """Return the error for recognized content that is not a video."""
    return MediaError(f"{name} is {content.name}, not a video.", _HINTS[content.kind])


def _ffmpeg_message(stderr: str, index: int) -> str:
    """Return the first (0) or last (-1) message of ffmpeg, without the input address in front of it."""
    lines = [_PREFIX.sub("", line).strip() for line in stderr.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Last message repeated")]
    line = lines[index] if lines else "ffmpeg gave no reason"
    # "file:/home/.../x.mp4: Invalid data found when processing input"
    return (line.rpartition(": ")[2] if line.startswith("file:") else line)[:300].rstrip(".")
