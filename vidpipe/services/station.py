"""A home's servers together: all up, all down, and what runs."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from vidpipe import __version__
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.embedded_process import is_alive
from vidpipe.services.ports import is_free, listens
from vidpipe.services.running_runs import stop_runs
from vidpipe.services.service import Running, Service, find_running, stop
from vidpipe.settings import Settings

Say = Callable[[str], None]

_LOCK_LIMIT_S = 180.0
_POLL_S = 0.2
_LOG_LINES = 12
#: After this a server that was asked to end is killed.
_STOP_LIMIT_S = 15.0
#: How often another program may take a port between the look at it and the server's start.
_PORTS_LOST = 5
#: In this order they are stopped: first what would start something new.
_STOP_ORDER = ("daemon", "web", "measures", "code")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServiceStatus:
    """One server as it is now."""

    name: str
    pid: int
    address: str
    started: datetime
    memory_bytes: int


@dataclass
class UpReport:
    """What `up` found and did. services: all that run now; started: names of those that this call started; notes: what
    the user should know."""

    services: list[ServiceStatus] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> dict[str, str]:
        return {service.name: service.address for service in self.services if service.address}


def fingerprint(settings: Settings) -> str:
    """Of all settings: servers keep those that they were started with."""
    text = settings.model_dump_json() + "".join(
        secret.get_secret_value()
        for secret in (settings.mongodb.uri, settings.qwen_vl.access_key, settings.alerts.webhook_url,
                       settings.alerts.smtp_password)
    )  # fmt: skip
    return hashlib.sha256(f"{__version__}\n{text}".encode()).hexdigest()


def up(settings: Settings, say: Say) -> UpReport:
    """Starts what does not run, waits until all answer. Servers started under other settings are started again.

    say: is told of progress, a line at a time
    Raises UnavailableError with the last lines of its log for a server that does not come up; what this call had
    started is stopped again then.
    """
    report = UpReport()
    with locked(settings):
        if embedded.is_embedded(settings):
            if embedded.find(settings) is None:
                say("MongoDB …")
                report.started.append("mongod")
            embedded.start(settings)
        end_what_died(settings)
        wanted = fingerprint(settings)
        running = _without_changed(settings, wanted, say)
        begun: list[str] = []
        try:
            services = bring_all_up(settings, running, wanted, begun, say)
        except BaseException:
            _stop_all(settings, begun)
            raise
        report.started += begun
        report.notes += _notes(settings, services)
    report.services = status(settings)
    return report


def _without_changed(settings: Settings, wanted: str, say: Say) -> dict[str, Running]:
    """What runs under today's settings; what runs under others is stopped."""
    running = find_running(settings.home)
    changed = [name for name, found in running.items() if found.settings != wanted]
    if changed:
        say("The settings have changed since the servers were started: they are started again.")
        _stop_all(settings, changed)
    return {name: found for name, found in running.items() if name not in changed}


class _PortLostError(UnavailableError):
    """Another program listens on the port that was free a moment ago."""


def bring_all_up(
    settings: Settings, running: dict[str, Running], wanted: str, begun: list[str], say: Say
) -> list[Service]:
    """Starts what is not in `running`, and adds its name to `begun`. Gives all services of the home."""
    from vidpipe.services.servers import services_of

    for left in reversed(range(_PORTS_LOST)):
        services = services_of(settings, running)
        try:
            for service in services:
                if service.name in running:
                    _wait_for(service, running[service.name].process)
                else:
                    say(f"{service.title} …")
                    _bring_up(service, wanted, settings.services.host)
                    begun.append(service.name)
        except _PortLostError:
            if not left:
                raise
            running = find_running(settings.home)
        else:
            break
    return services


def _bring_up(service: Service, wanted: str, host: str) -> None:
    size = service.log.stat().st_size if service.log.exists() else 0
    child = service.launch(wanted)
    try:
        _wait_for(service, psutil.Process(child.pid), log_from=size)
    except BaseException as error:
        ended = child.poll() is not None
        child.kill()
        child.wait()
        if isinstance(error, UnavailableError) and ended and service.port and not is_free(host, service.port):
            raise _PortLostError(error.message, error.hint) from error
        raise


def _wait_for(service: Service, process: psutil.Process, log_from: int = 0) -> None:
    """Waits until `process`, and nobody else, answers for the service."""
    deadline = time.monotonic() + service.start_limit_s
    while not ((service.port is None or listens(process, service.port)) and service.answers()):
        ended = not is_alive(process)
        if ended or time.monotonic() > deadline:
            what = "ended right after its start" if ended else f"did not answer within {service.start_limit_s:.0f} s"
            raise UnavailableError(
                f"{service.title.capitalize()} {what}.\n{_last_lines(service.log, log_from)}",
                f"Its log is {service.log}; `vidpipe doctor` looks for what is missing, `vidpipe down` stops the rest.",
            )
        time.sleep(_POLL_S)


def _last_lines(log: Path, start: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(start)
        lines = file.read()[-20_000:].decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])
    return ""


def _notes(settings: Settings, services: list[Service]) -> list[str]:
    notes = []
    asked = {"web": settings.services.web_port, "measures": settings.services.metrics_port}
    for service in services:
        if service.name in asked and service.port != asked[service.name]:
            notes.append(f"Port {asked[service.name]} was taken: {service.title} is at {service.address}.")
    if settings.services.host not in _LOOPBACK:
        notes.append(
            f"[Services] Host is {settings.services.host}: whoever reaches this machine can use the pages and start "
            "runs, without a password."
        )
    if not settings.sensors.enabled:
        notes.append("[Sensors] Enabled is no: nothing starts by itself.")
    return notes


def end_what_died(settings: Settings) -> None:
    """Ends Dagster's runs whose process was killed and frees the leases of dead processes."""
    from vidpipe.library.library import Library
    from vidpipe.pipeline.instance import instance
    from vidpipe.stages.registry import GRAPH

    instance(settings).dispose()  # opening it ends dead runs
    with Library.open(settings, GRAPH) as library, library.leases() as leases:
        leases.free_dead()


def down(settings: Settings, say: Say, *, runs_limit_s: float = 60.0, keep_database: bool = False) -> list[str]:
    """Stops what runs, in good order: nothing new starts, runs store what is finished, then the servers, MongoDB last.

    Gives the names of what was stopped. keep_database: leave the embedded server.
    """
    stopped: list[str] = []
    with locked(settings):
        stopped += _stop_all(settings, ["daemon"])
        try:
            runs = stop_runs(settings, runs_limit_s, say)
        except VidpipeError as error:  # of Dagster's settings or history: the servers are stopped all the same
            say(f"Runs that are under way were not asked to stop. {error}")
        else:
            stopped += ["runs"] if runs else []
        stopped += _stop_all(settings, [name for name in _STOP_ORDER if name != "daemon"])
        if embedded.is_embedded(settings) and not keep_database and embedded.stop(settings):
            stopped.append("mongod")
    return stopped


def _stop_all(settings: Settings, names: list[str]) -> list[str]:
    """Stops those of `names` that run; gives their names."""
    running = find_running(settings.home)
    stopped = []
    for name in (name for name in _STOP_ORDER if name in names and name in running):
        if not stop(running[name], _STOP_LIMIT_S):
            raise UnavailableError(
                f"The server {name} (process {running[name].pid}) does not end, even when killed.",
                "It probably hangs on its disk: look at the disk's health and the system's log.",
            )
        stopped.append(name)
    return stopped


def status(settings: Settings) -> list[ServiceStatus]:
    """The servers that run now, MongoDB first; starts nothing and asks none of them."""
    found = []
    if embedded.is_embedded(settings):
        mongod = embedded.status(settings)
        if mongod.running and mongod.pid and mongod.started:
            found.append(
                ServiceStatus(
                    "mongod", mongod.pid, f"127.0.0.1:{mongod.port}", mongod.started, mongod.memory_bytes or 0
                )
            )
    addresses = {"web": "", "measures": "/metrics"}
    running = find_running(settings.home)
    for name in reversed(_STOP_ORDER):
        if name in running:
            from vidpipe.services.ports import url

            server = running[name]
            port = server.port
            address = f"{url(settings.services.host, port)}{addresses[name]}" if port and name in addresses else ""
            found.append(ServiceStatus(name, server.pid, address, server.started, server.memory_bytes))
    return found


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """One process at a time starts or stops the servers of a home."""
    directory = settings.data_directory / "run"
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / "services.lock", timeout=_LOCK_LIMIT_S):
            yield
    except Timeout:
        raise UnavailableError(
            f"Another vidpipe process has been starting or stopping this home's servers for {_LOCK_LIMIT_S:.0f} s.",
            "Look for a hanging `vidpipe up` or `vidpipe down`.",
        ) from None
