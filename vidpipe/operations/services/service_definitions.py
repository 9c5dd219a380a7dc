"""The servers of a home: their command lines and ports, their start, and how their processes are recognized.

A server's process is recognised by its environment: the home and the name of the server that it was given at its start.
So no record can go stale, get lost, or name a process that is another by now; a server that was started a moment before
its starter was killed is found as well.
"""

import contextlib
import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import psutil

from vidpipe.errors import UnavailableError
from vidpipe.library.mongod_files import is_alive, wait_until_gone
from vidpipe.operations.services.state import dagster_home, read_json, ready_pid, run_directory, supervisor_state
from vidpipe.safe_files import open_private, private_directory
from vidpipe.settings import Settings

#: Environment variables that mark a server. Settings have names that begin with VIDPIPE_, without an underscore.
SERVICE, PORT, FINGERPRINT = "_VIDPIPE_SERVICE", "_VIDPIPE_PORT", "_VIDPIPE_SETTINGS"
#: name of a server, MongoDB's included, in the order in which they are shown -> how it is called in messages
TITLES = {
    "mongod": "MongoDB", "library": "library page", "code": "code server", "measures": "metrics page",
    "web": "Dagster's page", "daemon": "Dagster's daemon", "supervisor": "supervisor",
}  # fmt: skip
#: name of a server -> last parts of the program names that its command line has, former versions' included
_PROGRAMS = {
    "library": {"server"}, "code": {"dagster"}, "web": {"dagster_page", "dagster_webserver"},
    "daemon": {"dagster-daemon", "daemon"}, "measures": {"metrics_server", "server"}, "supervisor": {"supervisor"},
}  # fmt: skip
#: name of a page -> what follows its address
PATHS = {"library": "", "web": "", "measures": "/metrics"}
#: What starts programs of Dagster.
ENTRYPOINT = "vidpipe.pipeline.dagster_entrypoint"


def without_marks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` for a program that is not a server of the home."""
    return {name: value for name, value in environment.items() if name not in (SERVICE, PORT, FINGERPRINT)}


@dataclass(frozen=True)
class Running:
    """A server's process.

    Attributes:
        process: The process.
        port: The port that it was given; None: it needs none.
        settings: Fingerprint of the settings that it was started under.
    """

    process: psutil.Process
    port: int | None
    settings: str

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self.process.pid)

    @property
    def started(self) -> datetime:
        """When the process began."""
        return datetime.fromtimestamp(self.process.create_time(), UTC)


@dataclass(frozen=True)
class Service:
    """A server of a home.

    Attributes:
        name: As in the name of its log: web.
        title: As users read it: Dagster's page.
        command: Without secrets: other users of the machine can read it.
        answers: Returns whether the server that was started with this port is at work; called repeatedly at its start.
        home: The vidpipe home.
        log: The file for its output.
        port: Where it listens; None: on no port.
        address: Where a browser finds it; may be empty.
        environment: Variables besides those of this process.
        after: The server that must answer before this one is started.
        start_limit_s: Time to answer after its start.
    """

    name: str
    title: str
    command: Sequence[str]
    answers: Callable[[], bool]
    home: Path
    log: Path
    port: int | None = None
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    after: str = ""
    start_limit_s: float = 90.0

    def launch(self, fingerprint: str) -> subprocess.Popen[bytes]:
        """Start the server, detached from the terminal and this process's group. Its output goes to its log."""
        private_directory(self.log.parent)
        with open_private(self.log) as log:
            return subprocess.Popen(
                list(self.command), env=self._marked(fingerprint), cwd=self.home, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def become(self, fingerprint: str, *arguments: str) -> NoReturn:
        """Replace this process by the server, in the same terminal."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(self.command[0], [*self.command, *arguments], self._marked(fingerprint))  # noqa: S606

    def _marked(self, fingerprint: str) -> dict[str, str]:
        return {
            **without_marks(os.environ), **self.environment, "VIDPIPE_HOME": str(self.home), SERVICE: self.name,
            PORT: str(self.port or ""), FINGERPRINT: fingerprint,
        }  # fmt: skip


def services_of(settings: Settings, running: dict[str, Running]) -> dict[str, Service]:
    """Return the servers of a home by name, in the order in which they are started.

    Args:
        settings: Of the home.
        running: Servers that run and keep their port.
    """
    host = settings.services.host
    run = run_directory(settings)
    socket = socket_path(run)
    workspace = run / "workspace.yaml"
    location = {"grpc_server": {"socket": str(socket), "location_name": "vidpipe"}}
    workspace.write_text(json.dumps({"load_from": [location]}), encoding="utf-8")  # JSON is YAML, too
    taken: set[int] = set()

    def port(name: str, configured: int) -> int:
        known = running.get(name)
        chosen = known.port if known and known.port else choose_port(run / _PORTS, name, configured, host, taken)
        taken.add(chosen)
        return chosen

    def service(name: str, module: str, *arguments: str, **facts: Any) -> Service:
        command, log = [sys.executable, "-m", module, *arguments], settings.data_directory / "logs" / f"{name}.log"
        environment = {"DAGSTER_HOME": str(dagster_home(settings)), **settings.cluster.environment}
        return Service(name, TITLES[name], command, home=settings.home, log=log, environment=environment, **facts)

    def process_id(name: str) -> int | None:
        found = find_running(settings.home).get(name)
        return found.pid if found else None

    library, web = port("library", settings.services.library_port), port("web", settings.services.web_port)
    metrics = port("measures", settings.services.metrics_port)
    library_address, web_address = url(host, library), url(host, web)
    metrics_address = f"{url(host, metrics)}{PATHS['measures']}"
    services = [
        service(
            "library", "vidpipe.web.server", "--home", str(settings.home), "--host", host, "--port", str(library),
            answers=lambda: answers(f"{library_address}{_HEALTH}"), port=library, address=library_address,
        ),
        service(
            "code", ENTRYPOINT, "dagster", "api", "grpc", "--socket", str(socket),
            "--module-name", "vidpipe.pipeline.definitions", "--location-name", "vidpipe",
            answers=lambda: code_server_answers(socket),
        ),
        service(
            "web", "vidpipe.pipeline.dagster_page", "-h", host, "-p", str(web), "-w", str(workspace),
            answers=lambda: answers(f"{web_address}/server_info"), port=web, address=web_address, after="code",
        ),
        service(  # at the default log level, ticks would write 15 MB a day
            "daemon", ENTRYPOINT, "dagster-daemon", "run", "-w", str(workspace), "--log-level", "warning",
            answers=lambda: ready_pid(settings, "daemon") in {process_id("daemon")} - {None}, after="code",
        ),
        service(
            "measures", "vidpipe.pipeline.metrics_server", "--home", str(settings.home), "--host", host,
            "--port", str(metrics), answers=lambda: answers(metrics_address), port=metrics, address=metrics_address,
        ),
        service(
            "supervisor", "vidpipe.operations.services.supervisor",
            answers=lambda: supervisor_state(settings).pid == process_id("supervisor"),
        ),
    ]  # fmt: skip
    return {service.name: service for service in services}


def find_running(home: Path) -> dict[str, Running]:
    """Return name -> the running server of `home`."""
    found: dict[str, Running] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ValueError):
            environment = process.environ()
            name = environment.get(SERVICE)
            if not name or environment.get("VIDPIPE_HOME") != str(home) or not is_alive(process):
                continue
            # What a server starts (mongod, ffmpeg) has its environment, too, but another command line.
            programs = _PROGRAMS.get(name, set())
            if any(word.rpartition(".")[2] in programs for word in process.cmdline()):
                port = environment.get(PORT)
                running = Running(process, int(port) if port else None, environment.get(FINGERPRINT, ""))
                if name not in found or running.started < found[name].started:  # what it has forked is younger
                    found[name] = running
    return found


def resume(process: psutil.Process) -> bool:
    """Resume a process that a signal has stopped (SIGSTOP). Returns whether it was stopped."""
    with contextlib.suppress(psutil.Error):
        if process.status() == psutil.STATUS_STOPPED:
            process.resume()
            return True
    return False


def stop(processes: Sequence[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Terminate all processes at once and kill those that still run after `limit_s`. Returns those that survive."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
            resume(process)
    deadline = time.monotonic() + limit_s
    left = [process for process in processes if not wait_until_gone(process, deadline - time.monotonic())]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return [process for process in left if not wait_until_gone(process, 10.0)]


_PORTS, _HEALTH = "ports.json", "/api/v1/health"
_TRIED = 100
#: A path of a Unix socket has at most 107 characters.
_LONGEST_SOCKET = 100
_PROBE_LIMIT_S = 5.0


def choose_port(memory: Path, name: str, configured: int, host: str, taken: Collection[int] = ()) -> int:
    """Return a free port for a server.

    Args:
        memory: The file that records the ports chosen before.
        name: The server.
        configured: The port in config.ini; the search for a free one starts here.
        host: The address to listen on.
        taken: Ports that other servers of the home get.

    Raises:
        UnavailableError: No port from `configured` on is free.
    """
    known = read_json(memory, dict[str, dict[str, int]]) or {}
    before = known.get(name, {})
    again = [before["got"]] if before.get("asked") == configured and "got" in before else []
    for port in [*again, *range(configured, min(configured + _TRIED, 65536))]:
        if port not in taken and is_free(host, port):
            if before != {"asked": configured, "got": port}:
                memory.parent.mkdir(parents=True, exist_ok=True)
                memory.write_text(json.dumps({**known, name: {"asked": configured, "got": port}}), encoding="utf-8")
            return int(port)
    raise UnavailableError(
        f"No port for {name} is free on {host}: tried {configured} to {configured + _TRIED - 1}.",
        "Choose another one in config.ini, [Services].",
    )


def listens(process: psutil.Process, port: int) -> bool:
    """Return whether it is this process that listens on `port`."""
    try:
        found = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port for one in found)


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen on `port`.

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
    """Return the address at which a browser on this machine reaches a server that listens on `host` and `port`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reached}:{port}"


def public_url(host: str, port: int) -> str:
    """Return the address at which browsers on other machines reach a server, too, if it listens on all addresses."""
    return url(socket.gethostname() if host in ("0.0.0.0", "::") else host, port)  # noqa: S104


def library_page(settings: Settings) -> str:
    """Return the address of the library page, also while it does not run: http://host:port."""
    configured = settings.services.library_port
    known = (read_json(run_directory(settings) / _PORTS, dict[str, dict[str, int]]) or {}).get("library", {})
    port = known.get("got", configured) if known.get("asked") == configured else configured
    return settings.library_page.public_url or public_url(settings.services.host, port)


def answers(address: str) -> bool:
    """Return whether a page answers within 5 s."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=_PROBE_LIMIT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def code_server_answers(path: Path) -> bool:
    """Return whether a code server answers within 5 s, asked by gRPC's health protocol on its Unix socket."""
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
    """Return the Unix socket of a home's code server, in a folder that only this user can enter.

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
