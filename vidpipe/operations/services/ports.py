"""Where the servers of a home listen, and whether they answer there.

A server gets the port that is configured or the next free one, and the same again the next time.
"""

from __future__ import annotations

import contextlib
import errno
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
_PROBE_LIMIT_S = 5.0


def choose_port(memory: Path, name: str, asked: int, host: str, taken: Collection[int] = ()) -> int:
    """Returns a free port for a server.

    Args:
        memory: The file that records the ports chosen before.
        name: The server.
        asked: The configured port; the search for a free one starts here.
        host: The address to listen on.
        taken: Ports that other servers of the home get.

    Raises:
        UnavailableError: No port from `asked` on is free.
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
        f"No port for {name} is free on {host}: tried {asked} to {asked + _TRIED - 1}.",
        "Choose another one in config.ini, [Services].",
    )


def _read(memory: Path) -> dict[str, dict[str, int]]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return {name: entry for name, entry in known.items() if isinstance(entry, dict)}
    return {}


def listens(process: psutil.Process, port: int) -> bool:
    """Returns whether it is this process that listens on `port`."""
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)


def is_free(host: str, port: int) -> bool:
    """Returns whether a server could listen on `port`.

    Raises:
        UnavailableError: `host` is not an address of this machine.
    """
    foreign = f"[Services] Host {host} is not an address of this machine"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UnavailableError(f"{foreign}: {error.strerror or error}.", "Correct it.") from error
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise UnavailableError(f"{foreign}.", "Correct it.") from error
            return False
        return True


def url(host: str, port: int) -> str:
    """Returns the address at which a browser on this machine reaches a server that listens on `host` and `port`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reached}:{port}"


def answers(address: str) -> bool:
    """Returns whether a page answers within 5 s."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=_PROBE_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def code_server_answers(path: Path) -> bool:
    """Returns whether a code server answers within 5 s, asked by gRPC's health protocol on its Unix socket."""
    if not path.exists():
        return False
    import grpc  # type: ignore[import-untyped]  # here, because `status` and `down` do not need it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"unix:{path}") as channel:
        request = health_pb2.HealthCheckRequest(service="DagsterApi")
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_PROBE_LIMIT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def socket_path(run_directory: Path) -> Path:
    """Returns the Unix socket of a home's code server, in a folder that only this user can enter.

    Whoever reaches the socket may run code. It lies in `run_directory`, or in a folder for temporary files if that path
    is too long for a socket.
    """
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
