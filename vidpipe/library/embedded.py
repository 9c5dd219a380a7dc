"""The embedded MongoDB server: a real mongod in <home>/data/mongo, shared by all vidpipe processes of this home.

Who is it? mongod writes its process id into its lock file in the data folder; the process with that id is ours if its
command line names this data folder, and its port stands there too. No record of our own can go stale: a server that
crashed, a process id given to another program, a copied home are all seen for what they are. The port is kept only to
be used again, so that clients which are already connected find a restarted server by themselves.

Standalone, not a replica set: a commit of the library needs neither transactions nor change streams, and a one-member
set has no primary after a change of port until it is reconfigured by force.

Security: it listens on 127.0.0.1 only, and every client must prove to know a random key that lies in the data folder,
which only its user can open (0700). Other users of the machine can reach the port but read nothing. The key is
MongoDB's own key file, and its built-in user `__system` the one who logs in with it: nothing to set up, nothing to
lose; a deleted key is made anew at the next start. (A Unix socket in the folder would need no key, but its path must
not be longer than 107 characters, which homes are.)
"""

from __future__ import annotations

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
from vidpipe.library.embedded_damage import check_presence
from vidpipe.library.embedded_launch import START_LIMIT_S, DataInUse, PortInUse, find_mongod, launch
from vidpipe.library.embedded_process import (
    POLL_S,
    Files,
    answers,
    choose_port,
    find_process,
    is_alive,
    wait_until_gone,
)
from vidpipe.safe_files import private_directory, replace_file
from vidpipe.settings import Settings

#: Longest wait for a clean end; then the server is killed, and its journal makes the data whole at the next start.
STOP_LIMIT_S = 30.0
#: Longest wait for a server that is just ending on its own account to let go of the data.
ENDING_LIMIT_S = 5.0
#: With less disk space the server is not started.
MIN_FREE_BYTES = 20_000_000
_KEY = re.compile(rb"[0-9a-f]{64}")
_PORT_ATTEMPTS = 5
_LAUNCHES = 3


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server. `uri` holds its key: it is a secret."""

    pid: int
    port: int
    started: datetime
    uri: str = field(repr=False)


@dataclass(frozen=True)
class EmbeddedStatus:
    """What is known of a home's embedded server without starting it.

    answering: it accepts connections (a running one may still be recovering)
    """

    data: Path
    log: Path
    running: bool
    answering: bool = False
    pid: int | None = None
    port: int | None = None
    started: datetime | None = None
    memory_bytes: int | None = None
    data_bytes: int = 0


def is_embedded(settings: Settings) -> bool:
    """Whether these settings mean the embedded server."""
    return not settings.mongodb.uri.get_secret_value().strip()


def files_of(settings: Settings) -> Files:
    data = settings.data_directory.resolve()
    return Files(data=data / "mongo", log=data / "logs" / "mongod.log")


def find(settings: Settings) -> EmbeddedServer | None:
    """The home's server if it runs and accepts connections; starts nothing."""
    files = files_of(settings)
    found = find_process(files)
    return _server(files, *found) if found and answers(found[1]) and files.key.exists() else None


def start(settings: Settings, *, may_be_new: bool = False) -> EmbeddedServer:
    """The home's server, started if it does not run; of several processes that ask at once, one starts it.

    It outlives the process that started it. Raises UnavailableError with the reason if it cannot be started,
    MissingLibraryError if videos are stored but the server's data are gone (unless `may_be_new`).
    """
    found = find(settings)
    if found is not None:
        return found
    files = files_of(settings)
    if not may_be_new:
        check_presence(settings, files)
    _prepare(files)
    with locked(files):
        begun = time.monotonic()
        refused_ports: set[int] = set()
        launches = 0
        while True:
            running = find_process(files)
            if running is not None:
                if _wait_until_answering(*running, begun + START_LIMIT_S):
                    return _server(files, *running)
                continue
            if launches == _LAUNCHES:
                raise UnavailableError(
                    f"The embedded MongoDB server in {files.data} ended again and again right after its start.",
                    f"Its log is {files.log}; `vidpipe doctor --repair` repairs damaged data.",
                )
            full = full_disk(settings)
            if full is not None:
                raise full
            port = choose_port(files, refused_ports)
            _make_key(files)
            try:
                launch(find_mongod(), files, port)
            except PortInUse:
                refused_ports.add(port)
                if len(refused_ports) == _PORT_ATTEMPTS:
                    raise UnavailableError(
                        f"The embedded MongoDB server found no free port on 127.0.0.1 (tried {sorted(refused_ports)}).",
                        "Another program takes them: close it, or name a MongoDB server in [MongoDB] URI.",
                    ) from None
            except DataInUse:
                # One that is just ending has already emptied its lock file but still holds it.
                if time.monotonic() > begun + ENDING_LIMIT_S:
                    raise _held_by_another(files) from None
                time.sleep(POLL_S)
            else:
                launches += 1
                files.port.write_text(str(port))


def stop(settings: Settings) -> bool:
    """Ends the home's server cleanly and waits for its end; False if none was running.

    Raises UnavailableError if it belongs to another user or does not even end when killed.
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
            process.terminate()  # mongod takes SIGTERM as the order for a clean shutdown
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
                f"The embedded MongoDB server (process {process.pid}) does not end, even when killed.",
                "It probably hangs on its disk: look at the disk's health and the system's log.",
            )
        return True


def status(settings: Settings) -> EmbeddedStatus:
    """What runs for this home and how much disk it takes."""
    files = files_of(settings)
    used = size_of(files.data)
    found = find_process(files)
    if found is None:
        return EmbeddedStatus(files.data, files.log, running=False, data_bytes=used)
    process, port = found
    try:
        memory, started = process.memory_info().rss, _started(process)
    except psutil.Error:
        return EmbeddedStatus(files.data, files.log, running=False, data_bytes=used)
    return EmbeddedStatus(
        files.data, files.log, running=True, answering=answers(port), pid=process.pid, port=port, started=started,
        memory_bytes=memory, data_bytes=used,
    )  # fmt: skip


class FullDiskError(UnavailableError):
    """Waiting does not help here."""


def full_disk(settings: Settings) -> FullDiskError | None:
    """The error to raise where the disk is too full for the server: mongod ends itself, often without a word, when it
    can write no more."""
    files = files_of(settings)
    try:
        free = shutil.disk_usage(files.data).free
    except OSError:  # the folder is gone: a trouble of another kind
        return None
    if free >= MIN_FREE_BYTES:
        return None
    return FullDiskError(
        f"The disk of {files.data} is full ({free / 1e6:.0f} MB free): the embedded MongoDB server cannot run.",
        f"Free at least {MIN_FREE_BYTES / 1e6:.0f} MB there, or move the home to a larger disk (VIDPIPE_HOME).",
    )


def _started(process: psutil.Process) -> datetime:
    return datetime.fromtimestamp(process.create_time(), UTC)


def _server(files: Files, process: psutil.Process, port: int) -> EmbeddedServer:
    try:
        key = files.key.read_text()
    except OSError as error:
        raise UnavailableError(
            f"The key of the embedded MongoDB server, {files.key}, cannot be read: {error.strerror}.",
            "The home belongs to another user, or the key was deleted: run `vidpipe down` as its owner and try again.",
        ) from error
    uri = f"mongodb://__system:{key}@127.0.0.1:{port}/?authSource=local&directConnection=true&journal=true"
    return EmbeddedServer(pid=process.pid, port=port, started=_started(process), uri=uri)


def _wait_until_answering(process: psutil.Process, port: int, deadline: float) -> bool:
    """True when it accepts connections, False when it has ended instead."""
    while time.monotonic() < deadline:
        if answers(port):
            return True
        if not is_alive(process):
            return False
        time.sleep(POLL_S)
    raise UnavailableError(
        f"The embedded MongoDB server (process {process.pid}) runs but does not answer on 127.0.0.1:{port}.",
        "It may still be recovering: try again in a minute, or run `vidpipe down` first.",
    )


def _prepare(files: Files) -> None:
    try:
        private_directory(files.log.parent)
        files.data.mkdir(parents=True, exist_ok=True)
        files.data.chmod(0o700)
        if not os.access(files.data, os.W_OK) or not os.access(files.log.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UnavailableError(
            f"The embedded MongoDB server cannot keep its data in {files.data}: {error.strerror}.",
            "Use a home that you may write to (VIDPIPE_HOME), or name a MongoDB server in [MongoDB] URI.",
        ) from error


@contextlib.contextmanager
def locked(files: Files) -> Iterator[None]:
    """One process at a time starts, stops or repairs the server of a home."""
    try:
        with FileLock(files.lock, timeout=START_LIMIT_S + STOP_LIMIT_S):
            yield
    except Timeout:
        raise UnavailableError(
            f"Another vidpipe process has been starting or stopping the embedded MongoDB server for "
            f"{START_LIMIT_S + STOP_LIMIT_S:.0f} s.",
            f"Look for a hanging vidpipe process; the lock is {files.lock}.",
        ) from None


def _make_key(files: Files) -> None:
    """Creates the key, replaces a damaged one, or restores its permissions: mongod refuses a key file that others can
    read."""
    if files.key.exists() and _KEY.fullmatch(files.key.read_bytes()):
        files.key.chmod(0o600)
        return
    replace_file(files.key, secrets.token_hex(32).encode(), 0o600)


def _held_by_another(files: Files) -> UnavailableError:
    try:
        pid = files.pid.read_text().strip()
    except OSError:
        pid = ""
    who = f" (process {pid})" if pid else ""
    return UnavailableError(
        f"Another mongod{who} has {files.data} open.",
        "It was started by hand, in another container, or before the home was moved: end it, then try again.",
    )


def size_of(folder: Path) -> int:
    """Bytes on disk of the files in `folder`; those that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total
