"""The command lines of ffmpeg and ffprobe, guarded against hostile files. Nothing else makes them.

A playlist or concat script named x.mp4 would make ffmpeg open other local files or URLs. So only formats that contain
their own data may be opened (`FORMATS`), only from files and pipes, and a path is passed as `file:...` so that its name
is never parsed as an option or a protocol.
"""

import functools
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import ffmpeg as ffmpeg_python

from vidpipe.errors import UnavailableError, readable
from vidpipe.media import memory
from vidpipe.media.animated_pictures import is_animated_webp, webp_to_png
from vidpipe.media.programs import TimeLimitError, run
from vidpipe.media.sniff import sniff

#: Allowed demuxers: containers and raw streams whose data is in the file itself. Deliberately missing: hls, dash,
#: concat, sdp, rtsp, imf, image2 (file name patterns), lavfi, vobsub, tty, devices.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "asf", "asf_o", "flv", "kux", "mpegts", "mpeg", "mpegvideo", "m4v", "h261",
    "h263", "h264", "hevc", "vvc", "obu", "av1", "ivf", "ogg", "mxf", "gxf", "nut", "rm", "dv", "wtv", "nsv", "nuv",
    "ty", "yuv4mpegpipe", "gif", "apng", "mjpeg", "mjpeg_2000", "dirac", "vc1", "cavsvideo", "avs2", "avs3", "dnxhd",
    "r3d", "mp3", "wav", "w64", "flac", "aac", "ac3", "eac3", "aiff", "amr", "caf", "dts", "tta", "wv", "ape",
)  # fmt: skip

#: Each stream costs memory before a picture is decoded. Fonts attached to Matroska files are streams, too.
MAX_STREAMS = 512

#: First arguments of ffmpeg and ffprobe: no single allocation above 1 GiB.
GLOBAL_GUARD: tuple[str, ...] = ("-hide_banner", "-max_alloc", str(1 << 30))

#: Options of every output: a file may hold megabytes of tags, which no output here needs.
WITHOUT_METADATA = {"map_metadata": "-1", "map_chapters": "-1"}

_CONVERSION_LIMIT_S = 300.0
_INSTALL = (
    "Install ffmpeg with ffprobe (Debian, Ubuntu: apt install ffmpeg; Fedora: dnf install ffmpeg-free; macOS: brew "
    "install ffmpeg; conda install -c conda-forge ffmpeg; or a build from https://ffmpeg.org/download.html), or set "
    "the environment variable {variable} to the program."
)


def ffmpeg_path() -> str:
    """Return the path of ffmpeg.

    Raises:
        UnavailableError: ffmpeg was not found.
    """
    return _find("ffmpeg", "FFMPEG_BINARY")


def ffprobe_path() -> str:
    """Return the path of ffprobe.

    Raises:
        UnavailableError: ffprobe was not found.
    """
    return _find("ffprobe", "FFPROBE_BINARY")


def _find(program: str, variable: str) -> str:
    hint = _INSTALL.format(variable=variable)
    if configured := os.environ.get(variable, ""):
        path = shutil.which(configured)
        error = f"{variable} names {configured}, which is not a program."
    else:
        # the folder of this Python's virtual environment, even if the environment is not activated
        path = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
        error = f"The program {program} was not found."
    if not path:
        raise UnavailableError(error, hint, depends_on=(f"program:{program}",))
    return path


#: Prefix of an input address in which bytes that are not UTF-8 are quoted.
_QUOTED = "quoted:"


@functools.lru_cache(maxsize=4)
def version(program: str) -> str:
    """Return the version that the program at this path reports: "5.1.9-0+deb12u1"."""
    first = run([program, "-version"], timeout_s=20).stdout.decode(errors="replace").partition("\n")[0]
    words = first.split()
    return words[2] if len(words) > 2 and words[1] == "version" else first


def input_address(path: Path | str) -> str:
    """Return the address under which ffmpeg opens `path` as a plain file, whatever its name looks like."""
    return f"file:{os.fspath(path)}"


def input_options() -> dict[str, str]:
    """Return the options of every input: for ffmpeg before `-i`, for ffprobe anywhere."""
    return {
        "protocol_whitelist": "file,pipe",
        "format_whitelist": ",".join(FORMATS),
        "max_pixels": str(memory.current().settings.max_pixels),
        "max_streams": str(MAX_STREAMS),
    }


def decodable_input(path: Path | str, name: str | None = None) -> tuple[dict[str, str], str]:
    """Return the options and the address with which ffmpeg opens a video file.

    By default ffmpeg takes raw Motion JPEG for a single picture, and it does not decode animated WebP, which is
    converted.

    Args:
        path: The file.
        name: Its name in errors; by default the file name.

    Raises:
        MediaError: A WebP cannot be decoded.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(32)
        if head.startswith(b"\xff\xd8\xff") and sniff(path) is None:
            return {**input_options(), "f": "mjpeg"}, input_address(path)
    except OSError:
        head = b""  # ffmpeg will report the error
    if is_animated_webp(head):
        path = webp_to_png(path, _run_conversion, name or path.name)
    return input_options(), input_address(path)


def _run_conversion(command: Sequence[str]) -> str | None:
    # Pillow reports a damaged file as it reports lack of memory, so it gets the larger limit at once
    limits = replace(memory.current(), generous=True)
    try:
        with memory.reading(limits):
            done = run(command, timeout_s=_CONVERSION_LIMIT_S, task="decoding its pictures")
    except TimeLimitError as error:
        return str(error)
    return (done.stderr.strip() or "unknown reason").splitlines()[-1] if done.returncode else None


def input_arguments(path: Path | str) -> list[str]:
    """Return ffmpeg's arguments for one guarded input, including `-i`. Further input options go before them."""
    options, address = decodable_input(path)
    return [*(part for option, value in options.items() for part in (f"-{option}", value)), "-i", address]


def ffmpeg_command(*arguments: str) -> list[str]:
    """Return an ffmpeg command line that begins with the global guard."""
    return [ffmpeg_path(), *GLOBAL_GUARD, "-nostdin", *arguments]


def graph_input(path: Path | str) -> Any:
    """Return one guarded input as a node of ffmpeg-python: `graph_input(path)["0"].output(...)`."""
    options, address = decodable_input(path)
    if threads := memory.current().threads:
        options = {**options, "threads": str(threads)}
    if readable(address) != address:  # ffmpeg-python accepts UTF-8 only; `graph_command` restores the bytes
        address = _QUOTED + quote(os.fsencode(address))
    return ffmpeg_python.input(address, **options)


def graph_command(outputs: Sequence[Any]) -> list[str]:
    """Return the guarded command line of outputs built with ffmpeg-python from `graph_input`. It prints only errors."""
    command: list[str] = ffmpeg_python.merge_outputs(*outputs).compile(cmd=ffmpeg_command("-v", "error", "-y"))
    return [
        os.fsdecode(unquote_to_bytes(argument.removeprefix(_QUOTED))) if argument.startswith(_QUOTED) else argument
        for argument in command
    ]


def ffprobe_command(
    path: Path | str, *arguments: str, show: str, output: str = "csv=p=0", log_level: str = "error"
) -> list[str]:
    """Return an ffprobe command line for one guarded input.

    Args:
        path: The file.
        *arguments: Further arguments.
        show: The entries to print (`-show_entries`).
        output: The output format (`-of`).
        log_level: The log level (`-v`).
    """
    threads = memory.current().threads
    limited = ["-threads", str(threads)] if threads else []
    printed = ["-v", log_level, "-show_entries", show, "-of", output]
    return [ffprobe_path(), *GLOBAL_GUARD, *limited, *printed, *arguments, *input_arguments(path)]
