"""Limits the memory and time of programs that read an untrusted file, and makes large ones wait for one another.

Most files need little beyond their pictures, so the first limit is tight. A program that fails within it runs again
under the limit of [Limits] MemoryMB, one such program of this process at a time and not while headers are read: several
hostile files together take little more than one.

The limit is RLIMIT_DATA, since RLIMIT_AS would also count addresses that threads and allocators reserve and never use.
A shell sets it and becomes the program: a `preexec_fn` is not safe in a process with threads, and a limit that is set
from outside comes too late on a busy machine. Systems other than Linux have no limit.
"""

from __future__ import annotations

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
from typing import TypeVar

from vidpipe.errors import MediaError
from vidpipe.settings.operation import Limits

_MIB = 1 << 20
#: Of ffmpeg itself, its libraries, packets and sound; measured: 40 MiB before the file is opened.
_PROGRAM_BYTES = 128 * _MIB
#: Pictures that decoder and filters hold in one thread, and bytes of a pixel: 10 bits in 4:2:2, 8 bits with alpha.
_PICTURES, _PIXEL_BYTES = 10, 4
#: Larger pictures than those of 1080p count towards the memory of all programs together.
_ORDINARY_PIXELS = 1920 * 1088
#: The cores that ffmpeg sees.
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
#: Memory for larger pictures, all programs of this process together.
_SHARED_BYTES = 384 * _MIB * max(4, _CORES)
#: Memory for headers: one program more than cores.
_HEADERS_BYTES = _PROGRAM_BYTES * (_CORES + 1)
#: As in libavcodec: one more than cores, at most 16.
_MOST_THREADS = 16
#: Of a thread where RLIMIT_STACK says unlimited (glibc on x86-64).
_STACK_BYTES = 2 * _MIB
_LACKED = re.compile(
    r"Cannot allocate memory|[Oo]ut of memory|bad_alloc|MemoryError|"
    r"(?:Cannot|Could not|Failed to) (?:re)?alloc|Error allocating|thread_encoder_init failed"
)
#: Also said for other reasons.
_MAY_HAVE_LACKED = re.compile("Resource temporarily unavailable")
#: ffmpeg reads the packets that found room in its index, and then ends as if the file held no others.
_CUT_INDEX = re.compile(r"Cannot add (?:index|CTTS) entry")
_RETRY = (
    "A damaged or hostile file can ask for any amount. If you trust it, raise {setting} in [Limits] and retry "
    "(`vidpipe add --retry`, `vidpipe run --retry`)."
)

Result = TypeVar("Result")


class LimitError(MediaError):
    """A program needed more of the machine for a file than its limit."""


class HeaderTimeError(LimitError):
    """A program needed more processor time for the headers of a file than its limit."""

    def __init__(self, program: str, limit_s: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_s} s of processor time to read its headers.",
            _RETRY.format(setting="HeaderSeconds"),
            depends_on=("limits.header_seconds",),
        )


class MemoryLimitError(LimitError):
    """A program needed more memory for a file than its limit."""

    def __init__(self, program: str, limit_bytes: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_bytes >> 20} MB of memory to read it.",
            _RETRY.format(setting="MemoryMB"),
            depends_on=("limits.memory_mb",),
        )


def lacked_memory(messages: str) -> bool:
    """Whether a program's `messages` say that it was refused memory."""
    return _LACKED.search(messages) is not None or has_cut_index(messages)


def has_cut_index(messages: str) -> bool:
    """Whether `messages` say that there was no memory for the index of all packets."""
    return _CUT_INDEX.search(messages) is not None


def may_have_lacked_memory(messages: str) -> bool:
    """Whether `messages` say what programs say for lack of memory, among other reasons."""
    return lacked_memory(messages) or _MAY_HAVE_LACKED.search(messages) is not None


@dataclass
class FileLimits:
    """Limits of the programs that read one file.

    pixels:   of its largest picture, 0 while unknown
    generous: whether one of them has failed within the tight limit
    """

    settings: Limits = field(default_factory=Limits)
    pixels: int = 0
    generous: bool = False

    @property
    def threads(self) -> int | None:
        """Threads of the decoder; None: its own default, which fits."""
        usual = _usual_threads()
        fitting = [count for count in range(1, usual + 1) if self._bytes(count) <= _SHARED_BYTES]
        return None if usual in fitting or self.pixels <= _ORDINARY_PIXELS else max(fitting, default=1)

    @property
    def limit_bytes(self) -> int | None:
        """Memory limit of one program; None: unlimited."""
        if not self.settings.memory_mb or sys.platform != "linux":
            return None
        tight = self._bytes(self.threads or _usual_threads())
        return tight + max(0, self.settings.memory_mb * _MIB - _PROGRAM_BYTES) if self.generous else tight

    def _bytes(self, threads: int) -> int:
        if not self.pixels:  # headers are read in one thread
            return _PROGRAM_BYTES
        return _PROGRAM_BYTES + self.pixels * _PIXEL_BYTES * (_PICTURES + threads) + threads * _stack_bytes()

    @contextlib.contextmanager
    def granted(self) -> Iterator[int | None]:
        """Waits until `limit_bytes` are free beside this process's other programs, and holds them for the block."""
        limit = self.limit_bytes
        with contextlib.ExitStack() as taken:
            if limit and (self.generous or self.pixels > _ORDINARY_PIXELS):
                taken.enter_context(_shared.taken(_SHARED_BYTES if self.generous else min(limit, _SHARED_BYTES)))
            if limit and not self.pixels:
                taken.enter_context(_headers.taken(_HEADERS_BYTES if self.generous else limit))
            yield limit


def limited(command: Sequence[str], limit_bytes: int | None, processor_s: int = 0) -> list[str]:
    """`command`, run within limits of memory (None: unlimited) and processor time (0: unlimited), after which SIGXCPU
    ends it.
    """
    limits = [f"ulimit -d {limit_bytes >> 10}"] if limit_bytes is not None else []
    limits += [f"ulimit -S -t {processor_s}"] if processor_s and sys.platform == "linux" else []
    if not limits:
        return list(command)
    # a lower limit that is in force already stays
    return ["/bin/sh", "-c", f'{{ {"; ".join(limits)}; }} 2>/dev/null; exec "$@"', "sh", *command]


def lift_processor_limit(process: subprocess.Popen[bytes]) -> None:
    """Lets a program go on that has read the headers within its limit."""
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            _, hard = resource.prlimit(process.pid, resource.RLIMIT_CPU)
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (hard, hard))


def retried(read: Callable[[], Result]) -> Result:
    """`read()`, a second time under the larger limit if it fails within the tight one. Raises MemoryLimitError."""
    try:
        return read()
    except MemoryLimitError:
        if current().generous:
            raise
    current().generous = True
    return read()


_current: ContextVar[FileLimits] = ContextVar("vidpipe_file_limits")


def current() -> FileLimits:
    """The limits of the file that this thread reads; the defaults outside of `reading`."""
    return _current.get(None) or FileLimits()


@contextlib.contextmanager
def reading(limits: FileLimits) -> Iterator[None]:
    """Applies `limits` to the programs that this thread starts within the block."""
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
    def taken(self, size_bytes: int) -> Iterator[None]:
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


def _usual_threads() -> int:
    return min(_CORES + 1, _MOST_THREADS) if _CORES > 1 else 1


def _stack_bytes() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _STACK_BYTES if soft == resource.RLIM_INFINITY else soft
