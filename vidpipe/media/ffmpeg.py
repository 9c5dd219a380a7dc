"""Finds and runs ffmpeg and ffprobe, guarded against hostile files. Nothing else starts them.

A playlist or concat script named x.mp4 would make ffmpeg open other local files or URLs. So only formats that contain
their own data may be opened (`FORMATS`), only from files and pipes, and a path is passed as `file:...` so that its name
is never parsed as an option or a protocol.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote_to_bytes

import ffmpeg as ffmpeg_python

from vidpipe.errors import MediaError, UnavailableError, readable
from vidpipe.media import memory
from vidpipe.media.animated_pictures import is_animated_webp, webp_to_png
from vidpipe.media.sniff import sniff
from vidpipe.redaction import child_environment

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

_REFUSED_FORMAT = re.compile(r"\[(?P<format>[\w,]+) @ [^]]*\] Format not on whitelist")
#: Options of every output: a file may hold megabytes of tags, which no output here needs.
WITHOUT_METADATA = {"map_metadata": "-1", "map_chapters": "-1"}

_TOO_MANY_STREAMS = "Number of streams exceeds max_streams"
_STDERR_LIMIT = 64 * 1024
_CONVERSION_LIMIT_S = 300.0
_INSTALL = (
    "Install ffmpeg with ffprobe (Debian, Ubuntu: apt install ffmpeg; Fedora: dnf install ffmpeg-free; macOS: brew "
    "install ffmpeg; conda install -c conda-forge ffmpeg; or a build from https://ffmpeg.org/download.html), or set "
    "the environment variable {variable} to the program."
)


class TimeLimitError(MediaError):
    """ffmpeg or ffprobe exceeded its time limit and was ended."""


@dataclass(frozen=True)
class CompletedProgram:
    """Result of a finished program.

    Attributes:
        returncode: Its exit code.
        stdout: Its standard output.
        stderr: Its messages, cut to the first and last 32 KiB.
    """

    returncode: int
    stdout: bytes
    stderr: str

    @property
    def refused_format(self) -> str | None:
        """The demuxer that the content requires, if it is not one of `FORMATS`: hls, concat, ..."""
        found = _REFUSED_FORMAT.search(self.stderr)
        return found["format"].split(",")[0] if found else None

    @property
    def too_many_streams(self) -> bool:
        """Whether the file has more than `MAX_STREAMS` streams."""
        return _TOO_MANY_STREAMS in self.stderr


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


def spawn(
    command: Sequence[str],
    *,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    memory_bytes: int | None = None,
    processor_s: int = 0,
) -> subprocess.Popen[bytes]:
    """Start a program that reads an untrusted file: without vidpipe's secrets, in a new session.

    The new session keeps Ctrl-C from the program; the caller must end it (`stop`).

    Args:
        command: The command line.
        stdin: As for `subprocess.Popen`.
        stdout: As for `subprocess.Popen`.
        stderr: As for `subprocess.Popen`.
        pass_fds: File descriptors that the program inherits.
        memory_bytes: Memory limit (`memory.FileLimits.granted`); None for unlimited.
        processor_s: Limit of processor time in seconds; 0 for unlimited.
    """
    return subprocess.Popen(
        memory.limited(command, memory_bytes, processor_s),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        env=child_environment(),  # FFREPORT could make it write a log file anywhere
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and wait for it; does nothing if it has already ended."""
    if process.poll() is None:
        process.kill()
    process.wait()


def run(
    command: Sequence[str], *, timeout_s: float, task: str = "", max_output_bytes: int = 64 << 20, processor_s: int = 0
) -> CompletedProgram:
    """Run a program to its end, within the limits of the file that this thread reads (`memory.reading`).

    The caller checks the exit code.

    Args:
        command: The command line.
        timeout_s: Time limit, in seconds.
        task: What the program does, for errors: "listing the packets".
        max_output_bytes: Limit of its standard output.
        processor_s: Limit of processor time for reading headers, in seconds; 0 for unlimited.

    Raises:
        TimeLimitError: The program exceeded `timeout_s` and was ended.
        LimitError: It exceeded its limit of memory or processor time.
        MediaError: It wrote more than `max_output_bytes` and was ended.
    """
    return memory.retried(lambda: _run(command, timeout_s, task, max_output_bytes, processor_s))


def _run(
    command: Sequence[str], timeout_s: float, task: str, max_output_bytes: int, processor_s: int
) -> CompletedProgram:
    limits = memory.current()
    with (
        limits.granted() as limit_bytes,
        _running(command, timeout_s, task, limit_bytes, processor_s) as (process, stdout, errors),
    ):
        output = _Collector(stdout, max_output_bytes, process)
        output.join()
        process.wait()
    if output.overflowed:
        raise MediaError(f"{_program(command)} wrote more than {max_output_bytes} bytes and was ended.")
    done = CompletedProgram(process.returncode, output.data(), errors.data().decode(errors="replace"))
    # under the larger limit, a damaged packet that requests too much memory does not invalidate the rest
    complete = limits.generous and done.stdout and not done.returncode and not memory.has_cut_index(done.stderr)
    lacked = memory.ran_out_of_memory(done.stderr) if limits.generous else memory.perhaps_out_of_memory(done.stderr)
    if limit_bytes is not None and lacked and not complete and not done.too_many_streams:
        raise memory.MemoryLimitError(_program(command), limit_bytes)
    return done


@contextlib.contextmanager
def _running(
    command: Sequence[str],
    timeout_s: float,
    task: str,
    memory_bytes: int | None,
    processor_s: int,
    *,
    niceness: int = 0,
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], _Collector]]:
    """Run a program for the block; yields it, its standard output and the collector of its messages."""
    prefix = ["nice", "-n", str(niceness)] if niceness else []
    process = spawn([*prefix, *command], memory_bytes=memory_bytes, processor_s=processor_s)
    assert process.stdout is not None  # noqa: S101  (PIPE was requested)
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
        yield process, process.stdout, errors
    finally:
        timer.cancel()
        stop(process)
        errors.join()
    if expired.is_set():
        doing = f" while {task}" if task else ""
        raise TimeLimitError(f"{_program(command)} did not finish within {timeout_s:g} s and was ended{doing}.")
    if process.returncode == -signal.SIGXCPU:
        raise memory.HeaderTimeError(_program(command), processor_s)


def _program(command: Sequence[str]) -> str:
    """Return the name of a command's program in errors."""
    return "the WebP decoder" if command[0] == sys.executable else Path(command[0]).name


def lines(
    command: Sequence[str], *, timeout_s: float, task: str, processor_s: int = 0, niceness: int = 0
) -> Generator[bytes, None, CompletedProgram]:
    """Yield the lines that a program writes to its standard output, as they come, each cut to 4 KiB.

    Closing the generator ends the program.

    Args:
        command: The command line.
        timeout_s: Time limit, in seconds.
        task: What the program does, for errors: "listing the packets".
        processor_s: Limit of processor time until the first line, in seconds; 0 for unlimited.
        niceness: By how much its priority is lower than that of this process.

    Returns:
        Its exit code and messages.

    Raises:
        TimeLimitError: The program exceeded `timeout_s` and was ended.
        HeaderTimeError: It exceeded `processor_s` before its first line.
        MemoryLimitError: At the end, if lines may be missing because of the memory limit (see `memory.retried`).
    """
    limits = memory.current()
    with (
        limits.granted() as limit_bytes,
        _running(command, timeout_s, task, limit_bytes, processor_s, niceness=niceness) as (process, stdout, errors),
        stdout,
    ):
        line = stdout.readline(4096)
        memory.lift_processor_limit(process)
        while line:
            yield line
            line = stdout.readline(4096)
        process.wait()
    messages = errors.data().decode(errors="replace")
    lacked = memory.has_cut_index(messages) if limits.generous else memory.perhaps_out_of_memory(messages)
    if limit_bytes is not None and lacked:
        raise memory.MemoryLimitError(_program(command), limit_bytes)
    return CompletedProgram(process.returncode, b"", messages)


class _Collector(threading.Thread):
    """Reads a pipe to its end. Beyond the limit it kills `owner`, or without one keeps the first and last half."""

    def __init__(self, pipe: IO[bytes], limit: int, owner: subprocess.Popen[bytes] | None) -> None:
        super().__init__(daemon=True)
        self._pipe, self._limit, self._owner = pipe, limit, owner
        self._head, self._tail = bytearray(), bytearray()
        self.overflowed = False
        self.start()

    def run(self) -> None:
        """Read until the pipe is closed."""
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
        """Return what was kept."""
        return bytes(self._head + self._tail)
