"""Starts servers side by side and waits until they answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

from vidpipe.errors import UnavailableError
from vidpipe.library.embedded.process import is_alive
from vidpipe.services.ports import is_free, listens
from vidpipe.services.service import Running, Service, find_running, resume
from vidpipe.services.state import is_desired
from vidpipe.settings import Settings

Say = Callable[[str], None]

_POLL_S = 0.2
_LOG_LINES = 12
#: How often another program may take a port between its choice and the server's start.
_PORTS_LOST = 5


@dataclass(frozen=True)
class _Start:
    """A server that does not answer yet. log_from: offset in its log, in bytes, where its output begins"""

    process: psutil.Process
    began: float
    log_from: int = 0
    ours: bool = True


def bring_up(
    settings: Settings,
    names: Collection[str],
    running: dict[str, Running],
    fingerprint: str,
    *,
    say: Say,
    failed: Callable[[str, UnavailableError], None],
    begun: list[str],
) -> list[Service]:
    """Starts those of `names` that are not in `running`, and waits until all of `names` answer.

    failed: called with each server that did not come up, once it is killed; an exception of it ends the whole
    begun:  receives the names of the started servers
    Returns all services of the home. Raises UnavailableError if `vidpipe down` is called meanwhile.
    """
    from vidpipe.services import servers

    services = servers.services_of(settings, running)
    waiting = [name for name in services if name in names]
    starts = {name: _Start(found.process, time.monotonic(), ours=False) for name, found in running.items()}
    ports_lost = 0
    while waiting:
        for name in list(waiting):
            service, start = services[name], starts.get(name)
            if start is None:
                if service.after not in waiting:
                    say(f"{service.title} …")
                    begun.append(name)
                    starts[name] = _launch(service, fingerprint)
                continue
            resume(start.process)
            if (service.port is None or listens(start.process, service.port)) and service.answers():
                waiting.remove(name)
                continue
            error = _fault(service, start)
            if error is None:
                continue
            if start.ours:
                with contextlib.suppress(psutil.Error):
                    start.process.kill()
            if service.port and not is_alive(start.process) and not is_free(settings.services.host, service.port):
                ports_lost += 1
                if ports_lost < _PORTS_LOST:
                    services[name] = servers.services_of(settings, find_running(settings.home))[name]
                    del starts[name]
                    continue
            waiting.remove(name)
            failed(name, error)
        if waiting:
            time.sleep(_POLL_S)
            if not is_desired(settings, fingerprint):
                raise UnavailableError("`vidpipe down` was called meanwhile: the servers are not started.")
    return list(services.values())


def _launch(service: Service, fingerprint: str) -> _Start:
    size = service.log.stat().st_size if service.log.exists() else 0
    return _Start(psutil.Process(service.launch(fingerprint).pid), time.monotonic(), size)


def _fault(service: Service, start: _Start) -> UnavailableError | None:
    """Why the server failed to come up; None while it still may."""
    ended = not is_alive(start.process)
    if not ended and time.monotonic() - start.began < service.start_limit_s:
        return None
    what = "ended right after its start" if ended else f"did not answer within {service.start_limit_s:.0f} s"
    return UnavailableError(
        f"{service.title.capitalize()} {what}.\n{_last_lines(service.log, start.log_from)}",
        f"Its log is {service.log}; `vidpipe doctor` looks for what is missing, `vidpipe down` stops the rest.",
    )


def _last_lines(log: Path, start: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(start)
        lines = file.read()[-20_000:].decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])
    return ""
