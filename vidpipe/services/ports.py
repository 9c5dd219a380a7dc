"""Where servers listen: the port that is asked for, or the next free one, and the same again the next time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import urllib.request
from collections.abc import Collection
from pathlib import Path

import psutil

from vidpipe.errors import UnavailableError

_TRIED = 100
#: A path of a Unix socket has at most 107 characters.
_LONGEST_SOCKET = 100


def choose_port(memory: Path, name: str, asked: int, host: str, taken: Collection[int] = ()) -> int:
    """The port for the service `name`. memory: the file that says which ones were found before.

    Raises UnavailableError where no port from `asked` on is free.
    """
    known = _read(memory)
    before = known.get(name, {})
    again = [before["got"]] if before.get("asked") == asked and "got" in before else []
    for port in [*again, *range(asked, min(asked + _TRIED, 65536))]:
        if port not in taken and is_free(host, port):
            if before != {"asked": asked, "got": port}:
                memory.parent.mkdir(parents=True, exist_ok=True)
                memory.write_text(json.dumps({**known, name: {"asked": asked, "got": port}}), encoding="utf-8")
            return int(port)
    raise UnavailableError(
        f"None of the ports {asked} to {asked + _TRIED - 1} is free on {host}, which {name} asks for.",
        "Name another in config.ini, [Services].",
    )


def _read(memory: Path) -> dict[str, dict[str, int]]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return {name: entry for name, entry in known.items() if isinstance(entry, dict)}
    return {}


def listens(process: psutil.Process, port: int) -> bool:
    """Whether it is this process that listens on `port`."""
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)


def is_free(host: str, port: int) -> bool:
    """Raises UnavailableError where `host` is no address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UnavailableError(
            f"[Services] Host {host} is no address of this machine: {error.strerror or error}.", "Correct it."
        ) from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == 99:  # EADDRNOTAVAIL
                raise UnavailableError(
                    f"[Services] Host {host} is no address of this machine.", "Correct it."
                ) from error
            return False
        return True


def url(host: str, port: int) -> str:
    """How a browser on this machine reaches what listens there."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reached}:{port}"


def answers(address: str) -> bool:
    """Whether the page answers within 5 s."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def socket_path(run_directory: Path) -> Path:
    """The Unix socket of a home's code server. It lies where only this user gets in, since who reaches it may run code:
    in `run_directory`, or, where that path is too long for a socket, in a folder for temporary files."""
    run_directory.mkdir(parents=True, exist_ok=True)
    own = run_directory / "sockets"
    if len(str(own / "code.sock")) > _LONGEST_SOCKET:
        digest = hashlib.sha256(str(run_directory).encode()).hexdigest()[:16]
        own = Path(tempfile.gettempdir()) / f"vidpipe-{os.getuid()}-{digest}"
    own.mkdir(mode=0o700, exist_ok=True)
    facts = own.lstat()
    if facts.st_uid != os.getuid() or not own.is_dir() or own.is_symlink():
        raise UnavailableError(f"{own} belongs to another user.", "Remove it, or set TMPDIR to a folder of your own.")
    own.chmod(0o700)
    return own / "code.sock"
