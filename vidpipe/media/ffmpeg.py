"""The one place where ffmpeg and ffprobe are found and run, always guarded against hostile files.

A video file is somebody else's data. A playlist or concat script under the name x.mp4 would make ffmpeg open other
local files or ask the network, so only container formats that hold their own data may be opened (`FORMATS`), only from
files and pipes; a path is passed as `file:...` so that its name is never read as an option or a protocol.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote_to_bytes

import ffmpeg as ffmpeg_python

from vidpipe.errors import MediaError, UnavailableError, readable
from vidpipe.media import animated_webp, memory
from vidpipe.media.pictures import is_animated_webp
from vidpipe.media.sniff import sniff
from vidpipe.redaction import child_environment

#: Demuxers that may be opened: containers and raw streams whose data lies in the file itself. Not in it, on purpose:
#: hls, dash, concat, sdp, rtsp, imf, image2 (file name patterns), lavfi, vobsub, tty, devices.
FORMATS = (
    "mov", "mp4", "matroska", "webm", "avi", "asf", "asf_o", "flv", "kux", "mpegts", "mpeg", "mpegvideo", "m4v", "h261",
    "h263", "h264", "hevc", "vvc", "obu", "av1", "ivf", "ogg", "mxf", "gxf", "nut", "rm", "dv", "wtv", "nsv", "nuv",
    "ty", "yuv4mpegpipe", "gif", "apng", "mjpeg", "mjpeg_2000", "dirac", "vc1", "cavsvideo", "avs2", "avs3", "dnxhd",
    "r3d", "mp3", "wav", "w64", "flac", "aac", "ac3", "eac3", "aiff", "amr", "caf", "dts", "tta", "wv", "ape",
)  # fmt: skip

#: Each stream costs memory before a picture is decoded. Fonts that Matroska files carry along are streams, too.
MOST_STREAMS = 512

#: Arguments that precede everything else, for ffmpeg and ffprobe; no single allocation above 1 GiB.
GLOBAL_GUARD: tuple[str, ...] = ("-hide_banner", "-max_alloc", str(1 << 30))

_REFUSED_FORMAT = re.compile(r"\[(?P<format>[\w,]+) @ [^]]*\] Format not on whitelist")
#: Options of every output: a file may hold megabytes of tags, and what ffmpeg makes here has no use for them.
WITHOUT_METADATA = {"map_metadata": "-1", "map_chapters": "-1"}

_TOO_MANY_STREAMS = "Number of streams exceeds max_streams"
_STDERR_LIMIT = 64 * 1024
_CONVERSION_LIMIT_S = 300.0
_INSTALL = (
    "Install ffmpeg (Debian, Ubuntu: apt install ffmpeg; macOS: brew install ffmpeg) or name the program in the "
    "environment variable {variable}."
)


class TimeLimitError(MediaError):
    """ffmpeg or ffprobe was ended because it took longer than it may."""


@dataclass(frozen=True)
class Completed:
    """What a finished program left: `stderr` is cut to its first and last 32 KiB."""

    returncode: int
    stdout: bytes
    stderr: str
    seconds: float

    @property
    def refused_format(self) -> str | None:
        """The demuxer that the file's content called for, where it is not one of `FORMATS`: hls, concat, ..."""
        found = _REFUSED_FORMAT.search(self.stderr)
        return found["format"].split(",")[0] if found else None

    @property
    def too_many_streams(self) -> bool:
        """Whether the file has more than `MOST_STREAMS`."""
        return _TOO_MANY_STREAMS in self.stderr


def ffmpeg_path() -> str:
    """The ffmpeg program. Raises UnavailableError that says how to get it."""
    return _find("ffmpeg", "FFMPEG_BINARY")


def ffprobe_path() -> str:
    """The ffprobe program. Raises UnavailableError that says how to get it."""
    return _find("ffprobe", "FFPROBE_BINARY")


def _find(program: str, variable: str) -> str:
    hint = _INSTALL.format(variable=variable)
    named = os.environ.get(variable, "")
    if named:
        found = shutil.which(named)
        if not found:
            said = f"{variable} names {named}, which is not a program."
            raise UnavailableError(said, hint, depends_on=(f"program:{program}",))
        return found
    # a program installed beside this Python is found although the environment is not activated
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if not found:
        raise UnavailableError(f"The program {program} was not found.", hint, depends_on=(f"program:{program}",))
    return found


#: Begins an input address in which bytes that are not UTF-8 are quoted.
_QUOTED = "quoted:"


@functools.lru_cache(maxsize=4)
def version(program: str) -> str:
    """The version that the program at this path gives itself: "5.1.9-0+deb12u1"."""
    first = run([program, "-version"], timeout_s=20).stdout.decode(errors="replace").partition("\n")[0]
    words = first.split()
    return words[2] if len(words) > 2 and words[1] == "version" else first


def input_address(path: Path | str) -> str:
    """`path` as ffmpeg is to be given it: a plain file, whatever its name looks like."""
    return f"file:{os.fspath(path)}"


def input_options() -> dict[str, str]:
    """Options of every input: for ffmpeg before `-i`, for ffprobe anywhere."""
    return {
        "protocol_whitelist": "file,pipe",
        "format_whitelist": ",".join(FORMATS),
        "max_pixels": str(memory.current().settings.max_pixels),
        "max_streams": str(MOST_STREAMS),
    }


def decodable_input(path: Path | str, name: str | None = None) -> tuple[dict[str, str], str]:
    """What ffmpeg is to open for a video file: the options and the address of the input.

    ffmpeg takes a raw Motion JPEG for a single picture unless told otherwise, and does not decode animated WebP.

    name: how the file is called in errors; its own name when not given

    Raises MediaError where a WebP cannot be decoded.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(32)
        if head.startswith(b"\xff\xd8\xff") and sniff(path) is None:
            return {**input_options(), "f": "mjpeg"}, input_address(path)
    except OSError:
        head = b""  # ffmpeg says what is wrong with it
    made = animated_webp.as_png(path, _converted, name or path.name) if is_animated_webp(head) else path
    return input_options(), input_address(made)


def _converted(command: Sequence[str]) -> str | None:
    # what Pillow says of a damaged file is what it says without memory: it has the larger limit from the first
    limits = replace(memory.current(), generous=True)
    try:
        with memory.reading(limits):
            done = run(command, timeout_s=_CONVERSION_LIMIT_S, task="decoding its pictures")
    except TimeLimitError as error:
        return str(error)
    return (done.stderr.strip() or "unknown reason").splitlines()[-1] if done.returncode else None


def input_arguments(path: Path | str) -> list[str]:
    """Ffmpeg's arguments for one guarded input, `-i` included; options of the input go before them."""
    options, address = decodable_input(path)
    return [*(part for option, value in options.items() for part in (f"-{option}", value)), "-i", address]


def ffmpeg_command(*arguments: str) -> list[str]:
    """An ffmpeg command line with the global guard in front."""
    return [ffmpeg_path(), *GLOBAL_GUARD, "-nostdin", *arguments]


def graph_input(path: Path | str) -> Any:
    """One guarded input as a node of ffmpeg-python: `graph_input(path)["0"].output(...)`."""
    options, address = decodable_input(path)
    if threads := memory.current().threads:
        options = {**options, "threads": str(threads)}
    if readable(address) != address:  # ffmpeg-python takes UTF-8 only; `graph_command` puts the bytes back
        address = _QUOTED + quote(os.fsencode(address))
    return ffmpeg_python.input(address, **options)


def graph_command(outputs: Sequence[Any]) -> list[str]:
    """The guarded command line for outputs built with ffmpeg-python from `graph_input`; only errors are printed."""
    command: list[str] = ffmpeg_python.merge_outputs(*outputs).compile(cmd=ffmpeg_command("-v", "error", "-y"))
    return [
        os.fsdecode(unquote_to_bytes(argument.removeprefix(_QUOTED))) if argument.startswith(_QUOTED) else argument
        for argument in command
    ]


def ffprobe_command(path: Path | str, *arguments: str) -> list[str]:
    """An ffprobe command line for one guarded input."""
    threads = memory.current().threads
    return [ffprobe_path(), *GLOBAL_GUARD, *(["-threads", str(threads)] if threads else []), *arguments,
            *input_arguments(path)]  # fmt: skip


def spawn(
    command: Sequence[str],
    *,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    memory_bytes: int | None = None,
    processor_s: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a program that will read a hostile file: no standard input, own session, none of vidpipe's secrets.

    The own session keeps Ctrl-C for the parent, which must end the program itself (`stop`).
    memory_bytes: its memory limit (`memory.FileLimits.granted`); None: unlimited
    processor_s: its limit of processor time, seconds; 0: unlimited
    """
    return subprocess.Popen(
        memory.limited(command, memory_bytes, processor_s),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        env=child_environment(),  # FFREPORT would make it write a log file anywhere
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program at once and wait for it; nothing happens where it has ended already."""
    if process.poll() is None:
        process.kill()
    process.wait()


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    task: str = "",
    max_output_bytes: int = 64 << 20,
    processor_s: int = 0,
) -> Completed:
    """Run a program to its end, within the limits of the file that this thread reads (`memory.reading`).

    task: what it does, for errors: "listing the packets"
    processor_s: limit of processor time for reading headers, seconds; 0: unlimited

    Raises TimeLimitError when it takes longer than `timeout_s` seconds, LimitError when it needs more memory or
    processor time, MediaError when it writes more than `max_output_bytes` to its standard output; it is ended in all
    cases. A return code other than 0 is the caller's.
    """
    return memory.retried(lambda: _run(command, timeout_s, task, max_output_bytes, processor_s))


def _run(command: Sequence[str], timeout_s: float, task: str, max_output_bytes: int, processor_s: int) -> Completed:
    limits, started = memory.current(), time.monotonic()
    with limits.granted() as limit_bytes:
        process = spawn(command, memory_bytes=limit_bytes, processor_s=processor_s)
        assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
        assert process.stderr is not None  # noqa: S101
        output = _Collector(process.stdout, max_output_bytes, process)
        errors = _Collector(process.stderr, _STDERR_LIMIT, None)
        try:
            # the end of its output first: Popen.wait with a time limit polls, which would cost up to 50 ms a call
            output.join(timeout_s)
            process.wait(timeout=max(0.0, timeout_s - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            raise _time_limit(command, timeout_s, task) from None
        finally:
            stop(process)
            output.join()
            errors.join()
    if output.overflowed:
        raise MediaError(f"{_program(command)} wrote more than {max_output_bytes} bytes and was ended.")
    if process.returncode == -signal.SIGXCPU:
        raise memory.HeaderTimeError(_program(command), processor_s)
    said = errors.data().decode(errors="replace")
    done = Completed(process.returncode, output.data(), said, time.monotonic() - started)
    # under the larger limit, a damaged packet that asks for too much is no reason to refuse the rest
    whole = limits.generous and done.stdout and not done.returncode and not memory.has_cut_index(said)
    lacked = memory.lacked_memory(said) if limits.generous else memory.may_have_lacked_memory(said)
    if limit_bytes is not None and lacked and not whole and not done.too_many_streams:
        raise memory.MemoryLimitError(_program(command), limit_bytes)
    return done


def _program(command: Sequence[str]) -> str:
    """How errors call the program of a command."""
    return "the WebP decoder" if command[0] == sys.executable else Path(command[0]).name


def _time_limit(command: Sequence[str], timeout_s: float, task: str) -> TimeLimitError:
    doing = f" while {task}" if task else ""
    return TimeLimitError(f"{_program(command)} did not finish within {timeout_s:g} s and was ended{doing}.")


def lines(command: Sequence[str], *, timeout_s: float, task: str, processor_s: int = 0) -> Iterator[bytes]:
    """The lines that a program writes to its standard output, each as it comes, the first 4 KiB of it.

    Its return code is not looked at. Raises TimeLimitError when it takes longer than `timeout_s` seconds,
    HeaderTimeError when it takes more processor time before its first line than it may, MemoryLimitError at the end
    when lines may be missing for a lack of memory (`memory.retried`).

    task: what it does, for errors: "listing the packets"
    processor_s: as for `run`
    """
    limits = memory.current()
    with limits.granted() as limit_bytes:
        process = spawn(command, memory_bytes=limit_bytes, processor_s=processor_s)
        assert process.stdout is not None  # noqa: S101  (PIPE was asked for)
        assert process.stderr is not None  # noqa: S101
        errors = _Collector(process.stderr, _STDERR_LIMIT, None)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            line = process.stdout.readline(4096)
            memory.lift_processor_limit(process)
            while line:
                yield line
                line = process.stdout.readline(4096)
            process.wait()
        finally:
            timer.cancel()
            stop(process)
            process.stdout.close()
            errors.join()
    if expired.is_set():
        raise _time_limit(command, timeout_s, task)
    if process.returncode == -signal.SIGXCPU:
        raise memory.HeaderTimeError(_program(command), processor_s)
    said = errors.data().decode(errors="replace")
    lacked = memory.has_cut_index(said) if limits.generous else memory.may_have_lacked_memory(said)
    if limit_bytes is not None and lacked:
        raise memory.MemoryLimitError(_program(command), limit_bytes)


class _Collector(threading.Thread):
    """Reads a pipe to its end. Beyond the limit it ends `owner`, or without one keeps the first and last half."""

    def __init__(self, pipe: IO[bytes], limit: int, owner: subprocess.Popen[bytes] | None) -> None:
        super().__init__(daemon=True)
        self._pipe, self._limit, self._owner = pipe, limit, owner
        self._head, self._tail = bytearray(), bytearray()
        self.overflowed = False
        self.start()

    def run(self) -> None:
        half = self._limit if self._owner else self._limit // 2
        while chunk := self._pipe.read1(1 << 16):  # type: ignore[attr-defined]
            room = half - len(self._head)
            self._head += chunk[:room]
            if len(chunk) > room:
                self.overflowed = True
                if self._owner:
                    self._owner.kill()
                    return
                self._tail = (self._tail + chunk[room:])[-half:]
        self._pipe.close()

    def data(self) -> bytes:
        return bytes(self._head + self._tail)
