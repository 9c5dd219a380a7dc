"""A home's servers together: all up, all down, and what runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import psutil
from filelock import FileLock, Timeout

from vidpipe import __version__
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.embedded import is_embedded
from vidpipe.library.embedded.process import find_process
from vidpipe.services.ports import url
from vidpipe.services.running_runs import stop_runs
from vidpipe.services.service import TITLES, Running, Service, find_running, resume, stop
from vidpipe.services.starting import Say, bring_up
from vidpipe.services.state import (
    DesiredState,
    Outage,
    desired_state,
    run_directory,
    set_desired_state,
    supervisor_state,
)
from vidpipe.settings import Settings

_LOCK_LIMIT_S = 180.0
#: After this a server that was asked to end is killed.
_STOP_LIMIT_S = 3.0
#: On the command line of a supervisor that `vidpipe up --foreground` has become.
FOREGROUND = "--foreground"
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


def up(settings: Settings, say: Say, *, foreground: bool = False) -> UpReport:
    """Starts what does not run, waits until all answer. Servers started under other settings are started again.

    say: is told of progress, a line at a time
    foreground: start no supervisor: the calling process becomes it (`become_supervisor`)
    Raises UnavailableError with the last lines of its log for a server that does not come up; what this call had
    started is stopped again then.
    """
    report = UpReport()
    with locked(settings):
        wanted = fingerprint(settings)
        if foreground:
            _refuse_second_foreground(settings, wanted)
        before = desired_state(settings)
        servers = tuple(name for name in TITLES if name != "mongod" or is_embedded(settings))
        set_desired_state(settings, DesiredState(wanted, servers))
        begun: list[str] = []
        try:
            _resume_stopped(settings)
            if is_embedded(settings):
                if embedded.find(settings) is None:
                    say("MongoDB …")
                    report.started.append("mongod")
                embedded.start(settings)
            end_what_died(settings)
            running = _without_changed(settings, wanted, say)
            if foreground:
                _stop_all(settings, ["supervisor"])
            names = [name for name in TITLES if not (foreground and name == "supervisor")]
            services = bring_up(settings, names, running, wanted, say=say, failed=_raise, begun=begun)
        except BaseException:
            _stop_all(settings, begun)
            if before is None:
                set_desired_state(settings, None)
            raise
        report.started += begun
        report.notes += _notes(settings, services)
    report.services = status(settings)
    return report


def _resume_stopped(settings: Settings) -> None:
    """Resumes the servers that a signal has stopped (SIGSTOP)."""
    for found in find_running(settings.home).values():
        resume(found.process)
    if mongod := find_process(embedded.files_of(settings)):
        resume(mongod[0])


def _raise(name: str, error: UnavailableError) -> NoReturn:
    raise error


def become_supervisor(settings: Settings) -> NoReturn:
    """Makes this process the supervisor of the home, in the foreground, until Ctrl-C, SIGTERM or `vidpipe down`."""
    from vidpipe.services.servers import services_of

    services_of(settings, find_running(settings.home))["supervisor"].become(fingerprint(settings), FOREGROUND)


def _refuse_second_foreground(settings: Settings, wanted: str) -> None:
    found = find_running(settings.home).get("supervisor")
    if found is not None and found.settings == wanted and FOREGROUND in found.process.cmdline():
        raise UnavailableError(
            f"`vidpipe up --foreground` already runs for this home (process {found.pid}).",
            "`vidpipe down` stops it and all servers.",
        )


def _without_changed(settings: Settings, wanted: str, say: Say) -> dict[str, Running]:
    """What runs under today's settings; what runs under others is stopped."""
    running = find_running(settings.home)
    changed = [name for name, found in running.items() if found.settings != wanted]
    if changed:
        say("The settings have changed since the servers were started: restarting them.")
        _stop_all(settings, changed)
    return {name: found for name, found in running.items() if name not in changed}


def _notes(settings: Settings, services: list[Service]) -> list[str]:
    notes = []
    asked = {"web": settings.services.web_port, "measures": settings.services.metrics_port}
    for service in services:
        if service.name in asked and service.port != asked[service.name]:
            notes.append(f"Port {asked[service.name]} was taken: {service.title} is at {service.address}.")
    if settings.services.host not in _LOOPBACK:
        notes.append(
            f"[Services] Host is {settings.services.host}: whoever reaches this machine can use the pages and start "
            "runs, without a password. Names other than this machine's own belong into AllowedHosts."
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
    set_desired_state(settings, None)  # a running supervisor or `up` gives up and releases the lock
    with locked(settings):
        set_desired_state(settings, None)
        _resume_stopped(settings)
        stopped += _stop_all(settings, ["supervisor", "daemon"])
        try:
            runs = stop_runs(settings, runs_limit_s, say)
        except VidpipeError as error:  # of Dagster's settings or history: the servers are stopped all the same
            say(f"Runs that are under way were not asked to stop. {error}")
        else:
            stopped += ["runs"] if runs else []
        stopped += _stop_all(settings, TITLES)
        if is_embedded(settings) and not keep_database and embedded.stop(settings):
            stopped.append("mongod")
    return stopped


def _stop_all(settings: Settings, names: Iterable[str]) -> list[str]:
    """Stops those of `names` that run, except this process, and returns their names.

    The wait is short: killing a server loses nothing, and a client that never completes its request would delay it.
    """
    running = find_running(settings.home)
    found = {name: running[name].process for name in names if name in running and running[name].pid != os.getpid()}
    for process in stop(list(found.values()), _STOP_LIMIT_S):
        raise UnavailableError(
            f"The server with process {process.pid} does not end, even when killed.",
            "It probably hangs on its disk: look at the disk's health and the system's log.",
        )
    return list(found)


def status(settings: Settings) -> list[ServiceStatus]:
    """The servers that run now, MongoDB first; starts nothing and asks none of them."""
    found = []
    if is_embedded(settings):
        mongod = embedded.status(settings)
        if mongod.running and mongod.pid and mongod.started:
            found.append(
                ServiceStatus(
                    "mongod", mongod.pid, f"127.0.0.1:{mongod.port}", mongod.started, mongod.memory_bytes or 0
                )
            )
    addresses = {"web": "", "measures": "/metrics"}
    running = find_running(settings.home)
    for name in (name for name in TITLES if name in running):
        server = running[name]
        port = server.port
        address = f"{url(settings.services.host, port)}{addresses[name]}" if port and name in addresses else ""
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(ServiceStatus(name, server.pid, address, server.started, server.memory_bytes))
    return found


def down_servers(settings: Settings, running: Collection[str]) -> dict[str, Outage]:
    """name -> outage of the servers that should run and are not among `running`, or are stopped by a signal; none after
    `vidpipe down`."""
    desired = desired_state(settings)
    if desired is None:
        return {}
    outages = supervisor_state(settings).outages
    down = {name: outages.get(name, Outage()) for name in desired.servers if name not in running}
    for name, server in find_running(settings.home).items():
        with contextlib.suppress(psutil.Error):
            if name in running and server.process.status() == psutil.STATUS_STOPPED:
                down[name] = Outage(reason="stopped by a signal (SIGSTOP)")
    return down


class ServicesBusyError(UnavailableError):
    """Another process is starting or stopping the servers of the home."""


@contextlib.contextmanager
def locked(settings: Settings, limit_s: float = _LOCK_LIMIT_S) -> Iterator[None]:
    """One process at a time starts or stops the servers of a home. Raises ServicesBusyError after `limit_s`."""
    directory = run_directory(settings)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / "services.lock", timeout=limit_s):
            yield
    except Timeout:
        raise ServicesBusyError(
            f"Another vidpipe process has been starting or stopping this home's servers for {limit_s:.0f} s.",
            "Look for a hanging `vidpipe up` or `vidpipe down`.",
        ) from None
