"""How much memory and time a program that reads an untrusted file may take, and which of them wait for one another.

Most files need little beyond their pictures, so the first limit is tight. A program that fails within it runs again
under the limit of [Limits] MemoryMB, and never two such programs of this process at once, nor one while headers are
read: several hostile files take little more together than one.

The limit is RLIMIT_DATA: RLIMIT_AS would also count addresses that threads and allocators reserve and never use. It is
set from outside as soon as the program runs, because a `preexec_fn` is not safe in a process with threads. That is not
too late: what the program has taken by then counts as well. Systems without `prlimit` (macOS) have no limit.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
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
#: Larger ones than those of 1080p count towards the memory of all programs together.
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
_LACKING = re.compile(
    r"Cannot allocate memory|[Oo]ut of memory|bad_alloc|MemoryError|Resource temporarily unavailable|"
    r"(?:Cannot|Could not|Failed to) (?:re)?alloc|Error allocating|thread_encoder_init failed"
)
#: ffmpeg reads the packets that found room in its index, and then ends as if the file held no others.
_CUT_INDEX = re.compile(r"Cannot add (?:index|CTTS) entry")
_RETRY = (
    "A damaged or hostile file can ask for any amount. If you trust it, raise {setting} in [Limits] and try it again "
    "(`vidpipe add --retry`, `vidpipe run --retry`)."
)

Result = TypeVar("Result")


class LimitError(MediaError):
    """A program needed more of the machine for a file than it may take."""


class HeaderTimeError(LimitError):
    """A program needed more processor time for the headers of a file than it may take."""

    def __init__(self, program: str, limit_s: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_s} s of processor time to read its headers.",
            _RETRY.format(setting="HeaderSeconds"),
            depends_on=("limits.header_seconds",),
        )


class MemoryLimitError(LimitError):
    """A program needed more memory for a file than it may take."""

    def __init__(self, program: str, limit_bytes: int) -> None:
        super().__init__(
            f"{program} needs more than {limit_bytes >> 20} MB of memory to read it.",
            _RETRY.format(setting="MemoryMB"),
            depends_on=("limits.memory_mb",),
        )


def tells_of_lack(message: str) -> bool:
    """Whether ffmpeg's `message` says that it was refused memory."""
    return _LACKING.search(message) is not None or is_cut_index(message)


def is_cut_index(message: str) -> bool:
    """Whether ffmpeg's `message` says that there was no memory for all of a file's packets."""
    return _CUT_INDEX.search(message) is not None


@dataclass
class FileLimits:
    """What the programs that read one file may take.

    pixels:   of its largest picture, as far as that is known
    generous: one of them has failed within the tight limit
    """

    settings: Limits = field(default_factory=Limits)
    pixels: int = 0
    generous: bool = False

    @property
    def threads(self) -> int | None:
        """Threads of the decoder; None: its own choice, which fits."""
        usual = _usual_threads()
        fitting = [count for count in range(1, usual + 1) if self._bytes(count) <= _SHARED_BYTES]
        return None if usual in fitting or self.pixels <= _ORDINARY_PIXELS else max(fitting, default=1)

    @property
    def bytes(self) -> int | None:
        """The limit of data of one program; None: none."""
        if not self.settings.memory_mb or not hasattr(resource, "prlimit"):
            return None
        tight = self._bytes(self.threads or _usual_threads())
        return tight + max(0, self.settings.memory_mb * _MIB - _PROGRAM_BYTES) if self.generous else tight

    def _bytes(self, threads: int) -> int:
        if not self.pixels:  # headers are read in one thread
            return _PROGRAM_BYTES
        return _PROGRAM_BYTES + self.pixels * _PIXEL_BYTES * (_PICTURES + threads) + threads * _stack_bytes()

    @contextlib.contextmanager
    def granted(self) -> Iterator[int | None]:
        """`bytes`, once there is memory for it beside the other programs of this process."""
        limit = self.bytes
        with contextlib.ExitStack() as taken:
            if limit and (self.generous or self.pixels > _ORDINARY_PIXELS):
                taken.enter_context(_shared.taken(_SHARED_BYTES if self.generous else min(limit, _SHARED_BYTES)))
            if limit and not self.pixels:
                taken.enter_context(_headers.taken(_HEADERS_BYTES if self.generous else limit))
            yield limit


def limit_program(process: subprocess.Popen[bytes], memory_bytes: int | None, processor_s: int = 0) -> None:
    """Limits the memory and the processor time (0: not) of a program that has just been started. One that takes more
    time is ended by SIGXCPU."""
    if memory_bytes:
        _limit(process, "RLIMIT_DATA", memory_bytes)
    if processor_s:
        _limit(process, "RLIMIT_CPU", processor_s)


def lift_processor_limit(process: subprocess.Popen[bytes]) -> None:
    """Lets a program go on that has read the headers within its limit."""
    _limit(process, "RLIMIT_CPU", None)


def _limit(process: subprocess.Popen[bytes], name: str, limit: int | None) -> None:
    if hasattr(resource, "prlimit"):
        kind = getattr(resource, name)
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            _, hard = resource.prlimit(process.pid, kind)
            soft = hard if limit is None or 0 <= hard < limit else limit
            resource.prlimit(process.pid, kind, (soft, hard))


_current: ContextVar[FileLimits] = ContextVar("vidpipe_file_limits")


def current() -> FileLimits:
    """The limits of the file that this thread reads."""
    return _current.get(None) or FileLimits()


@contextlib.contextmanager
def reading(limits: FileLimits) -> Iterator[None]:
    """Programs that this thread starts meanwhile have these limits."""
    token = _current.set(limits)
    try:
        yield
    finally:
        _current.reset(token)


def retried(read: Callable[[], Result]) -> Result:
    """`read()`, a second time under the larger limit if it fails within the tight one. Raises MemoryLimitError."""
    try:
        return read()
    except MemoryLimitError:
        if current().generous:
            raise
    current().generous = True
    return read()


class _SharedMemory:
    """Bytes that are taken and given back; who asks first is served first."""

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
