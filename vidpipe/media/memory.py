"""Limits the memory and time of programs that read an untrusted file, and serializes large ones.

Most files need little memory beyond their pictures, so the first limit is tight. A program that exceeds it runs again
under the limit of [Limits] MemoryMB. This process runs one such program at a time, and not while headers are read, so
several hostile files together take little more memory than one.

The limit is RLIMIT_DATA, because RLIMIT_AS also counts addresses that threads and allocators reserve and never use. A
shell sets it and replaces itself with the program: `preexec_fn` is not safe in a process with threads, and a limit set
from outside may come too late on a busy machine. Only Linux has these limits.
"""

import contextlib
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from vidpipe.errors import MediaError
from vidpipe.settings.operation import Limits

_MIB = 1 << 20
#: Memory of ffmpeg itself, its libraries, packets and sound; measured: 40 MiB before the file is opened.
_PROGRAM_BYTES = 128 * _MIB
#: Pictures that decoder and filters hold with one thread, and bytes per pixel: 10 bits in 4:2:2, 8 bits with alpha.
_BUFFERED_PICTURES, _PIXEL_BYTES = 10, 4
#: Pictures larger than 1080p count towards the memory shared by all programs.
_HD_PIXELS = 1920 * 1088
#: CPU cores that ffmpeg sees.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Memory for larger pictures, shared by all programs of this process.
_SHARED_BYTES = 384 * _MIB * max(4, _CORES)
#: Memory for reading headers, shared by all programs of this process: one more than there are cores.
_HEADERS_BYTES = _PROGRAM_BYTES * (_CORES + 1)
#: libavcodec uses one thread more than there are cores, and at most 16.
_MAX_THREADS = 16
#: Threads of a decoder beside the thread that filters its frames: one more, ffmpeg's default, makes both slower.
DECODER_THREADS = min(_CORES, _MAX_THREADS)
#: Threads of a decoder that skips frames: each skipped frame occupies one for a moment, so that few of them decode.
SKIPPING_THREADS = min(6 * _CORES, _MAX_THREADS)
#: Stack of a thread if RLIMIT_STACK is unlimited (glibc on x86-64).
_STACK_BYTES = 2 * _MIB
_OUT_OF_MEMORY = re.compile(
    r"Cannot allocate memory|[Oo]ut of memory|bad_alloc|MemoryError|"
    r"(?:Cannot|Could not|Failed to) (?:re)?alloc|Error allocating|thread_encoder_init failed|malloc of size \d+ failed"
)
#: Also reported for other reasons.
_PERHAPS_OUT_OF_MEMORY = re.compile("Resource temporarily unavailable")
#: ffmpeg reads the packets that fit into its index, and then ends as if the file held no others.
_INDEX_CUT = re.compile(r"Cannot add (?:index|CTTS) entry")
_RETRY = (
    "A damaged or hostile file can request any amount. If you trust the file, raise {setting} in [Limits] and retry "
    "(`vidpipe add --retry`, `vidpipe run --retry`)."
)

Result = TypeVar("Result")


class LimitError(MediaError):
    """A program exceeded its memory or processor time limit for a file."""


class HeaderTimeError(LimitError):
    """A program exceeded its processor time limit for the headers of a file."""

    def __init__(self, program: str, limit_s: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_s} s of processor time to read its headers.",
            _RETRY.format(setting="HeaderSeconds"),
            depends_on=("limits.header_seconds",),
        )


class MemoryLimitError(LimitError):
    """A program exceeded its memory limit for a file."""

    def __init__(self, program: str, limit_bytes: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_bytes >> 20} MB of memory to read it.",
            _RETRY.format(setting="MemoryMB"),
            depends_on=("limits.memory_mb",),
        )


def ran_out_of_memory(messages: str) -> bool:
    """Return whether a program's messages report a failed memory allocation."""
    return _OUT_OF_MEMORY.search(messages) is not None or has_cut_index(messages)


def has_cut_index(messages: str) -> bool:
    """Return whether a program's messages report that the index of packets did not fit into memory."""
    return _INDEX_CUT.search(messages) is not None


def perhaps_out_of_memory(messages: str) -> bool:
    """Return whether a program's messages may have been caused by lack of memory."""
    return ran_out_of_memory(messages) or _PERHAPS_OUT_OF_MEMORY.search(messages) is not None


@dataclass(frozen=True)
class TimeLimits:
    """Time limits of the programs that read one file.

    Attributes:
        headers_s: For reading the headers or decoding the first picture, in seconds.
        startup_s: For reading the whole file, in seconds, in addition to the time its size takes.
        bytes_per_s: Read speed of the slowest disk.
    """

    headers_s: float = 60.0
    startup_s: float = 120.0
    bytes_per_s: float = 20 << 20

    def whole_file_s(self, path: Path) -> float:
        """Return the time limit for reading a file from end to end, in seconds."""
        return self.startup_s + os.stat(path).st_size / self.bytes_per_s


def _default_threads() -> int:
    return min(_CORES + 1, _MAX_THREADS) if _CORES > 1 else 1


@dataclass
class FileLimits:
    """Limits of the programs that read one file.

    Attributes:
        settings: The section [Limits].
        pixels: Number of pixels of its largest picture, 0 while unknown.
        generous: Whether a program has failed within the tight limit.
        time: Time limits.
        default_threads: Threads that the decoder uses by default.
        shared_bytes: Memory for larger pictures, shared by all programs of this process.
        extra_bytes: Memory that a program may use beyond what it needs for the file.
    """

    settings: Limits = field(default_factory=Limits)
    pixels: int = 0
    generous: bool = False
    time: TimeLimits = field(default_factory=TimeLimits)
    default_threads: int = field(default_factory=_default_threads)
    shared_bytes: int = _SHARED_BYTES
    extra_bytes: int = 0

    @property
    def threads(self) -> int | None:
        """Number of decoder threads; None if the default number fits into memory."""
        fitting = [count for count in range(1, self.default_threads + 1) if self._bytes(count) <= self.shared_bytes]
        if self.default_threads in fitting or self.pixels <= _HD_PIXELS:
            return None
        return max(fitting, default=1)

    @property
    def limit_bytes(self) -> int | None:
        """Memory limit of one program; None if unlimited."""
        if not self.settings.memory_mb or sys.platform != "linux":
            return None
        tight = self._bytes(self.threads or self.default_threads) + self.extra_bytes
        return tight + max(0, self.settings.memory_mb * _MIB - _PROGRAM_BYTES) if self.generous else tight

    def _bytes(self, threads: int) -> int:
        if not self.pixels:  # headers are read in one thread
            return _PROGRAM_BYTES
        return _PROGRAM_BYTES + self.pixels * _PIXEL_BYTES * (_BUFFERED_PICTURES + threads) + threads * _stack_bytes()

    @contextlib.contextmanager
    def granted(self, programs: int = 1) -> Iterator[int | None]:
        """Reserve `limit_bytes` for the block, waiting until other programs of this process have released enough.

        Args:
            programs: Number of programs that read the file at the same time.

        Yields:
            The memory limit of the program in bytes; None if unlimited.
        """
        limit = self.limit_bytes
        with contextlib.ExitStack() as reservations:
            if limit and (self.generous or self.pixels > _HD_PIXELS):
                size_bytes = self.shared_bytes if self.generous else min(programs * limit, self.shared_bytes)
                reservations.enter_context(_shared.reserved(size_bytes))
            if limit and not self.pixels:
                reservations.enter_context(_headers.reserved(_HEADERS_BYTES if self.generous else limit))
            yield limit


def limited(command: Sequence[str], limit_bytes: int | None, processor_s: int = 0) -> list[str]:
    """Wrap a command in a shell that applies limits.

    Args:
        command: The command line.
        limit_bytes: Memory limit; None for unlimited.
        processor_s: Limit of processor time in seconds, after which SIGXCPU ends the program; 0 for unlimited.

    Returns:
        The command line to run.
    """
    limits = [f"ulimit -d {limit_bytes >> 10}"] if limit_bytes is not None else []
    limits += [f"ulimit -S -t {processor_s}"] if processor_s and sys.platform == "linux" else []
    if not limits:
        return list(command)
    # a lower limit that already applies stays
    return ["/bin/sh", "-c", f'{{ {"; ".join(limits)}; }} 2>/dev/null; exec "$@"', "sh", *command]


def lift_processor_limit(process: subprocess.Popen[bytes]) -> None:
    """Remove the processor time limit of a program that has read the headers."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError):  # it has already ended
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_CPU)
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (hard, hard))


def retried(read: Callable[[], Result]) -> Result:
    """Call `read`, and again under the larger memory limit if the tight one was exceeded.

    Raises:
        MemoryLimitError: The larger limit was exceeded, too.
    """
    try:
        return read()
    except MemoryLimitError:
        if current().generous:
            raise
    current().generous = True
    return read()


_current: ContextVar[FileLimits] = ContextVar("vidpipe_file_limits")


def current() -> FileLimits:
    """Return the limits of the file that this thread reads; the defaults outside of `reading`."""
    return _current.get(None) or FileLimits()


@contextlib.contextmanager
def reading(limits: FileLimits) -> Iterator[None]:
    """Apply `limits` to the programs that this thread starts within the block."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)


class _SharedMemory:
    """A first-come, first-served semaphore that counts bytes."""

    def __init__(self, size_bytes: int) -> None:
        self._free_bytes = size_bytes
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free_bytes >= size_bytes)
            self._free_bytes -= size_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += size_bytes
                self._changed.notify_all()


_shared, _headers = _SharedMemory(_SHARED_BYTES), _SharedMemory(_HEADERS_BYTES)


def _stack_bytes() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _STACK_BYTES if soft == resource.RLIM_INFINITY else soft
