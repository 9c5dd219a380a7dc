"""An alert when the library itself is out of reach: then runs fail, and what was told is not to be had from it.

A small file in data/run keeps the quiet time meanwhile.
"""

from __future__ import annotations

import json
import logging
import socket
from datetime import datetime
from pathlib import Path

from vidpipe.alerts.message import Message
from vidpipe.alerts.quiet import quiet_until
from vidpipe.alerts.text import one_line
from vidpipe.alerts.ways import send_by_all, ways_of
from vidpipe.errors import VidpipeError
from vidpipe.settings import Settings, audit

log = logging.getLogger(__name__)

#: A server that is started again, or elects a new primary, is no outage.
_PATIENCE_S = 120.0


def tell_outage(settings: Settings, error: VidpipeError, now: datetime | None = None) -> list[str]:
    """Tells that the library has been out of reach for a while. Gives sentences on what was done. now: aware."""
    now = now or datetime.now().astimezone()
    file = _file(settings)
    known = _read(file)
    since = known.setdefault("since", now.isoformat())
    last = known.get("told_at")
    quiet = quiet_until(settings.alerts, datetime.fromisoformat(last) if last else None, now)
    ways = ways_of(settings.alerts)
    if (now - datetime.fromisoformat(since)).total_seconds() < _PATIENCE_S or quiet is not None or not ways:
        _write(file, known)
        return [str(error)]
    text = (
        f"Nothing can be worked on since {datetime.fromisoformat(since):%Y-%m-%d %H:%M}: "
        f"{one_line(str(error), 600)}\n\n"
        f"Failed runs are reported when it is back. Look further: `vidpipe doctor` (home {settings.home})"
    )
    title = one_line(f"vidpipe on {socket.gethostname()}: the library is out of reach", 150)
    fields = {"host": socket.gethostname(), "outage": one_line(str(error), 600), "since": since}
    message = Message(title=title, text=f"{title}\n\n{text}", fields=fields)
    results = send_by_all([(way, message) for way in ways])
    known["told_at"] = now.isoformat()  # also where it did not arrive: the next try comes after the quiet time
    _write(file, known)
    log.warning("alert: the library is out of reach: %s", error)
    audit("library out of reach", error=str(error), told=[name for name, fault in results.items() if fault is None])
    return [str(error), *(str(fault) if fault else f"Told by {name}." for name, fault in results.items())]


def end_outage(settings: Settings) -> None:
    """The library is back."""
    _file(settings).unlink(missing_ok=True)


def _file(settings: Settings) -> Path:
    return settings.data_directory / "run" / "alert-outage.json"


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in known.items()} if isinstance(known, dict) else {}


def _write(file: Path, known: dict[str, str]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known), encoding="utf-8")
    except OSError as error:  # a full disk may be the very reason
        log.warning("the quiet time of alerts cannot be kept: %s", error)
