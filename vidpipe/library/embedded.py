"""Starts, finds and stops the embedded MongoDB server: a real mongod in <home>/data/mongo.

Identity: mongod writes its process id into its lock file in the data folder. The process with that id is ours if its
command line names this data folder; its port is on the command line too. There is no separate record that could
become stale: a crashed server, a reused process id and a copied home are all recognized. The port is stored only so
that it can be used again and connected clients find a restarted server.

It runs standalone, not as a replica set: commits of the library need neither transactions nor change streams, and a
one-member set has no primary after a change of port until it is reconfigured by force.

Security: it listens on 127.0.0.1 only, and every client must authenticate with a random key in the data folder, which
only its owner can open (0700). Other users of the machine can reach the port but read nothing. The key is MongoDB's own
key file, and the user is its built-in `__system`: there is nothing to set up, and a deleted key is recreated at the
next start. (A Unix socket would need no key, but its path must not exceed 107 characters, which homes do.)
"""

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from vidpipe.errors import UnavailableError
from vidpipe.library.mongod import START_LIMIT_S, DataInUse, PortInUse, find_mongod, launch
from vidpipe.library.mongod_files import (
    POLL_S,
    ServerFiles,
    accepts_connections,
    check_presence,
    choose_port,
    find_process,
    is_alive,
    poll,
    wait_until_gone,
)
from vidpipe.safe_files import private_directory, replace_file
from vidpipe.settings import Settings

#: Longest wait for a clean shutdown; then the server is killed, and its journal restores the data at the next start.
STOP_LIMIT_S = 30.0
#: Longest wait for a server that is shutting down to release the data.
RELEASE_LIMIT_S = 5.0
#: With less free disk space the server is not started.
MIN_FREE_BYTES = 20_000_000
_KEY = re.compile(rb"[0-9a-f]{64}")
_PORT_ATTEMPTS = 5
_LAUNCHES = 3


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server.

    Attributes:
        pid: Its process id.
        port: Its port on 127.0.0.1.
        started: When its process started.
        uri: Its address with the key: a secret.
    """

    pid: int
    port: int
    started: datetime
    uri: str = field(repr=False)


@dataclass(frozen=True)
class EmbeddedStatus:
    """What is known of a home's embedded server without starting it.

    Attributes:
        running: Whether its process runs; it may still be recovering, and not accept connections.
        pid: Its process id.
        port: Its port on 127.0.0.1.
        started: When its process started.
        memory_bytes: Resident memory of its process.
    """

    running: bool
    pid: int | None = None
    port: int | None = None
    started: datetime | None = None
    memory_bytes: int | None = None


class FullDiskError(UnavailableError):
    """The disk is full; waiting does not help."""


def is_embedded(settings: Settings) -> bool:
    """Return whether these settings select the embedded server."""
    return not settings.mongodb.uri.get_secret_value().strip()


def files_of(settings: Settings) -> ServerFiles:
    """Return where the home's server keeps its files."""
    data = settings.data_directory.resolve()
    return ServerFiles(data=data / "mongo", log=data / "logs" / "mongod.log")


def find(settings: Settings) -> EmbeddedServer | None:
    """Return the home's server if it runs and accepts connections; start nothing."""
    files = files_of(settings)
    found = find_process(files)
    return _server(files, *found) if found and accepts_connections(found[1]) and files.key.exists() else None


def start(
    settings: Settings,
    *,
    may_be_new: bool = False,
    program: Path | None = None,
    release_limit_s: float = RELEASE_LIMIT_S,
) -> EmbeddedServer:
    """Return the home's server, starting it if necessary; of several concurrent processes only one starts it.

    The server outlives the process that started it.

    Args:
        settings: The home's settings.
        may_be_new: Accept a missing library although videos are stored.
        program: The mongod to run. None: see `find_mongod`.
        release_limit_s: Longest wait for a server that is shutting down to release the data, in seconds.

    Raises:
        MissingLibraryError: Videos are stored, but the server's data are missing.
        UnavailableError: The server cannot be started; the error gives the reason.
    """
    if (server := find(settings)) is not None:
        return server
    files = files_of(settings)
    if not may_be_new:
        check_presence(settings, files)
    _prepare(files)
    with locked(files):
        began = time.monotonic()
        refused_ports: set[int] = set()
        launches = 0
        while True:
            running = find_process(files)
            if running is not None:
                if _wait_until_answering(*running, began + START_LIMIT_S - time.monotonic()):
                    return _server(files, *running)
                continue
            if launches == _LAUNCHES:
                raise UnavailableError(
                    f"The embedded MongoDB server in {files.data} exited right after each of {_LAUNCHES} starts.",
                    f"Its log is {files.log}; `vidpipe doctor --repair` repairs damaged data.",
                )
            if (full := full_disk(settings)) is not None:
                raise full
            port = choose_port(files, refused_ports)
            _ensure_key(files)
            try:
                launch(program or find_mongod(), files, port)
            except PortInUse:
                refused_ports.add(port)
                if len(refused_ports) == _PORT_ATTEMPTS:
                    raise UnavailableError(
                        f"The embedded MongoDB server found no free port on 127.0.0.1 (tried {sorted(refused_ports)}).",
                        "Close the programs that use them, or set [MongoDB] URI to a server of your own.",
                    ) from None
            except DataInUse:
                # A server that is shutting down has already emptied its lock file but still holds it.
                if time.monotonic() > began + release_limit_s:
                    raise _held_by_another(files) from None
                time.sleep(POLL_S)
            else:
                launches += 1
                files.port.write_text(str(port))


def stop(settings: Settings) -> bool:
    """Shut the home's server down and wait until it has exited; return False if none was running.

    Raises:
        UnavailableError: It belongs to another user, or does not exit even when killed.
    """
    files = files_of(settings)
    if find_process(files) is None:
        return False
    with locked(files):
        found = find_process(files)
        if found is None:
            return False
        process = found[0]
        try:
            process.terminate()  # SIGTERM makes mongod shut down cleanly
            if not wait_until_gone(process, STOP_LIMIT_S):
                process.kill()
            gone = wait_until_gone(process, 10.0)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            raise UnavailableError(
                f"The embedded MongoDB server (process {process.pid}) belongs to another user.",
                "Ask that user to run `vidpipe down`.",
            ) from None
        if not gone:
            raise UnavailableError(
                f"The embedded MongoDB server (process {process.pid}) does not exit, even when killed.",
                "It is probably waiting for its disk: check the disk's health and the system log.",
            )
        return True


def status(settings: Settings) -> EmbeddedStatus:
    """Return whether a server runs for this home, and how much memory it uses."""
    found = find_process(files_of(settings))
    if found is None:
        return EmbeddedStatus(running=False)
    process, port = found
    try:
        memory_bytes, started = process.memory_info().rss, _started(process)
    except psutil.Error:
        return EmbeddedStatus(running=False)
    return EmbeddedStatus(True, process.pid, port, started, memory_bytes)


def full_disk(settings: Settings) -> FullDiskError | None:
    """Return the error to raise if the disk is too full for the server.

    mongod exits, often without an error message, when it cannot write any more.
    """
    data = files_of(settings).data
    try:
        free = shutil.disk_usage(data).free
    except OSError:  # the folder is gone: another problem
        return None
    if free >= MIN_FREE_BYTES:
        return None
    return FullDiskError(
        f"The disk of {data} is full ({free / 1e6:.0f} MB free): the embedded MongoDB server cannot run.",
        f"Free at least {MIN_FREE_BYTES / 1e6:.0f} MB on it, or move the home to a larger disk (VIDPIPE_HOME).",
    )


def _started(process: psutil.Process) -> datetime:
    return datetime.fromtimestamp(process.create_time(), UTC)


def _server(files: ServerFiles, process: psutil.Process, port: int) -> EmbeddedServer:
    try:
        key = files.key.read_text()
    except OSError as error:
        raise UnavailableError(
            f"The key of the embedded MongoDB server, {files.key}, cannot be read: {error.strerror}.",
            "The home belongs to another user, or the key was deleted: run `vidpipe down` as its owner and retry.",
        ) from error
    uri = f"mongodb://__system:{key}@127.0.0.1:{port}/?authSource=local&directConnection=true&journal=true"
    return EmbeddedServer(process.pid, port, _started(process), uri)


def _wait_until_answering(process: psutil.Process, port: int, limit_s: float) -> bool:
    """Return True when the server accepts connections, False if it has exited instead."""
    poll(lambda: accepts_connections(port) or not is_alive(process), limit_s)
    if accepts_connections(port):
        return True
    if not is_alive(process):
        return False
    raise UnavailableError(
        f"The embedded MongoDB server (process {process.pid}) runs but does not respond on 127.0.0.1:{port}.",
        "It may still be recovering: retry in a minute, or run `vidpipe down` first.",
    )


def _prepare(files: ServerFiles) -> None:
    try:
        private_directory(files.log.parent)
        files.data.mkdir(parents=True, exist_ok=True)
        files.data.chmod(0o700)
        if not os.access(files.data, os.W_OK) or not os.access(files.log.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UnavailableError(
            f"The embedded MongoDB server cannot keep its data in {files.data}: {error.strerror}.",
            "Use a home that you may write to (VIDPIPE_HOME), or set [MongoDB] URI to a server of your own.",
        ) from error


@contextlib.contextmanager
def locked(files: ServerFiles) -> Iterator[None]:
    """Hold the lock under which one process at a time starts, stops or repairs the server of a home."""
    limit_s = START_LIMIT_S + STOP_LIMIT_S
    try:
        with FileLock(files.lock, timeout=limit_s):
            yield
    except Timeout:
        raise UnavailableError(
            f"Another vidpipe process has been starting or stopping the embedded MongoDB server for {limit_s:.0f} s.",
            f"Check for a vidpipe process that hangs; the lock is {files.lock}.",
        ) from None


def _ensure_key(files: ServerFiles) -> None:
    """Create the key, replace a damaged one, or restore its permissions: mongod rejects a key that others can read."""
    if files.key.exists() and _KEY.fullmatch(files.key.read_bytes()):
        files.key.chmod(0o600)
    else:
        replace_file(files.key, secrets.token_hex(32).encode(), 0o600)


def _held_by_another(files: ServerFiles) -> UnavailableError:
    pid = ""
    with contextlib.suppress(OSError):
        pid = files.pid.read_text().strip()
    who = f" (process {pid})" if pid else ""
    return UnavailableError(
        f"Another mongod{who} has {files.data} open.",
        "It was started by hand, in another container, or before the home was moved: stop it, then retry.",
    )


def size_of(folder: Path) -> int:
    """Return the disk space of the files in `folder` in bytes; files that vanish meanwhile count as 0."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
