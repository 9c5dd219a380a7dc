"""Files and paths at the edge of the system: regular files only, private files, paths as text, disks.

A path from a user or a setting may be a pipe without a writer, an endless device or a file of /proc: all are refused.
"""

import errno
import io
import os
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from vidpipe.errors import readable

# Where a shell puts the pipes of `<(command)` and stdin.
_SHELL_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_VIRTUAL = ("/proc", "/sys")
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
_MAX_BYTES = 256 << 20
_NETWORK_FILE_SYSTEMS = frozenset({
    "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "fuse.blobfuse2", "fuse.ceph", "fuse.cephfs", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.sshfs",
    "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "smb3", "smbfs", "vboxsf", "webdav",
})  # fmt: skip


def check_regular(path: Path) -> os.stat_result:
    """Return the stat of a regular file, or of a pipe that a shell passes as /dev/fd/…; symlinks are followed.

    Raises:
        OSError: It is something else, which `strerror` names.
    """
    return _checked(path, os.stat(path), str(path).startswith(_SHELL_PIPES))


def open_regular(path: Path) -> BinaryIO:
    """Open `path` for reading.

    Raises:
        OSError: As in `check_regular`.
    """
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
    """Return the content of a file.

    Raises:
        OSError: As in `check_regular`, or it has more than 256 MiB.
    """
    with open_regular(path) as file:
        return read_limited(file, path)


def read_limited(file: BinaryIO, path: Path) -> bytes:
    """Return the content of an open file.

    Raises:
        OSError: It has more than 256 MiB.
    """
    too_long = os.fstat(file.fileno()).st_size > _MAX_BYTES
    data = b"" if too_long else file.read(_MAX_BYTES + 1)
    if too_long or len(data) > _MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MAX_BYTES >> 20} MiB", str(path))
    return data


def read_regular_text(path: Path, errors: str = "strict") -> str:
    """Return the content of a file as UTF-8 text with newlines normalized.

    Raises:
        OSError: As in `read_regular`.
        UnicodeDecodeError: It is not UTF-8, and `errors` is "strict".
    """
    return io.TextIOWrapper(io.BytesIO(read_regular(path)), encoding="utf-8-sig", errors=errors).read()


def check_replaceable(path: Path) -> None:
    """Check that writing `path` would not replace a pipe or a device.

    Raises:
        OSError: It would.
    """
    if path.exists() and not path.is_dir():
        _checked(path, path.stat(), pipe_allowed=False)


def replace_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write `path` atomically: readers see the old or the new content.

    Args:
        path: The file.
        content: Its new content.
        mode: Permissions of the new file, before the umask.

    Raises:
        OSError: It cannot be written, or as in `check_replaceable`.
    """
    check_replaceable(path)
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}.new")
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
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "special")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    if any(os.path.ismount(root) and os.stat(root).st_dev == found.st_dev for root in _VIRTUAL):
        raise OSError(errno.EINVAL, "it is a virtual file of the kernel, not a file on disk", str(path))
    return found


def private_directory(path: Path) -> None:
    """Create a folder that only its owner can access, unless it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def open_private(path: Path) -> BinaryIO:
    """Open `path` for appending; a new file is accessible to its owner only."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def path_text(path: Path, below: Path | None = None) -> str:
    """Return an absolute path as text for MongoDB and JSON: with forward slashes, relative to `below` if given.

    File names on Linux are arbitrary bytes. A path that is not UTF-8 becomes a file URL, which keeps every byte (%E9).
    """
    text = (path.relative_to(below) if below else path).as_posix()
    return text if readable(text) == text else path.as_uri()


def text_path(text: Path | str) -> Path:
    """Return the path that `path_text` was given."""
    # No other text starts like a file URL: paths have no empty parts.
    return file_url_path(text) if isinstance(text, str) and text.startswith("file:///") else Path(text)


def file_url_path(url: str) -> Path:
    """Return the path of a file URL, byte for byte.

    Raises:
        ValueError: It is not a URL.
    """
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(url).path)))


def nearest_existing(folder: Path) -> Path:
    """Return `folder`, or its nearest existing parent if it does not exist; follows symlinks, broken ones, too."""
    existing = Path(os.path.realpath(folder))
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return existing


def free_bytes(folder: Path) -> int:
    """Return the free space on the disk where `folder` is or will be created.

    Raises:
        OSError: The disk does not respond.
    """
    return shutil.disk_usage(nearest_existing(folder)).free


def network_file_system(path: Path) -> str:
    """Return the type of the network file system that holds `path` or will: "nfs4"; "" if it is local."""
    import psutil  # takes as long to import as everything else here

    real = nearest_existing(path)
    mounts = [part for part in psutil.disk_partitions(all=True) if real.is_relative_to(part.mountpoint)]
    kinds = [part.fstype for part in sorted(mounts, key=lambda part: len(part.mountpoint))]
    return kinds[-1] if kinds and kinds[-1] in _NETWORK_FILE_SYSTEMS else ""


def extract_files(archive: tarfile.TarFile, members: Iterable[tarfile.TarInfo], folder: Path) -> None:
    """Write the regular files of a tar archive below `folder`, with their times. Anything else is left out.

    Python has no extraction filters before 3.11.4.

    Raises:
        tarfile.TarError: A name leads outside, or the archive is damaged.
        OSError: A file cannot be written.
    """
    for member in members:
        path, content = folder / member.name, archive.extractfile(member) if member.isreg() else None
        if content is None:
            continue
        if path.is_absolute() != folder.is_absolute() or ".." in path.parts or not path.is_relative_to(folder):
            raise tarfile.ReadError(f"{member.name} leads outside")
        path.parent.mkdir(parents=True, exist_ok=True)
        with content, path.open("wb") as file:
            shutil.copyfileobj(content, file)
        os.utime(path, (member.mtime, member.mtime))
