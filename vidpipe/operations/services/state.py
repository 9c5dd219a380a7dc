"""Files in data/run that record the servers of a home: which ones should run, which are down, which are ready.

`up` writes the first and `down` deletes it; only the supervisor writes the second; a server itself writes the third.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from vidpipe.errors import UnavailableError
from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings

State = TypeVar("State")

_LOCK_LIMIT_S = 180.0
_DESIRED, _SUPERVISOR = "desired.json", "supervisor.json"


@dataclass(frozen=True)
class DesiredState:
    """The servers that run until `vidpipe down`.

    Attributes:
        fingerprint: Of the settings that the servers were started under.
        servers: Names of the servers.
    """

    fingerprint: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Outage:
    """Why a server is down. Both fields are empty if unknown.

    Attributes:
        since: ISO 8601, UTC.
        reason: A sentence or part of one.
    """

    since: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SupervisorState:
    """What a supervisor knows.

    Attributes:
        pid: Of the supervisor that wrote this, or 0.
        outages: Server -> outage, for servers that are down.
    """

    pid: int = 0
    outages: dict[str, Outage] = field(default_factory=dict)


class ServicesBusyError(UnavailableError):
    """Another process is starting or stopping the servers of the home."""


def dagster_home(settings: Settings) -> Path:
    """Return the folder that DAGSTER_HOME names for the servers and runs of a home."""
    return settings.data_directory / "dagster"


def run_directory(settings: Settings) -> Path:
    """Return the folder for the files that the servers of a home need while they run."""
    return settings.data_directory / "run"


def desired_state(settings: Settings) -> DesiredState | None:
    """Return which servers should run; None after `vidpipe down`, and before the first `vidpipe up`."""
    return read_json(run_directory(settings) / _DESIRED, DesiredState)


def is_desired(settings: Settings, fingerprint: str) -> bool:
    """Return whether the last `vidpipe up` was one under these settings, and no `vidpipe down` came after it."""
    desired = desired_state(settings)
    return desired is not None and desired.fingerprint == fingerprint


def set_desired_state(settings: Settings, state: DesiredState | None) -> None:
    """Record which servers should run; None: none."""
    if state is None:
        (run_directory(settings) / _DESIRED).unlink(missing_ok=True)
    else:
        _write(settings, _DESIRED, state)


def supervisor_state(settings: Settings) -> SupervisorState:
    """Return what the supervisor wrote last."""
    return read_json(run_directory(settings) / _SUPERVISOR, SupervisorState) or SupervisorState()


def write_supervisor_state(settings: Settings, outages: dict[str, Outage]) -> None:
    """Record the outages that the supervisor in this process knows of."""
    _write(settings, _SUPERVISOR, SupervisorState(os.getpid(), outages))


def report_ready(settings: Settings, name: str) -> None:
    """Record that this process, the server `name`, is at work."""
    _write(settings, f"{name}.ready", os.getpid())


def ready_pid(settings: Settings, name: str) -> int | None:
    """Return the process that last reported to be ready as the server `name`."""
    return read_json(run_directory(settings) / f"{name}.ready", int)


def read_json(path: Path, kind: type[State]) -> State | None:
    """Return the content of a JSON file, or None if it is missing or malformed."""
    with contextlib.suppress(OSError, ValueError):
        return TypeAdapter(kind).validate_json(path.read_bytes())
    return None


def _write(settings: Settings, name: str, state: DesiredState | SupervisorState | int) -> None:
    directory = run_directory(settings)
    directory.mkdir(parents=True, exist_ok=True)
    replace_file(directory / name, TypeAdapter(type(state)).dump_json(state), 0o600)


@contextlib.contextmanager
def locked(settings: Settings, limit_s: float = _LOCK_LIMIT_S) -> Iterator[None]:
    """Let one process at a time start or stop the servers of a home.

    Raises:
        ServicesBusyError: Another process has held the lock for `limit_s`.
    """
    directory = run_directory(settings)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / "services.lock", timeout=limit_s):
            yield
    except Timeout:
        raise ServicesBusyError(
            f"Another vidpipe process has been starting or stopping this home's servers for {limit_s:.0f} s.",
            "Check for a hanging `vidpipe up` or `vidpipe down`.",
        ) from None
