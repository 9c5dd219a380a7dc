"""Reads regular files only, and creates files that only their owner can read.

A path that a user or a setting names may be a pipe without a writer, an endless device or a file of /proc: all are
refused.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

#: Where a shell puts the pipes of `<(command)` and stdin.
_SHELL_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_VIRTUAL = ("/proc", "/sys")
_KINDS = {
    stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_LONGEST_BYTES = 256 << 20


def check_regular(path: Path) -> os.stat_result:
    """The stat of a regular file, or of a pipe that a shell passes as /dev/fd/…; links are followed.

    Errors: OSError, for anything else with what it is as `strerror`.
    """
    return _checked(path, os.stat(path), str(path).startswith(_SHELL_PIPES))


def open_regular(path: Path) -> BinaryIO:
    """Opens `path` for reading. Errors: OSError as in `check_regular`."""
    check_regular(path)  # before opening, which alone affects some devices
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _checked(path, os.fstat(descriptor), str(path).startswith(_SHELL_PIPES))
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path) -> bytes:
    """The whole file. Errors: OSError as in `check_regular`, and for more than 256 MiB."""
    with open_regular(path) as file:
        long = os.fstat(file.fileno()).st_size > _LONGEST_BYTES
        data = b"" if long else file.read(_LONGEST_BYTES + 1)
    if long or len(data) > _LONGEST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_LONGEST_BYTES >> 20} MiB", str(path))
    return data


def read_regular_text(path: Path, errors: str = "strict") -> str:
    """The whole file as UTF-8 text with \\n as line ends. Errors: as `read_regular`; UnicodeDecodeError."""
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig", errors=errors).read()


def check_replaceable(path: Path) -> None:
    """Errors: OSError if writing `path` would replace a pipe or a device."""
    if path.exists() and not path.is_dir():
        _checked(path, path.stat(), pipe_allowed=False)


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Writes `path` so that readers see the old or the new content, never a part of it.

    mode: of the new file, before the umask
    Errors: OSError, also as in `check_replaceable`.
    """
    check_replaceable(path)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _checked(path: Path, found: os.stat_result, pipe_allowed: bool) -> os.stat_result:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if pipe_allowed and stat.S_ISFIFO(found.st_mode):
        return found
    if not stat.S_ISREG(found.st_mode):
        raise OSError(
            errno.EINVAL,
            f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'special')}, not a regular file",
            str(path),
        )
    if any(os.path.ismount(root) and os.stat(root).st_dev == found.st_dev for root in _VIRTUAL):
        raise OSError(errno.EINVAL, "it is a virtual file of the kernel, not one on a disk", str(path))
    return found


def private_directory(path: Path) -> None:
    """Creates the folder if it is missing, accessible to its owner only. Errors: OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_private(path: Path) -> BinaryIO:
    """Opens `path` to append to; a new file is accessible to its owner only. Errors: OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def readable_by_others(path: Path) -> bool:
    """Whether the path exists and gives other users any permission."""
    return path.exists() and bool(path.stat().st_mode & 0o077)
