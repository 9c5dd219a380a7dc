"""Files that are read without waiting for anybody, and files that only their owner may read.

Of what a user or a setting names, a pipe that nobody writes to, a device that never ends and a file that the kernel
makes up are refused.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

#: What `<(command)` of a shell names, and a pipe to stdin.
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_MADE_UP = ("/proc", "/sys")
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_LONGEST_BYTES = 256 << 20


def check_regular(path: Path) -> os.stat_result:
    """What is there, links followed. Errors: OSError, also where it is neither a regular file nor a pipe that a shell
    handed over as /dev/fd/…; its `strerror` says what it is."""
    return _checked(path, os.stat(path), str(path).startswith(_HANDED_OVER))


def open_regular(path: Path) -> BinaryIO:
    """`path` for reading. Errors: OSError, as of `check_regular`."""
    check_regular(path)  # first, since opening alone has effects on some devices
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _checked(path, os.fstat(descriptor), str(path).startswith(_HANDED_OVER))
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path) -> bytes:
    """All of a file that `open_regular` opens. Errors: OSError, also where it has more than 256 MiB."""
    with open_regular(path) as file:
        long = os.fstat(file.fileno()).st_size > _LONGEST_BYTES
        data = b"" if long else file.read(_LONGEST_BYTES + 1)
    if long or len(data) > _LONGEST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_LONGEST_BYTES >> 20} MiB", str(path))
    return data


def read_regular_text(path: Path, errors: str = "strict") -> str:
    """The same as text in UTF-8, with \\n at the end of each line. Errors: OSError, UnicodeDecodeError."""
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig", errors=errors).read()


def check_replaceable(path: Path) -> None:
    """Errors: OSError where a file written to `path` would take the place of a pipe or a device."""
    if path.exists() and not path.is_dir():
        _checked(path, path.stat(), handed_over=False)


def _checked(path: Path, found: os.stat_result, handed_over: bool) -> os.stat_result:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if handed_over and stat.S_ISFIFO(found.st_mode):
        return found
    if not stat.S_ISREG(found.st_mode):
        raise OSError(
            errno.EINVAL,
            f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'special')}, not a file with contents of its own",
            str(path),
        )
    if any(os.path.ismount(root) and os.stat(root).st_dev == found.st_dev for root in _MADE_UP):
        raise OSError(errno.EINVAL, "it is made up by the kernel, not a file on a disk", str(path))
    return found


def private_directory(path: Path) -> None:
    """Makes the folder, where there is none, for its owner only, whatever the umask. Errors: OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_private(path: Path) -> BinaryIO:
    """`path` to append to; where it is new, for its owner only. Errors: OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def readable_by_others(path: Path) -> bool:
    """Whether anybody but the owner may do anything with what is there."""
    return path.exists() and bool(path.stat().st_mode & 0o077)
