"""Which videos Chrome, Firefox and Safari all play, at the times of the library."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from vidpipe.errors import MediaError
from vidpipe.media import ffmpeg, memory, programs, streams
from vidpipe.media.facts import Damage, MediaInfo

#: Codecs of the pictures and of sound that browsers play in a container.
_PLAYED: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "mov": (frozenset({"h264", "av1"}), frozenset({"aac", "mp3"})),
    "webm": (frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})),
}
_NAMES = {
    "mov": "MP4", "webm": "WebM", "matroska": "Matroska", "mpegts": "MPEG-TS", "mpeg": "MPEG-PS", "avi": "AVI",
    "asf": "Windows Media", "flv": "Flash", "hevc": "HEVC", "mpeg2video": "MPEG-2", "mpeg1video": "MPEG-1",
    "mpeg4": "MPEG-4 Part 2", "prores": "ProRes", "h264": "H.264", "av1": "AV1", "vp9": "VP9", "vp8": "VP8",
}  # fmt: skip
_PIXEL_FORMATS = ("yuv420p", "yuvj420p")
#: Hardware decoders reject larger pictures.
_MAX_SIDE = 4096
#: Browsers differ in the time they give the first picture of a video that starts later than this.
_MAX_LATE_S = 0.1
_MEASURE_S = 10.0


@dataclass(frozen=True)
class Playability:
    """Whether browsers play a video.

    Attributes:
        playable: Whether all of them do.
        reason: Why, or why not: one sentence.
    """

    playable: bool
    reason: str


def playability(
    info: MediaInfo, damage: Damage | None = None, *, webm: bool = False, starts_s: float = 0.0
) -> Playability:
    """Return whether browsers play a video; in doubt, not.

    Args:
        info: What was measured of the file.
        damage: What is damaged.
        webm: Whether a Matroska file declares itself as WebM.
        starts_s: Time of the first picture in the file, in seconds.
    """
    container = "webm" if webm and info.container == "matroska" else info.container
    video, audio = _PLAYED.get(container, (frozenset[str](), frozenset[str]()))
    sounds = [stream.codec for stream in info.audio if stream.codec not in audio]
    name, codec = _NAMES.get(container, container), _NAMES.get(info.video_codec, info.video_codec)
    found = (
        (not video, f"Browsers do not play {name} files"),
        (info.video_codec not in video, f"Browsers do not play {codec} pictures in {name} files"),
        ((info.bit_depth or 8) > 8, f"Browsers do not all play {info.bit_depth} bits per sample"),
        (info.pixel_format not in _PIXEL_FORMATS, f"Browsers do not all play the pixel format {info.pixel_format}"),
        (bool(info.hdr), f"Browsers do not all show {info.hdr}"),
        (info.field_order in streams.INTERLACED_ORDERS, "Browsers do not deinterlace"),
        (info.video_profile == "Extended", "Browsers do not play the profile Extended of H.264"),
        (max(info.coded_width, info.coded_height) > _MAX_SIDE, "Browsers do not all play pictures this large"),
        (info.mirrored, "Browsers do not mirror the picture"),
        (info.video_streams > 1, "It has several video streams, and browsers may play another one"),
        (bool(sounds), f"Browsers do not all play {', '.join(sounds[:3])} sound in {name} files"),
        (bool(info.clock_jumps or info.undecodable_packets), "Its times jump, and browsers do not correct them"),
        (abs(starts_s) > _MAX_LATE_S, f"Its picture starts at {starts_s:.2f} s, where browsers do not agree on times"),
        (damage is not None, "It is damaged, and browsers stop at errors"),
    )
    reason = next((text for applies, text in found if applies), "")
    return Playability(not reason, f"{reason or f'Browsers play {codec} in {name} files'}.")


@lru_cache(maxsize=10_000)
def measured_start(path: Path, video_stream: int) -> tuple[bool, float]:
    """Return whether a file declares itself as WebM, and the time of its first picture in seconds.

    Raises:
        MediaError: ffprobe cannot read the file.
        OSError: It does not exist.
    """
    with path.open("rb") as file:
        webm = b"webm" in file.read(64)
    command = ffmpeg.ffprobe_command(path, show="stream=start_time", output="csv=p=0", log_level="quiet")
    with memory.reading(memory.FileLimits()):
        done = programs.run(command, timeout_s=_MEASURE_S, task="reading its headers")
    times = done.stdout.decode(errors="replace").split()
    if done.returncode or len(times) <= video_stream:
        raise MediaError(f"ffprobe cannot read {path.name}.")
    return webm, streams.seconds(times[video_stream]) or 0.0
