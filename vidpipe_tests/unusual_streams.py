"""Small clips whose streams are built in unusual ways, made with ffmpeg: for whatever skips frames or seeks.

Each has 200 frames at 25 per second with hard cuts at `CUTS` and, where the codec has them, key frames every 25 frames:
one cut falls on a key frame, the others into the middle of a group. Exceptions say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidpipe_tests.clips import BITEXACT, ffmpeg
from vidpipe_tests.field_pictures import field_pictures

FPS = 25
FRAMES = 200
#: Numbers of the first frames after a cut, counted from 0.
CUTS = (30, 77, 125, 151)
_LENGTHS = tuple(end - start for start, end in zip((0, *CUTS), (*CUTS, FRAMES), strict=True))
_SHOTS = (
    "testsrc2={}",
    "smptehdbars={},scroll=h=0.01",
    "testsrc={},hue=h=120",
    "rgbtestsrc={},scroll=v=0.02",
    "testsrc2={},negate,hflip",
)
_GROUPS = ("-g", "25", "-keyint_min", "25", "-sc_threshold", "0")
_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-threads", "1", *_GROUPS)
_X265 = ("-c:v", "libx265", "-preset", "fast", "-tag:v", "hvc1", "-x265-params")
_X265_GROUPS = "log-level=error:pools=1:keyint=25:min-keyint=25:scenecut=0"
_VPX = ("-b:v", "400k", "-g", "25", "-auto-alt-ref", "1", "-lag-in-frames", "25", "-cpu-used", "8", "-threads", "1")
_MPEG = ("-b:v", "2M", "-g", "25", "-sc_threshold", "1000000000", "-bf", "2", "-threads", "1")
_MPEG2 = ("-c:v", "mpeg2video", *_MPEG)
_FIELDS = ("-flags:v", "+bitexact+ilme+ildct")


def _source(size: str, rate: int, interlaced: bool) -> str:
    """Return a lavfi graph of the five shots with a little noise."""
    factor = rate // FPS
    parts = [
        f"{shot.format(f'size={size}:rate={rate}')},format=yuv420p,trim=end_frame={length * factor},setsar=1[s{number}]"
        for number, (shot, length) in enumerate(zip(_SHOTS, _LENGTHS, strict=True))
    ]
    joined = "".join(f"[s{number}]" for number in range(len(parts))) + f"concat=n={len(parts)}"
    noisy = "noise=alls=12:allf=t:all_seed=5"
    return f"{';'.join(parts)};{joined},{noisy}" + (",tinterlace=interleave_top" if interlaced else "")


@dataclass(frozen=True)
class _Encoding:
    suffix: str
    options: tuple[str, ...]
    interlaced: bool = False


_ENCODINGS = {
    "h264_plain": _Encoding(".mp4", (*_X264, "-bf", "2")),
    "h264_no_b": _Encoding(".mp4", (*_X264, "-bf", "0")),
    "h264_open_gop": _Encoding(".mp4", (*_X264, "-bf", "3", "-x264-params", "open-gop=1")),
    "h264_open_gop_ts": _Encoding(".ts", (*_X264, "-bf", "3", "-x264-params", "open-gop=1")),
    "h264_pyramid": _Encoding(".mp4", (*_X264, "-bf", "8", "-b_strategy", "2", "-x264-params", "b-pyramid=normal")),
    "h264_pyramid_strict": _Encoding(".mkv", (*_X264, "-bf", "8", "-x264-params", "b-pyramid=strict:b-bias=100")),
    "h264_mbaff": _Encoding(".mp4", (*_X264, "-bf", "3", *_FIELDS, "-x264-params", "tff=1"), interlaced=True),
    "h264_mbaff_ts": _Encoding(".ts", (*_X264, "-bf", "3", *_FIELDS, "-x264-params", "tff=1"), interlaced=True),
    "h264_intra_refresh": _Encoding(".mkv", (*_X264, "-bf", "0", "-x264-params", "intra-refresh=1")),
    "h264_all_intra": _Encoding(".mp4", (*_X264, "-g", "1", "-bf", "0")),
    "h264_one_key": _Encoding(".mp4", (*_X264, "-bf", "3", "-g", "100000", "-keyint_min", "100000")),
    "h264_one_key_ts": _Encoding(".ts", (*_X264, "-bf", "3", "-g", "100000", "-keyint_min", "100000")),
    "h264_flv": _Encoding(".flv", (*_X264, "-bf", "3")),
    "h264_ts": _Encoding(".ts", (*_X264, "-bf", "3")),
    "h264_avi": _Encoding(".avi", (*_X264, "-bf", "3")),
    "h264_fragments": _Encoding(".mp4", (*_X264, "-bf", "3", "-movflags", "frag_keyframe+empty_moov")),
    "h264_raw": _Encoding(".h264", (*_X264, "-bf", "3")),
    "h265_open_gop": _Encoding(".mp4", (*_X265, f"{_X265_GROUPS}:open-gop=1:bframes=4")),
    "h265_open_gop_ts": _Encoding(".ts", (*_X265, f"{_X265_GROUPS}:open-gop=1:bframes=4")),
    "h265_pyramid": _Encoding(".mkv", (*_X265, f"{_X265_GROUPS}:open-gop=0:bframes=8:b-pyramid=1:b-adapt=0")),
    "h265_layers": _Encoding(".mkv", (*_X265, f"{_X265_GROUPS}:open-gop=0:bframes=8:b-adapt=0:temporal-layers=1")),
    "h265_fields": _Encoding(".mp4", (*_X265, f"{_X265_GROUPS}:bframes=4:interlace=tff"), interlaced=True),
    "vp8_altref": _Encoding(".webm", ("-c:v", "libvpx", *_VPX)),
    "vp9_altref": _Encoding(".webm", ("-c:v", "libvpx-vp9", *_VPX)),
    "av1_svt": _Encoding(".mp4", ("-c:v", "libsvtav1", "-preset", "10", "-crf", "40", "-g", "25")),
    "mpeg2_ts": _Encoding(".ts", _MPEG2),
    "mpeg2_ps": _Encoding(".mpg", ("-f", "vob", *_MPEG2)),
    "mpeg2_fields": _Encoding(".ts", (*_MPEG2, *_FIELDS, "-alternate_scan", "1", "-top", "1"), interlaced=True),
    "mpeg1_ps": _Encoding(".mpg", ("-f", "mpeg", "-c:v", "mpeg1video", *_MPEG)),
    "mpeg4_packed": _Encoding(".avi", ("-c:v", "libxvid", "-b:v", "1M", "-g", "25", "-bf", "2")),
    "mpeg4_mp4": _Encoding(".mp4", ("-c:v", "mpeg4", *_MPEG)),
    "flv1": _Encoding(".flv", ("-c:v", "flv1", "-b:v", "1M", "-g", "25")),
    "wmv2": _Encoding(".wmv", ("-c:v", "wmv2", "-b:v", "1M", "-g", "25")),
    "rv20": _Encoding(".rm", ("-c:v", "rv20", "-b:v", "1M", "-g", "25")),
    "theora": _Encoding(".ogv", ("-c:v", "libtheora", "-q:v", "6", "-g", "25")),
    "prores": _Encoding(".mov", ("-c:v", "prores_ks", "-profile:v", "0")),
    "mjpeg": _Encoding(".avi", ("-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj420p")),
    "dv": _Encoding(".dv", ("-c:v", "dvvideo", "-vf", "scale=720:576", "-pix_fmt", "yuv420p", "-aspect", "16:9")),
}
_TWO_PASSES = frozenset({"vp8_altref", "vp9_altref"})


def _encoded(folder: Path, name: str, size: str) -> Path:
    encoding = _ENCODINGS[name]
    source = ("-f", "lavfi", "-i", _source(size, FPS * (2 if encoding.interlaced else 1), encoding.interlaced))
    passes: tuple[str, ...] = ()
    if name in _TWO_PASSES:
        log = str(folder / f"{name}-pass")
        first = folder / f"{name}-first{encoding.suffix}"
        ffmpeg(first, *source, *BITEXACT, *encoding.options, "-pass", "1", "-passlogfile", log).unlink()
        passes = ("-pass", "2", "-passlogfile", log)
    return ffmpeg(folder / f"{name}{encoding.suffix}", *source, *BITEXACT, *encoding.options, *passes)


def missing_references(folder: Path, name: str, suffix: str, size: str = "320x180") -> Path:
    """An open-GOP clip cut at the key frame at 2 s without encoding again.

    Its first pictures in presentation order refer to a picture that is gone. The cuts lie 50 frames earlier.
    """
    whole = _encoded(folder, name, size)
    return ffmpeg(folder / f"{name}_cut{suffix}", "-ss", "2.1", "-i", str(whole), *BITEXACT, "-c", "copy")


def edit_list(folder: Path, size: str = "320x180") -> Path:
    """An MP4 whose edit list starts in the middle of a group, at frame 35: the decoder needs frames not shown."""
    whole = _encoded(folder, "h264_plain", size)
    return ffmpeg(folder / "h264_edit_list.mp4", "-ss", "1.4", "-i", str(whole), *BITEXACT, "-c", "copy")


def variable_rate(folder: Path, size: str = "320x180") -> Path:
    """Matroska with uneven frame times: after each cut every second, then every third frame is missing."""
    return ffmpeg(
        folder / "h264_vfr.mkv", "-f", "lavfi", "-i", _source(size, FPS, False), *BITEXACT,
        "-vf", "select='not(between(n,40,90)*mod(n,2))*not(between(n,130,180)*mod(n,3))'", "-vsync", "passthrough",
        *_X264, "-bf", "3",
    )  # fmt: skip


def separate_fields(folder: Path, suffix: str, size: str = "160x96") -> Path:
    """H.264 whose pictures are single fields (PAFF), without compression; every second frame is a non-reference."""
    width, height = map(int, size.split("x"))
    source = ("-f", "lavfi", "-i", _source(size, 2 * FPS, True), "-vf", "lutyuv=y=clip(val\\,16\\,235)")
    raw = ffmpeg(folder / "fields.yuv", *source, "-pix_fmt", "yuv420p", "-f", "rawvideo")
    luma = width * height
    frames = np.fromfile(raw, np.uint8).reshape(-1, luma * 3 // 2)
    raw.unlink()
    stream = folder / "h264_fields.h264"
    stream.write_bytes(
        field_pictures([
            [
                frame[:luma].reshape(height, width),
                *frame[luma:].reshape(2, height // 2, width // 2),
            ]
            for frame in frames
        ])
    )  # fmt: skip
    if suffix == ".h264":
        return stream
    return ffmpeg(folder / f"h264_fields{suffix}", "-fflags", "+genpts", "-i", str(stream), *BITEXACT, "-c", "copy")


_SPECIAL: dict[str, Callable[[Path, str], Path]] = {
    "h264_cut_ts": lambda folder, size: missing_references(folder, "h264_open_gop_ts", ".ts", size),
    "h264_cut_mkv": lambda folder, size: missing_references(folder, "h264_open_gop", ".mkv", size),
    "h264_cut_mp4": lambda folder, size: missing_references(folder, "h264_open_gop", ".mp4", size),
    "h265_cut_ts": lambda folder, size: missing_references(folder, "h265_open_gop_ts", ".ts", size),
    "h265_cut_mkv": lambda folder, size: missing_references(folder, "h265_open_gop", ".mkv", size),
    "mpeg2_cut_ts": lambda folder, size: missing_references(folder, "mpeg2_ts", ".ts", size),
    "h264_edit_list": edit_list,
    "h264_fields_ts": lambda folder, size: separate_fields(folder, ".ts"),
    "h264_fields_mp4": lambda folder, size: separate_fields(folder, ".mp4"),
    "h264_fields_raw": lambda folder, size: separate_fields(folder, ".h264"),
    "h264_vfr": variable_rate,
}
NAMES = (*_ENCODINGS, *_SPECIAL)


def unusual(folder: Path, name: str, size: str = "320x180") -> Path:
    """Write the clip called `name` (see `NAMES`) into `folder` and return its path."""
    special = _SPECIAL.get(name)
    return special(folder, size) if special else _encoded(folder, name, size)
