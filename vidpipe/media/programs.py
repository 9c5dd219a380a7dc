"""Runs programs that read untrusted files: without secrets, and with limits of memory, time and output."""

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vidpipe.errors import MediaError
from vidpipe.media import memory
from vidpipe.redaction import child_environment

_REFUSED_FORMAT = re.compile(r"\[(?P<format>[\w,]+) @ [^]]*\] Format not on whitelist")
_TOO_MANY_STREAMS = "Number of streams exceeds max_streams"
_STDERR_LIMIT = 64 * 1024


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
) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes], _Collector]]":
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
