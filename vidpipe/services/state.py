"""What is recorded of the servers of a home: which ones `vidpipe up` promised, and which of them are down.

`up` writes the first file and `down` deletes it; only the supervisor writes the second.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from vidpipe.safe_files import replace_file
from vidpipe.settings import Settings

State = TypeVar("State")


@dataclass(frozen=True)
class DesiredState:
    """The servers that run until `vidpipe down`. fingerprint: of the settings that they were started under"""

    fingerprint: str
    servers: tuple[str, ...]


@dataclass(frozen=True)
class Outage:
    """since: ISO 8601, UTC; both are empty where they are unknown"""

    since: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SupervisorState:
    """pid: of the supervisor that wrote this, or 0; outages: by the names of servers that are down"""

    pid: int = 0
    outages: dict[str, Outage] = field(default_factory=dict)


def run_directory(settings: Settings) -> Path:
    """Where the servers of a home keep what they need while they run."""
    return settings.data_directory / "run"


def desired_state(settings: Settings) -> DesiredState | None:
    """None after `vidpipe down`, and before the first `vidpipe up`."""
    return _read(_desired_file(settings), DesiredState)


def is_desired(settings: Settings, fingerprint: str) -> bool:
    """Whether the last `vidpipe up` was one under these settings, and no `vidpipe down` came after it."""
    desired = desired_state(settings)
    return desired is not None and desired.fingerprint == fingerprint


def set_desired_state(settings: Settings, state: DesiredState | None) -> None:
    """Records it; None: no server is to run."""
    if state is None:
        _desired_file(settings).unlink(missing_ok=True)
    else:
        _write(_desired_file(settings), state)


def supervisor_state(settings: Settings) -> SupervisorState:
    """What the supervisor wrote last."""
    return _read(_supervisor_file(settings), SupervisorState) or SupervisorState()


def write_supervisor_state(settings: Settings, outages: dict[str, Outage]) -> None:
    """Records `outages` as those that the supervisor in this process knows of. Errors: OSError."""
    _write(_supervisor_file(settings), SupervisorState(os.getpid(), outages))


def _desired_file(settings: Settings) -> Path:
    return run_directory(settings) / "desired.json"


def _supervisor_file(settings: Settings) -> Path:
    return run_directory(settings) / "supervisor.json"


def _read(path: Path, kind: type[State]) -> State | None:
    with contextlib.suppress(OSError, ValueError):
        return TypeAdapter(kind).validate_json(path.read_bytes())
    return None


def _write(path: Path, state: DesiredState | SupervisorState) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, TypeAdapter(type(state)).dump_json(state), 0o600)
