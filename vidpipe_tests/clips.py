"""Small clips for all tests, made with ffmpeg.

Each function writes one file and gives its path back. Equal arguments give equal bytes, and ffmpeg runs once for them
in a session: the first call encodes into a temporary folder, every call copies from there. The container follows the
suffix of `path`; sizes are "WIDTHxHEIGHT".
"""

from __future__ import annotations

import atexit
import functools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

Cue = tuple[float, float, str]

BITEXACT = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
_CODEC_OPTIONS: dict[str, tuple[str, ...]] = {
    "libx264": ("-preset", "ultrafast", "-crf", "20", "-threads", "1"),
    "libx265": ("-preset", "ultrafast", "-x265-params", "log-level=error:pools=1", "-tag:v", "hvc1"),
    "libvpx-vp9": ("-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k", "-threads", "1"),
}
_AUDIO = {
    "sine": "sine=frequency=440:sample_rate=44100",
    "silence": "anullsrc=sample_rate=44100:channel_layout=stereo",
    "noise": "anoisesrc=sample_rate=44100:amplitude=0.5:seed=7",
    "beeps": "sine=frequency=220:beep_factor=4:sample_rate=44100",
}


@functools.cache
def _cache() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidpipe-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _encode(arguments: tuple[str, ...], suffix: str) -> Path:
    made = _cache() / f"{len(list(_cache().iterdir())):04d}{suffix}"
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", *arguments, str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ffmpeg could not make a test clip: {' '.join(command)}\n{done.stderr}")
    return made


def ffmpeg(path: Path, *arguments: str) -> Path:
    """Run `ffmpeg ARGUMENTS path` and return `path`; for what the functions below do not cover."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_encode(arguments, path.suffix), path)
    return path


def _audio_input(audio: str | None, duration_s: float) -> tuple[str, ...]:
    """Input arguments for `audio`: a name of _AUDIO, any lavfi source, or None."""
    return () if audio is None else ("-f", "lavfi", "-t", f"{duration_s:g}", "-i", _AUDIO.get(audio, audio))


def _audio_codec(path: Path) -> str:
    return "libopus" if path.suffix == ".webm" else "aac"


def _video_codec(codec: str) -> tuple[str, ...]:
    return ("-c:v", codec, *_CODEC_OPTIONS.get(codec, ()))


def color_cuts(
    path: Path,
    colors: Sequence[str] = ("red", "green", "blue"),
    *,
    seconds_each: float = 1.0,
    fps: int = 25,
    size: str = "320x180",
    audio: str | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Sequence[str] = (),
) -> Path:
    """A sequence of plain colours: a hard cut every `seconds_each`, at exact frames.

    audio: None, "sine", "silence", "noise", "beeps" or any lavfi source. options: further output options.
    """
    inputs: list[str] = []
    for color in colors:
        inputs += ["-f", "lavfi", "-i", f"color=c={color}:size={size}:rate={fps}:duration={seconds_each:g}"]
    joined = "".join(f"[{index}:v]" for index in range(len(colors))) + f"concat=n={len(colors)}:v=1:a=0[v]"
    sound = _audio_input(audio, seconds_each * len(colors))
    return ffmpeg(
        path, *inputs, *sound, "-filter_complex", joined, "-map", "[v]",
        *(("-map", f"{len(colors)}:a", "-c:a", _audio_codec(path)) if audio else ()),
        *_video_codec(codec), "-pix_fmt", pixel_format, *BITEXACT, *options,
    )  # fmt: skip


def moving(
    path: Path,
    *,
    source: str = "testsrc2",
    seconds: float = 2.0,
    fps: str = "25",
    size: str = "320x180",
    audio: str | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Sequence[str] = (),
) -> Path:
    """One shot that moves: a lavfi source (testsrc2, mandelbrot, ...) of `seconds`; `fps` may be "30000/1001"."""
    return ffmpeg(
        path, "-f", "lavfi", "-t", f"{seconds:g}", "-i", f"{source}=size={size}:rate={fps}",
        *_audio_input(audio, seconds), *(("-c:a", _audio_codec(path)) if audio else ()),
        *_video_codec(codec), "-pix_fmt", pixel_format, *BITEXACT, *options,
    )  # fmt: skip


def subtitled(path: Path, cues: Sequence[Cue], *, language: str = "eng", seconds: float | None = None) -> Path:
    """A moving clip with one text subtitle stream (mov_text in mp4, SubRip in mkv). A cue: (start_s, end_s, text)."""
    lines = [
        f"{number}\n{_srt_time(start)} --> {_srt_time(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(cues, start=1)
    ]
    srt = _cache() / f"cues-{abs(hash(tuple(cues)))}.srt"
    srt.write_text("\n".join(lines), encoding="utf-8")
    duration_s = seconds or max(end for _, end, _ in cues) + 0.5
    return ffmpeg(
        path, "-f", "lavfi", "-t", f"{duration_s:g}", "-i", "testsrc2=size=320x180:rate=25", "-i", str(srt),
        "-map", "0:v", "-map", "1:s", *_video_codec("libx264"), "-pix_fmt", "yuv420p",
        "-c:s", "srt" if path.suffix == ".mkv" else "mov_text", *BITEXACT,
        "-metadata:s:s:0", f"language={language}",
    )  # fmt: skip


def _srt_time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    return (
        f"{milliseconds // 3_600_000:02d}:{milliseconds // 60_000 % 60:02d}"
        f":{milliseconds // 1000 % 60:02d},{milliseconds % 1000:03d}"
    )


def rotated(
    path: Path,
    degrees: int = 90,
    *,
    matrix: tuple[int, int, int, int] | None = None,
    size: str = "320x180",
    seconds: float = 1.0,
) -> Path:
    """A clip in mp4 or mov whose picture must be rotated clockwise by `degrees` for display, as phones write it.

    matrix: the corners a, b, c, d of the display matrix instead: (-1, 0, 0, 1) mirrors.
    The display matrix is written here: the option of the ffmpeg program for it differs from release to release.
    """
    data = bytearray(_encode(_moving_arguments(size, seconds), path.suffix).read_bytes())
    quarters = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
    a, b, c, d = (corner << 16 for corner in matrix or quarters[degrees])
    place = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))
    return path


def _moving_arguments(size: str, seconds: float) -> tuple[str, ...]:
    return (
        "-f", "lavfi", "-t", f"{seconds:g}", "-i", f"testsrc2=size={size}:rate=25",
        *_video_codec("libx264"), "-pix_fmt", "yuv420p", *BITEXACT,
    )  # fmt: skip


def variable_rate(path: Path, *, size: str = "320x180") -> Path:
    """1 s at 30 frames a second, then 2 s at 10, with a hard cut from red to blue at 1 s; exact timestamps."""
    return ffmpeg(
        path, "-f", "lavfi", "-i", f"color=c=red:size={size}:rate=30:duration=1",
        "-f", "lavfi", "-i", f"color=c=blue:size={size}:rate=10:duration=2",
        "-filter_complex", "[0:v]settb=1/1000[a];[1:v]settb=1/1000[b];[a][b]concat=n=2:v=1:a=0,settb=1/1000[v]",
        "-map", "[v]", "-fps_mode", "vfr", "-enc_time_base", "1/1000", *_video_codec("libx264"),
        "-pix_fmt", "yuv420p", *BITEXACT,
    )  # fmt: skip


def truncated(path: Path, *, share: float = 0.5) -> Path:
    """The first `share` of an mp4 whose index (moov) is at the end, as after an interrupted download."""
    whole = _encode(_moving_arguments("320x180", 2.0), ".mp4").read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def damaged(path: Path, source: Path, *, start: float = 0.4, end: float = 0.6, every: int = 200) -> Path:
    """`source` with every `every`-th byte between the shares `start` and `end` of the file overwritten."""
    data = bytearray(source.read_bytes())
    for offset in range(int(len(data) * start), int(len(data) * end), every):
        data[offset] ^= 0xFF
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))
    return path


def sound_only(path: Path, *, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    return ffmpeg(path, *_audio_input("sine", seconds), "-c:a", _audio_codec(path), *BITEXACT)


def told_apart(content: bytes, number: int) -> bytes:
    """The bytes of an mp4 with an extra box at its end that players skip: another file, the same video."""
    text = f"copy {number}".encode()
    return content + struct.pack(">I4s", 8 + len(text), b"free") + text
