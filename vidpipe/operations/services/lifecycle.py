"""Starts and stops the servers of a home together, and reports which ones run."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NoReturn

import psutil

from vidpipe import __version__, errors
from vidpipe.errors import UnavailableError, VidpipeError
from vidpipe.library import embedded
from vidpipe.library.embedded import is_embedded
from vidpipe.library.mongod_files import find_process, is_alive, read_log
from vidpipe.operations.services import state
from vidpipe.operations.services.service_definitions import (
    ENTRYPOINT,
    PATHS,
    TITLES,
    Running,
    Service,
    find_running,
    is_free,
    listens,
    resume,
    services_of,
    stop,
    url,
    without_marks,
)
from vidpipe.settings import Settings
from vidpipe.settings.keys import all_keys, as_text

Say = Callable[[str], None]
DefineServices = Callable[[Settings, dict[str, Running]], dict[str, Service]]

#: After this a server that was asked to exit is killed.
_STOP_LIMIT_S = 3.0
_POLL_S = 0.2
_LOG_LINES = 12
#: How often another program may take a port between its choice and the server's start.
_PORTS_LOST = 5
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
    """What `up` found and did.

    Attributes:
        services: All that run now.
        started: Names of those that this call started.
        notes: What the user should know.
    """

    services: list[ServiceStatus] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> dict[str, str]:
        """Server -> its address."""
        return {service.name: service.address for service in self.services if service.address}


def fingerprint(settings: Settings) -> str:
    """Return a hash of all settings, which servers keep from their start, and of what starts them."""
    values = "\n".join(f"{key.dotted}={as_text(key.value_in(settings))}" for key in all_keys(type(settings)))
    return hashlib.sha256(f"{__version__} {ENTRYPOINT}\n{values}".encode()).hexdigest()


def up(settings: Settings, say: Say, *, foreground: bool = False) -> UpReport:
    """Start the servers that do not run and wait until all answer. Restart those started under other settings.

    Args:
        settings: Of the home.
        say: Called with each line of progress.
        foreground: Start no supervisor: the calling process becomes it (`become_supervisor`).

    Raises:
        UnavailableError: A server did not come up; holds the last lines of its log. The servers that this call had
            started are stopped again.
    """
    from vidpipe.library.library import Library
    from vidpipe.stages.registry import build_graph  # loads every stage's libraries; not for `status` and `down`

    report = UpReport()
    with state.locked(settings):
        wanted = fingerprint(settings)
        supervisor = find_running(settings.home).get("supervisor") if foreground else None
        if supervisor is not None and supervisor.settings == wanted and FOREGROUND in supervisor.process.cmdline():
            raise UnavailableError(
                f"`vidpipe up --foreground` already runs for this home (process {supervisor.pid}).",
                "`vidpipe down` stops it and all servers.",
            )
        before = state.desired_state(settings)
        servers = tuple(name for name in TITLES if name != "mongod" or is_embedded(settings))
        state.set_desired_state(settings, state.DesiredState(wanted, servers))
        begun: list[str] = []
        try:
            _resume_stopped(settings)
            if is_embedded(settings):
                if embedded.find(settings) is None:
                    say("MongoDB …")
                    report.started.append("mongod")
                embedded.start(settings)
            clean_up_runs(settings, "dead", say=say)
            with Library.open(settings, build_graph(settings)) as library:
                library.free_dead()
            changed = [name for name, found in find_running(settings.home).items() if found.settings != wanted]
            if changed:
                say("The settings have changed since the servers were started: restarting them.")
                _stop_all(settings, changed)
            if foreground:
                _stop_all(settings, ["supervisor"])
            running = find_running(settings.home)
            names = [name for name in TITLES if not (foreground and name == "supervisor")]
            services = bring_up(settings, names, running, wanted, say=say, failed=_raise, begun=begun)
        except BaseException:
            _stop_all(settings, begun)
            if before is None:
                state.set_desired_state(settings, None)
            raise
        report.started += begun
        report.notes += _notes(settings, services)
    report.services = status(settings)
    return report


def _resume_stopped(settings: Settings) -> None:
    """Resume the servers that a signal has stopped (SIGSTOP)."""
    for found in find_running(settings.home).values():
        resume(found.process)
    if mongod := find_process(embedded.files_of(settings)):
        resume(mongod[0])


def _raise(name: str, error: UnavailableError) -> NoReturn:
    raise error


def become_supervisor(settings: Settings) -> NoReturn:
    """Make this process the supervisor of the home, in the foreground, until Ctrl-C, SIGTERM or `vidpipe down`."""
    services_of(settings, find_running(settings.home))["supervisor"].become(fingerprint(settings), FOREGROUND)


def _notes(settings: Settings, services: list[Service]) -> list[str]:
    notes = []
    of = settings.services
    configured = {"library": of.library_port, "web": of.web_port, "measures": of.metrics_port}
    for service in services:
        if service.name in configured and service.port != configured[service.name]:
            notes.append(f"Port {configured[service.name]} was taken: {service.title} is at {service.address}.")
    if of.host not in _LOOPBACK:
        notes.append(
            f"[Services] Host is {of.host}: the library page asks for keys (see `vidpipe keys`); Dagster's page and "
            "the metrics page have no password: whoever reaches this machine can start runs. Add names other than this "
            "machine's own to AllowedHosts."
        )
    if not settings.sensors.enabled:
        notes.append("[Sensors] Enabled is no: nothing starts automatically.")
    return notes


def clean_up_runs(settings: Settings, *arguments: str, say: Say) -> int:
    """Run `vidpipe.pipeline.run_cleanup`, which ends or stops Dagster's runs.

    Args:
        settings: Of the home.
        *arguments: Of that program.
        say: Called with each line of progress.

    Returns:
        The number of runs that were stopped.

    Raises:
        VidpipeError: The error that the program reports, or its exit code.
    """
    environment = {**without_marks(os.environ), "VIDPIPE_HOME": str(settings.home)}
    runs, error, last = 0, None, ""
    with subprocess.Popen(
        [sys.executable, "-m", "vidpipe.pipeline.run_cleanup", *arguments], env=environment, cwd=settings.home,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            try:
                found = json.loads(line)
            except ValueError:  # a warning or traceback
                last = line.strip() or last
                continue
            if "progress" in found:
                say(found["progress"])
            elif "error" in found:
                error = getattr(errors, found["error"], VidpipeError)(found["message"], found["hint"])
            runs = found.get("runs", runs)
    if error is not None:
        raise error
    if process.returncode:
        raise VidpipeError(f"Dagster's runs were not cleaned up (exit code {process.returncode}). {last}")
    return runs


def down(settings: Settings, say: Say, *, runs_limit_s: float = 60.0, keep_database: bool = False) -> list[str]:
    """Stop the servers in order: first what starts runs, then the runs, which save finished results, MongoDB last.

    Args:
        settings: Of the home.
        say: Called with each line of progress.
        runs_limit_s: Seconds after which runs are killed.
        keep_database: Leave the embedded server running.

    Returns:
        The names of what was stopped.
    """
    stopped: list[str] = []
    state.set_desired_state(settings, None)  # a running supervisor or `up` gives up and releases the lock
    with state.locked(settings):
        state.set_desired_state(settings, None)
        _resume_stopped(settings)
        stopped += _stop_all(settings, ["supervisor", "daemon"])
        try:
            runs = clean_up_runs(settings, "stop", str(runs_limit_s), say=say)
        except VidpipeError as error:  # of Dagster's settings or history: the servers are stopped all the same
            say(f"Active runs were not asked to stop. {error}")
        else:
            stopped += ["runs"] if runs else []
        stopped += _stop_all(settings, TITLES)
        if is_embedded(settings) and not keep_database and embedded.stop(settings):
            stopped.append("mongod")
    return stopped


def _stop_all(settings: Settings, names: Iterable[str]) -> list[str]:
    """Stop those of `names` that run, except this process, and return their names.

    The wait is short: killing a server loses nothing, and a client that never completes its request would delay it.
    """
    running = find_running(settings.home)
    found = {name: running[name].process for name in names if name in running and running[name].pid != os.getpid()}
    for process in stop(list(found.values()), _STOP_LIMIT_S):
        raise UnavailableError(
            f"The server with process {process.pid} survived SIGKILL.",
            "It is probably waiting for its disk: check the disk's health and the system log.",
        )
    return list(found)


def status(settings: Settings) -> list[ServiceStatus]:
    """Return the servers that run now, MongoDB first, without starting or probing any."""
    found = []
    if is_embedded(settings):
        mongod = embedded.status(settings)
        if mongod.running and mongod.pid and mongod.started:
            address, memory_bytes = f"127.0.0.1:{mongod.port}", mongod.memory_bytes or 0
            found.append(ServiceStatus("mongod", mongod.pid, address, mongod.started, memory_bytes))
    running = find_running(settings.home)
    for name, server in ((name, running[name]) for name in TITLES if name in running):
        address = f"{url(settings.services.host, server.port)}{PATHS[name]}" if server.port and name in PATHS else ""
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(ServiceStatus(name, server.pid, address, server.started, server.process.memory_info().rss))
    return found


def down_servers(settings: Settings, running: Collection[str]) -> dict[str, state.Outage]:
    """Return name -> outage of the servers that should run and are not among `running`, or are stopped by a signal.

    After `vidpipe down` none should run.
    """
    desired = state.desired_state(settings)
    if desired is None:
        return {}
    outages = state.supervisor_state(settings).outages
    down = {name: outages.get(name, state.Outage()) for name in desired.servers if name not in running}
    for name, server in find_running(settings.home).items():
        with contextlib.suppress(psutil.Error):
            if name in running and server.process.status() == psutil.STATUS_STOPPED:
                down[name] = state.Outage(reason="stopped by a signal (SIGSTOP)")
    return down


@dataclass(frozen=True)
class _Start:
    """A server that does not answer yet.

    Attributes:
        process: Its process.
        began: When it was started, on the monotonic clock.
        log_from: Offset in its log, in bytes, where its output begins.
    """

    process: psutil.Process
    began: float
    log_from: int = 0


def bring_up(
    settings: Settings,
    names: Collection[str],
    running: dict[str, Running],
    fingerprint: str,
    *,
    say: Say,
    failed: Callable[[str, UnavailableError], None],
    begun: list[str],
    define: DefineServices = services_of,
) -> list[Service]:
    """Start servers side by side and wait until they answer.

    Args:
        settings: Of the home.
        names: The servers to wait for; those not in `running` are started.
        running: The servers that run.
        fingerprint: Of the settings.
        say: Called with each line of progress.
        failed: Called with each server that did not come up, once it is killed; an exception of it ends the start.
        begun: Receives the names of the started servers.
        define: Returns the servers of the home.

    Returns:
        All servers of the home.

    Raises:
        UnavailableError: `vidpipe down` was called meanwhile.
    """
    services = define(settings, running)
    waiting = [name for name in services if name in names]
    starts = {name: _Start(found.process, time.monotonic()) for name, found in running.items()}
    ports_lost = 0
    while waiting:
        for name in list(waiting):
            service, start = services[name], starts.get(name)
            if start is None:
                if service.after not in waiting:
                    say(f"{service.title} …")
                    begun.append(name)
                    size = service.log.stat().st_size if service.log.exists() else 0
                    process = psutil.Process(service.launch(fingerprint).pid)
                    starts[name] = _Start(process, time.monotonic(), size)
                continue
            resume(start.process)
            if (service.port is None or listens(start.process, service.port)) and service.answers():
                waiting.remove(name)
                continue
            error = _fault(service, start)
            if error is None:
                continue
            if name in begun:
                with contextlib.suppress(psutil.Error):
                    start.process.kill()
            if service.port and not is_alive(start.process) and not is_free(settings.services.host, service.port):
                ports_lost += 1
                if ports_lost < _PORTS_LOST:
                    services[name] = define(settings, find_running(settings.home))[name]
                    del starts[name]
                    continue
            waiting.remove(name)
            failed(name, error)
        if waiting:
            time.sleep(_POLL_S)
            if not state.is_desired(settings, fingerprint):
                raise UnavailableError("`vidpipe down` was called meanwhile: the servers are not started.")
    return list(services.values())


def _fault(service: Service, start: _Start) -> UnavailableError | None:
    """Return why the server failed to come up, or None while it still may."""
    ended = not is_alive(start.process)
    if not ended and time.monotonic() - start.began < service.start_limit_s:
        return None
    what = "ended right after its start" if ended else f"did not answer within {service.start_limit_s:.0f} s"
    lines = "\n".join(f"  {line}" for line in read_log(service.log, start.log_from).splitlines()[-_LOG_LINES:])
    return UnavailableError(
        f"{service.title.capitalize()} {what}.\n{lines}",
        f"Its log is {service.log}; `vidpipe doctor` checks what is missing, `vidpipe down` stops the rest.",
    )
