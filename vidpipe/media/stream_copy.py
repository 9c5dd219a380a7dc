"""Copies a part of a video without encoding it again, from a key frame on."""

from pathlib import Path

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg, programs
from vidpipe.media.decode_plan import DecodePlan
from vidpipe.media.frame_times import FrameTimes

_MP4_CODECS = ("h264", "hevc", "av1", "mpeg4", "vp9")


def copy_suffix(container: str, codec: str) -> str:
    """Return the suffix of a copy of a part of a file: Matroska unless MP4 is as good, because it holds every codec."""
    return ".mp4" if container == "mov" and codec in _MP4_CODECS else ".mkv"


def copy_part(
    path: Path,
    plan: DecodePlan,
    times: FrameTimes,
    frames: range,
    destination: Path,
    *,
    audio: bool,
    limit_s: float,
) -> float:
    """Copy the packets of frames, from the key frame at or before the first one.

    Args:
        path: The video file.
        plan: Which streams are copied.
        times: The times of its frames.
        frames: The numbers of the frames.
        destination: The file, in Matroska if its suffix is .mkv; incomplete if an error is raised.
        audio: Whether to keep the sound.
        limit_s: Time limit in seconds.

    Returns:
        The time of the key frame.

    Raises:
        MediaError: It cannot be copied.
    """
    if times.first_s is None:
        raise MediaError("The times of its packets cannot be relied on.", "Leave out --fast: it is encoded again.")
    key_s = times.key_before(times.at(frames.start))
    seek = ["-seek_timestamp", "1", "-ss", f"{times.first_s + key_s - times.tolerance_s:.6f}"] if key_s else []
    streams = [plan.video_stream, *([plan.audio_stream] if audio and plan.audio_stream is not None else [])]
    command = ffmpeg.ffmpeg_command(
        "-v", "error", "-y", *seek, *ffmpeg.input_arguments(path),
        *(part for stream in streams for part in ("-map", f"0:{stream}")), "-c", "copy", "-copypriorss", "0",
        "-t", f"{times.at(frames.stop) - key_s:.6f}", "-map_metadata", "-1", "-map_chapters", "-1",
        "-fflags", "+bitexact", "-f", "matroska" if destination.suffix == ".mkv" else "mp4",
        ffmpeg.input_address(destination),
    )  # fmt: skip
    done = programs.run(command, timeout_s=limit_s, task="copying a clip")
    if done.returncode:
        reason = (done.stderr.strip() or f"ffmpeg ended with code {done.returncode}").splitlines()[-1][:300]
        raise MediaError(f"It cannot be copied: {reason}", "Leave out --fast: it is encoded again.")
    return key_s
