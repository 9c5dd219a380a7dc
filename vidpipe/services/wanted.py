"""What `vidpipe up` promised: the servers that run until `vidpipe down`, and what the supervisor knows of those that do
not.

`up` writes the first file and `down` deletes it, both under the lock of the services; only the supervisor writes the
second.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidpipe.settings import Settings


def run_directory(settings: Settings) -> Path:
    """Where the servers of a home keep what they need while they run."""
    return settings.data_directory / "run"


@dataclass(frozen=True)
class Wanted:
    """settings: fingerprint of the settings that the servers were brought up under."""

    settings: str
    servers: tuple[str, ...]


def wanted_servers(settings: Settings) -> Wanted | None:
    """None after `vidpipe down`, and before the first `vidpipe up`."""
    known = _read(_wanted_file(settings))
    servers = known.get("servers")
    return Wanted(str(known.get("settings", "")), tuple(map(str, servers))) if isinstance(servers, list) else None


def is_wanted(settings: Settings, fingerprint: str) -> bool:
    """Whether the last `vidpipe up` was one under these settings, and no `vidpipe down` came after it."""
    wanted = wanted_servers(settings)
    return wanted is not None and wanted.settings == fingerprint


def want(settings: Settings, wanted: Wanted | None) -> None:
    """Records it; None: that no server is wanted any more."""
    path = _wanted_file(settings)
    if wanted is None:
        path.unlink(missing_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, {"settings": wanted.settings, "servers": wanted.servers})


@dataclass(frozen=True)
class Outage:
    """since: ISO 8601, UTC; empty where unknown"""

    since: str = ""
    why: str = ""


@dataclass(frozen=True)
class Supervision:
    """pid: of the supervisor that wrote this; outages: by the names of servers that are down"""

    pid: int
    outages: dict[str, Outage]


def supervision(settings: Settings) -> Supervision:
    """What the supervisor wrote last; a pid of 0 where there is nothing."""
    known = _read(_supervision_file(settings))
    outages = known.get("outages")
    found = {
        name: Outage(str(entry.get("since", "")), str(entry.get("why", "")))
        for name, entry in (outages if isinstance(outages, dict) else {}).items()
        if isinstance(entry, dict)
    }
    pid = known.get("pid")
    return Supervision(pid if isinstance(pid, int) else 0, found)


def write_supervision(settings: Settings, outages: dict[str, Outage]) -> None:
    """For the supervisor, of this process."""
    plain = {name: {"since": outage.since, "why": outage.why} for name, outage in outages.items()}
    _write(_supervision_file(settings), {"pid": os.getpid(), "outages": plain})


def _wanted_file(settings: Settings) -> Path:
    return run_directory(settings) / "wanted.json"


def _supervision_file(settings: Settings) -> Path:
    return run_directory(settings) / "supervision.json"


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(json.dumps(value), encoding="utf-8")
    new.replace(path)
