"""Hardware decoders of the ffmpeg program: which may be tried, and its options for them."""

import functools
import sys
from pathlib import Path

from vidpipe.media import ffmpeg, programs

#: Decoders in the order in which auto tries them, with ffmpeg's name of the pixel format of their frames.
_FRAME_FORMATS = {"cuda": "cuda", "vaapi": "vaapi", "videotoolbox": "videotoolbox_vld"}
_DEVICES = {"cuda": "/dev/nvidiactl", "vaapi": "/dev/dri/renderD128"}
#: Memory of its driver in the process that decodes.
DRIVER_BYTES = 1 << 30
#: Codecs that a hardware decoder has failed on in this process.
_failed: set[tuple[str, str]] = set()


def choose(setting: str, codec: str) -> str:
    """Return the hardware decoder to try, or an empty string to decode in software.

    Args:
        setting: none, auto, or the name of a decoder (`HwAccel`).
        codec: ffprobe's name of the codec.
    """
    names = [name for name in _FRAME_FORMATS if _exists(name)] if setting == "auto" else [setting]
    usable = [name for name in names if name != "none" and name in _built_in() and (name, codec) not in _failed]
    return usable[0] if usable else ""


def note_failure(name: str, codec: str) -> None:
    """Do not try a decoder on this codec again in this process."""
    _failed.add((name, codec))


def input_options(name: str) -> list[str]:
    """Return ffmpeg's input options. Frames stay on the device, so that a fallback within ffmpeg does not go unseen."""
    return ["-hwaccel", name, "-hwaccel_output_format", _FRAME_FORMATS[name], "-noautorotate"]


def _exists(name: str) -> bool:
    return Path(_DEVICES[name]).exists() if name in _DEVICES else sys.platform == "darwin"


@functools.cache
def _built_in() -> frozenset[str]:
    listed = programs.run([ffmpeg.ffmpeg_path(), "-hide_banner", "-hwaccels"], timeout_s=20).stdout.decode()
    return frozenset(listed.split())
